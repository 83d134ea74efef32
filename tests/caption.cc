// Captions image files with an exported captioner: nothing but TensorFlow's C++ library.
//
//   caption EXPORT IMAGE...    prints one caption a line; "error: reason" for an unreadable image
//
// Built against the headers and libraries of the tensorflow package, see tests/test_cpp.py.

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/session_options.h"

namespace tf = tensorflow;

int main(int count, char** words) {
  if (count < 3) {
    std::cerr << "usage: caption EXPORT IMAGE...\n";
    return 2;
  }
  tf::SavedModelBundleLite model;
  absl::Status status = tf::LoadSavedModel(tf::SessionOptions(), tf::RunOptions(), words[1],
                                           {"serve"}, &model);
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }

  // The files' contents; a file that can't be opened is an empty one, which has an error of its own.
  tf::Tensor images(tf::DT_STRING, tf::TensorShape({count - 2}));
  for (int row = 0; row < count - 2; ++row) {
    std::ifstream file(words[row + 2], std::ios::binary);
    images.vec<tf::tstring>()(row) =
        std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }

  const auto& signature = model.GetSignatures().at("serving_default");
  const auto output = [&](const char* name) { return signature.outputs().at(name).name(); };
  std::vector<tf::Tensor> found;
  status = model.GetSession()->Run({{signature.inputs().at("image_bytes").name(), images}},
                                   {output("caption"), output("log_prob"), output("error")}, {},
                                   &found);
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  for (int row = 0; row < count - 2; ++row) {
    const std::string error = found[2].vec<tf::tstring>()(row);
    if (error.empty()) {
      std::cout << found[0].vec<tf::tstring>()(row) << "\t" << found[1].vec<float>()(row) << "\n";
    } else {
      std::cout << "error: " << error << "\n";
    }
  }
}
