"""tfds:NAME, with small builders defined here: nothing is downloaded."""

import io
import json
import types

import numpy as np
import pytest
from PIL import Image

from captioner.errors import CaptionerError
from captioner.inputs.readers import read

tfds = pytest.importorskip("tensorflow_datasets")


def encoded(seed, format="JPEG"):
    """The file of a small noisy image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


class TinyCocoCaptions(tfds.core.GeneratorBasedBuilder):
    """The features and splits of tfds's own coco_captions."""

    VERSION = tfds.core.Version("1.0.0")
    SIZES = {"train": 3, "val": 2, "test": 2, "restval": 1}

    def _info(self):
        box = {"id": np.int64, "bbox": tfds.features.BBoxFeature()}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "image/filename": tfds.features.Text(),
                    "image/id": np.int64,
                    "objects": tfds.features.Sequence(box),
                    "captions": tfds.features.Sequence({"text": np.str_, "id": np.int64}),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, size) for split, size in self.SIZES.items()}

    def _generate_examples(self, split, size):
        for i in range(size):
            id = 100 * list(self.SIZES).index(split) + i
            captions = [{"text": f"Thing {id} .", "id": 1}, {"text": "Un  café .", "id": 2}]
            box = {"id": 1, "bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0)}
            yield id, {
                "image": io.BytesIO(encoded(id)),
                "image/filename": f"{id}.jpg",
                "image/id": id,
                "objects": [box],
                "captions": captions,
            }


class TinySingleCaptions(tfds.core.GeneratorBasedBuilder):
    """One caption as a text, PNG images, one split, no ids."""

    VERSION = tfds.core.Version("1.0.0")
    CAPTION = "caption"

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "photo": tfds.features.Image(encoding_format="png"),
                    self.CAPTION: tfds.features.Text(),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(5):
            photo = io.BytesIO(encoded(i, "PNG"))
            yield i, {"photo": photo, self.CAPTION: f"Thing {i} ."}


class TinyWithoutCaptions(TinySingleCaptions):
    VERSION = tfds.core.Version("1.0.0")
    CAPTION = "weather"


class TinyListOfCaptions(tfds.core.GeneratorBasedBuilder):
    """Captions as a sequence of texts; a validation split but no test split."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "image_id": tfds.features.Text(),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples("t"), "validation": self._generate_examples("v")}

    def _generate_examples(self, prefix):
        for i in range(4):
            captions = ["A dog .", b"Caf\xe9 .", "A hen ."]
            image = io.BytesIO(encoded(i))
            yield i, {"image": image, "image_id": f"{prefix}{i}.jpg", "captions": captions}


class TinyLabels(tfds.core.GeneratorBasedBuilder):
    """Labels, and captions that classification makes nothing of; test has no labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "text": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["dog", "ice cream"]),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0), "test": self._generate_examples(-1)}

    def _generate_examples(self, label):
        for i in range(2):
            known = -1 if label < 0 and i else i
            yield i, {"image": io.BytesIO(encoded(i)), "text": f"Thing {i} .", "label": known}


class TinyUnreachable(TinySingleCaptions):
    VERSION = tfds.core.Version("1.0.0")

    def _split_generators(self, dl_manager):
        raise ConnectionError("the server can't be reached\nand more lines")


@pytest.fixture(autouse=True)
def prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))


def test_the_features_of_coco_captions(tmp_path, capsys):
    data = read("tfds:tiny_coco_captions", cache=tmp_path / "data")
    records = {record.id: record for record in data.records}
    assert {id: record.split for id, record in records.items()} == {
        "0": "train", "1": "train", "2": "train", "100": "dev", "101": "dev",
        "200": "test", "201": "test", "300": "train",
    }  # fmt: skip
    assert records["101"].captions == ("Thing 101 .", "Un café .")
    assert records["101"].image.suffix == ".jpg"
    # The bytes are those that went in: not decoded and encoded again.
    assert all(record.image.read_bytes() == encoded(int(id)) for id, record in records.items())
    assert not data.problems
    assert capsys.readouterr().out == ""  # that is where commands print their results


def test_labels_by_their_names(tmp_path):
    data = read("tfds:tiny_labels", cache=tmp_path / "data", prompts="classes")
    assert data.labelled
    assert [(one.captions, one.split) for one in data.records] == [
        (("dog",), "train"), (("ice cream",), "train"), (("dog",), "test"),
    ]  # fmt: skip
    assert data.problems.count("images without captions") == 1  # its label isn't published
    captioned = read("tfds:tiny_labels", cache=tmp_path / "data")
    assert captioned.records[0].captions == ("Thing 0 .",) and not captioned.labelled
    with pytest.raises(CaptionerError, match="no images with a class label; its features: photo"):
        read("tfds:tiny_single_captions", cache=tmp_path / "data", prompts="classes")


def test_the_second_reading_needs_no_builder(tmp_path, monkeypatch):
    first = read("tfds:tiny_single_captions", cache=tmp_path / "data")
    monkeypatch.setattr(tfds, "builder", None)
    assert read("tfds:tiny_single_captions", cache=tmp_path / "data").records == first.records
    assert first.records[0].image.is_relative_to(tmp_path / "data/tfds/tiny_single_captions")


def test_a_single_split_is_drawn_and_ids_are_numbers(tmp_path):
    data = read("tfds:tiny_single_captions:1.0.0", cache=tmp_path / "data")
    assert {record.split for record in data.records} == {"train", "dev", "test"}
    assert {record.id for record in data.records} == {f"train-{i:07d}" for i in range(5)}
    assert all(record.image.suffix == ".png" for record in data.records)
    assert {c for record in data.records for c in record.captions} == {
        f"Thing {i} ." for i in range(5)
    }


def test_validation_is_halved_where_there_is_no_test(tmp_path):
    data = read("tfds:tiny_list_of_captions", cache=tmp_path / "data")
    assert sorted(record.id for record in data.split("train")) == ["t0", "t1", "t2", "t3"]
    assert sorted(record.id for record in data.split("dev+test")) == ["v0", "v1", "v2", "v3"]
    assert data.split("dev")
    assert data.split("test")
    assert all(record.captions == ("A dog .", "A hen .") for record in data.records)
    assert data.problems.count("captions that are not UTF-8") == 8


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coco_captoins", "no data set 'coco_captoins'; did you mean coco_captions"),
        ("tiny_unreachable", "can't be downloaded: ConnectionError: the server can't be reached$"),
        ("tiny_without_captions", "no images with captions; its features: photo, weather"),
        ("tiny_single_captions:9.9.9", "tfds:tiny_single_captions:9.9.9: "),
    ],
)
def test_errors_are_one_clear_line(tmp_path, name, says):
    with pytest.raises(CaptionerError, match=says) as raised:
        read(f"tfds:{name}", cache=tmp_path / "data")
    assert "\n" not in str(raised.value)


def test_the_cache_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    written = []

    def full_disk(row):
        written.append(row)
        if len(written) == 3:
            raise OSError("no space left")
        return json.dumps(row)

    broken = types.SimpleNamespace(dumps=full_disk, loads=json.loads)
    monkeypatch.setattr("captioner.inputs.readers_tfds.json", broken)
    with pytest.raises(OSError, match="no space"):
        read("tfds:tiny_single_captions", cache=tmp_path / "data")
    assert list((tmp_path / "data/tfds").iterdir()) == []
    monkeypatch.setattr("captioner.inputs.readers_tfds.json", json)
    assert len(read("tfds:tiny_single_captions", cache=tmp_path / "data").records) == 5
    assert [path.name for path in (tmp_path / "data/tfds").iterdir()] == ["tiny_single_captions"]
