"""Image encoders as they are served: every batch norm folded into the convolution before it.

With statistics that don't change, a batch norm is a scale and a shift for each channel, and a
convolution can do both for nothing: gamma / sqrt(variance + epsilon) goes into its kernel, the rest
into its bias. What is left are convolutions with a bias, a ReLU and the residual's addition, which
TensorFlow's graph optimiser makes one kernel of. The same features to rounding.

Legend: B batch, S side of the square in pixels, R regions, D width, k kernel, I, O channels.
"""

import keras
import numpy as np
import tensorflow as tf

from captioner.config.freezing import STAGES
from captioner.inputs.images import BGR_MEANS
from captioner.models import grids
from captioner.pretrained import efficientnet

PRECISIONS = ("float32", "bfloat16")

# The stages that compute in the precision asked for. The first two, a fifth of the work, stay in
# float32, as all that follows makes more of what they round: with them in bfloat16, features are off
# by 2.7 % on average instead of 1.1 %, and 88 % of photographs keep their caption instead of 97 %.
_ROUNDED = ("conv3", "conv4", "conv5")


# Pixels of the images that are encoded at once: 16 of 224 x 224. What a ResNet50's first stages give
# of one takes 10 MB: of 32, it fills more memory than all the weights, and no cache. 8 at a time are
# quicker still with TensorFlow's own kernels (0.89 of the time of 32, 16 0.96), but slower with
# oneDNN's (1.07, 1.01).
PART = 16 * 224 * 224


class Folded(tf.Module):
    """An image encoder with weights of its own, which aren't trained any more."""

    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        """uint8 [B, S, S, 3], RGB -> float32 [B, R, D], region by region; B is not 0.

        Images of `PART` pixels are encoded at a time: the same features to rounding, in memory that
        doesn't grow with B but for the features.
        """
        pixels = tf.convert_to_tensor(pixels)
        count = tf.shape(pixels)[0]
        most = max(1, PART // (pixels.shape[1] * pixels.shape[2]))
        shapes = []

        def part(first, parts):
            found = self.encode(pixels[first : first + most])
            shapes.append(found.shape[1:])
            return first + most, parts.write(first // most, found)

        parts = tf.TensorArray(tf.float32, (count + most - 1) // most, infer_shape=False)
        # One after the other: side by side they would take the memory that this spares.
        _, parts = tf.while_loop(
            lambda first, _: first < count, part, (0, parts), parallel_iterations=1
        )
        return tf.ensure_shape(parts.concat(), [None, *shapes[-1]])

    def encode(self, pixels: tf.Tensor) -> tf.Tensor:
        """What calling it gives, of all images at once."""
        raise NotImplementedError


class FoldedResNet50(Folded):
    """The first stages of a `keras.applications.ResNet50`, with copies of its weights as they are.

    Args:
        net: with variables that are not trained any more.
        stages: int. How many of its five stages to compute. Defaults to all.
        precision: what the later stages compute in, and their weights are kept in, one of
            `PRECISIONS`. Defaults to float32.
        levels: int. How many of the last of them a region consists of (`grids.beside`).
    """

    def __init__(
        self,
        net: keras.Model,
        stages: int = len(STAGES),
        precision: str = "float32",
        levels: int = 1,
    ):
        super().__init__(name="resnet50")
        self._levels = levels
        self._stages = dict(list(STAGES.items())[:stages])
        self._precision = tf.as_dtype(precision)
        self._kernels: dict[str, tf.Variable] = {}
        self._biases: dict[str, tf.Variable] = {}
        self._strides: dict[str, int] = {}
        for name in _convolutions(self._stages):
            kernel, bias = _folded(net, name)
            if name == "conv1":
                kernel = kernel[:, :, ::-1]  # of red, green, blue: pixels needn't be turned round
            dtype = self._dtype(name.partition("_")[0])
            kernel, bias = tf.cast(kernel, dtype), tf.cast(bias, dtype)
            self._kernels[name] = tf.Variable(kernel, trainable=False, name=f"{name}/kernel")
            self._biases[name] = tf.Variable(bias, trainable=False, name=f"{name}/bias")
            self._strides[name] = net.get_layer(f"{name}_conv").strides[0]

    def _dtype(self, stage: str) -> tf.DType:
        """What a stage computes in."""
        return self._precision if stage in _ROUNDED else tf.float32

    def encode(self, pixels: tf.Tensor) -> tf.Tensor:
        # Zero is the mean's colour, so borders are padded as the network was trained with.
        found = tf.cast(pixels, tf.float32) - tf.constant(BGR_MEANS[::-1])
        found = tf.pad(found, [[0, 0], [3, 3], [3, 3], [0, 0]])
        found = tf.nn.relu(self._convolve(found, "conv1", "VALID"))
        # Nothing is below zero here, so that zeros at the borders win no maximum.
        found = tf.nn.max_pool2d(found, 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
        given = []
        for stage, blocks in self._stages.items():
            found = tf.cast(found, self._dtype(stage))
            for block in range(1, blocks + 1):
                found = self._block(found, f"{stage}_block{block}")
            given.append(found)
        return tf.cast(_regions(given, self._levels), tf.float32)

    def _block(self, given: tf.Tensor, name: str) -> tf.Tensor:
        """A bottleneck block (He et al. 2016, figure 5)."""
        first = f"{name}_0"
        shortcut = self._convolve(given, first) if first in self._kernels else given
        found = tf.nn.relu(self._convolve(given, f"{name}_1"))
        found = tf.nn.relu(self._convolve(found, f"{name}_2"))
        return tf.nn.relu(self._convolve(found, f"{name}_3") + shortcut)

    def _convolve(self, given: tf.Tensor, name: str, padding: str = "SAME") -> tf.Tensor:
        found = tf.nn.conv2d(given, self._kernels[name], self._strides[name], padding)
        return tf.nn.bias_add(found, self._biases[name])


class FoldedLite0(Folded):
    """The first stages of an `efficientnet_lite0`, with copies of its weights as they are.

    Args:
        net: with variables that are not trained any more.
        stages: int. How many of its five stages to compute.
        levels: int. How many of the last of them a region consists of (`grids.beside`).
    """

    def __init__(self, net: keras.Model, stages: int, levels: int = 1):
        super().__init__(name="efficientnet_lite0")
        self._levels = levels
        self._stages = list(efficientnet.BLOCKS.items())[:stages]
        self._kernels: dict[str, tf.Variable] = {}
        self._biases: dict[str, tf.Variable] = {}
        for layer in net.layers:
            name = layer.name.removesuffix("_conv")
            if name != layer.name and name.partition("_")[0] in dict(self._stages):
                kernel, bias = _folded(net, name)
                self._kernels[name] = tf.Variable(kernel, trainable=False, name=f"{name}/kernel")
                self._biases[name] = tf.Variable(bias, trainable=False, name=f"{name}/bias")

    def encode(self, pixels: tf.Tensor) -> tf.Tensor:
        found = tf.nn.relu6(self._convolve(efficientnet.normalise(pixels), "conv1", 2))
        given = []
        for stage, blocks in self._stages:
            for number, (_, stride, *_) in enumerate(blocks, 1):
                found = self._block(found, f"{stage}_block{number}", stride)
            if stage == "conv5":
                found = tf.nn.relu6(self._convolve(found, "conv5_top"))
            given.append(found)
        return _regions(given, self._levels)

    def _block(self, given: tf.Tensor, name: str, stride: int) -> tf.Tensor:
        """An inverted bottleneck (Sandler et al. 2018, figure 3)."""
        widened = f"{name}_1" in self._kernels
        found = tf.nn.relu6(self._convolve(given, f"{name}_1")) if widened else given
        around, bias = self._kernels[f"{name}_2"], self._biases[f"{name}_2"]
        found = tf.nn.depthwise_conv2d(found, around, [1, stride, stride, 1], "SAME")
        found = tf.nn.relu6(tf.nn.bias_add(found, bias))
        found = self._convolve(found, f"{name}_3")
        return found + given if stride == 1 and found.shape[-1] == given.shape[-1] else found

    def _convolve(self, given: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        found = tf.nn.conv2d(given, self._kernels[name], stride, "SAME")
        return tf.nn.bias_add(found, self._biases[name])


def _regions(given: list[tf.Tensor], levels: int) -> tf.Tensor:
    """What stages gave, [B, R, D], of the last `levels`."""
    found = grids.beside([given[-1 - level] for level in range(levels)])
    shape = tf.shape(found)
    return tf.reshape(found, [shape[0], shape[1] * shape[2], found.shape[-1]])


def _convolutions(stages: dict[str, int]) -> list[str]:
    """Names of the convolutions, as `keras.applications` has them."""
    names = ["conv1"]
    for stage, blocks in stages.items():
        for block in range(1, blocks + 1):
            # The first block of a stage has a shortcut with weights, 0.
            places = range(0 if block == 1 else 1, 4)
            names += [f"{stage}_block{block}_{at}" for at in places]
    return names


def _folded(net: keras.Model, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A convolution's kernel [k, k, I, O] and bias [O], its batch norm in them."""
    conv, norm = net.get_layer(f"{name}_conv"), net.get_layer(f"{name}_bn")
    # In float64, so that only one rounding is added.
    kernel, gamma, beta, mean, variance = (
        np.asarray(one.value, np.float64)
        for one in (conv.kernel, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    bias = np.asarray(conv.bias.value, np.float64) if conv.use_bias else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # A depthwise kernel is [k, k, I, 1].
    depthwise = isinstance(conv, keras.layers.DepthwiseConv2D)
    kernel *= scale[:, None] if depthwise else scale
    return kernel.astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)
