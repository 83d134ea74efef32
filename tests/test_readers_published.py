"""Published data sets: flickr8k, coco and karpathy, on small ones written here, and Flickr8k
itself where it is at hand."""

import json
import os
import time
from pathlib import Path

import pytest

from captioner.errors import CaptionerError
from captioner.inputs.readers import read

from data_folders import by_id, put, splits, write

ROOT = Path(__file__).resolve().parents[1]


# flickr8k

FLICKR = "image,caption\n1.jpg,A dog .\n1.jpg,A hen .\n2.jpg,A cat .\n3.jpg,A cow .\n4.jpg,Gone .\n"


def test_flickr8k_with_lists(tmp_path):
    put(tmp_path, *(f"Images/{i}.jpg" for i in (1, 2, 3, 5)))
    write(tmp_path / "captions.txt", FLICKR + "../1.jpg,A fox .\n/1.jpg,A fox .\n")
    write(tmp_path / "captions_without_images.txt", "image,caption\n9.jpg,Not to be read .\n")
    write(tmp_path / "Flickr_8k.trainImages.txt", "1.jpg\r\n4.jpg\n6.jpg")
    write(tmp_path / "Flickr_8k.testImages.txt", "2.jpg\n1.jpg\n")
    data = read(f"flickr8k:{tmp_path}")
    assert splits(data) == {"1": "train", "2": "test"}
    assert by_id(data)["1"].captions == ("A dog .", "A hen .")
    assert by_id(data)["1"].image == tmp_path / "Images/1.jpg"
    assert data.problems.count("images in no split") == 1  # 3.jpg
    assert data.problems.count("captions without an image file") == 1  # 4.jpg
    assert data.problems.count("images without captions") == 2  # 5.jpg and, listed, 6.jpg
    assert data.problems.count("images on a second split list (kept in the first)") == 1
    assert "2 image paths that leave their folder" in data.problems.summary()


def test_flickr8k_without_lists_draws_splits(tmp_path):
    put(tmp_path, *(f"Images/{i}.jpg" for i in (1, 2, 3)))
    write(tmp_path / "captions.txt", FLICKR)
    assert set(splits(read(f"flickr8k:{tmp_path}")).values()) == {"train", "dev", "test"}


def test_flickr8k_as_first_released(tmp_path):
    put(tmp_path, *(f"Flicker8k_Dataset/{i}.jpg" for i in (1, 2)))
    write(tmp_path / "Flickr8k_text/Flickr8k.token.txt", "1.jpg#0\tA dog .\n1.jpg#1\tA hen .\n"
          "2.jpg#0\tA cat # .\n2.jpg.1#0\tGone .\n")  # fmt: skip
    write(tmp_path / "Flickr8k_text/Flickr_8k.devImages.txt", "1.jpg\n2.jpg\n2.jpg.1\n")
    data = read(f"flickr8k:{tmp_path}")
    assert by_id(data)["1"].captions == ("A dog .", "A hen .")
    assert by_id(data)["2"].captions == ("A cat # .",)
    assert splits(data) == {"1": "dev", "2": "dev"}
    assert data.problems.count("captions without an image file") == 1


def test_flickr8k_without_captions(tmp_path):
    put(tmp_path, "Images/1.jpg")
    with pytest.raises(CaptionerError, match="no captions; expected .*captions.txt"):
        read(f"flickr8k:{tmp_path}")


def test_flickr8k_itself():
    shared = Path(os.environ.get("CAPTIONER_SHARED", ROOT.parent / "shared"))
    folder = shared / "data" / "flickr8k"
    if not folder.is_dir():
        pytest.skip(f"no Flickr8k photos in {folder} (CAPTIONER_SHARED names their folder)")
    data = read(f"flickr8k:{folder}")
    listed = {
        split: set((folder / f"Flickr_8k.{split}Images.txt").read_text().split())
        for split in ("train", "dev", "test")
    }
    for split, names in listed.items():
        assert {record.image.name for record in data.split(split)} == names
    rows = (folder / "captions.txt").read_text().count(".jpg,")
    assert sum(len(record.captions) for record in data.records) == rows
    assert all(record.id == record.image.stem for record in data.records)
    assert not data.problems


# coco


def coco_file(path, images, captions):
    """`images`: number to file name; `captions`: (number, text) pairs."""
    content = {
        "info": {},
        "images": [{"id": i, "file_name": name, "height": 2, "width": 2} for i, name in images],
        "annotations": [
            {"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(captions)
        ],
    }
    write(path, json.dumps(content))


def coco_split(root, split, numbers, folder=""):
    names = [(i, f"{i:012d}.jpg") for i in numbers]
    put(root / folder, *(f"{split}/{name}" for _, name in names))
    file = root / f"annotations/captions_{split}.json"
    coco_file(file, names, [(i, f"Thing {i} .") for i in numbers])


@pytest.mark.parametrize("folder", ["", "images"])
def test_coco_halves_its_validation_images(tmp_path, folder):
    coco_split(tmp_path, "train2017", range(1, 5), folder)
    coco_split(tmp_path, "val2017", range(100, 140), folder)
    data = read(f"coco:{tmp_path}")
    assert by_id(data)["3"].captions == ("Thing 3 .",)
    assert by_id(data)["3"].image == tmp_path / folder / "train2017/000000000003.jpg"
    assert {record.id for record in data.split("train")} == {"1", "2", "3", "4"}
    assert len(data.split("dev+test")) == 40
    assert 10 <= len(data.split("dev")) <= 30
    assert not data.problems


def test_coco_with_test_captions_keeps_all_of_dev(tmp_path):
    for split, numbers in (("train2014", [1]), ("val2014", [2, 3, 4]), ("test2014", [5])):
        coco_split(tmp_path, split, numbers)
    assert splits(read(f"coco:{tmp_path}")) == {
        "1": "train", "2": "dev", "3": "dev", "4": "dev", "5": "test",
    }  # fmt: skip


def test_coco_reads_one_year(tmp_path):
    coco_split(tmp_path, "train2014", [1, 2])
    coco_split(tmp_path, "val2014", [3, 4])
    # The annotations of both years are often unpacked together; only 2014's images are there.
    coco_file(tmp_path / "annotations/captions_train2017.json", [(3, "3.jpg")], [(3, "Leak .")])
    data = read(f"coco:{tmp_path}")
    assert {record.id for record in data.split("train")} == {"1", "2"}
    assert {record.id for record in data.split("dev+test")} == {"3", "4"}
    assert "captions_train2017.json" in data.problems.summary()
    coco_split(tmp_path, "train2017", [3, 4])
    coco_split(tmp_path, "val2017", [1, 2])
    data = read(f"coco:{tmp_path}")
    assert {record.id for record in data.split("train")} == {"3", "4"}
    assert data.problems.count("caption files of another year than 2017, left out") == 2


def test_coco_images_elsewhere_without_folders(tmp_path):
    put(tmp_path / "photos", *(f"{i}.jpg" for i in range(5)))
    file = tmp_path / "coco/annotations/captions_train2017.json"
    coco_file(file, [(i, f"{i}.jpg") for i in range(5)], [(i, "A dog .") for i in range(5)])
    data = read(f"coco:{tmp_path / 'coco'}", images=tmp_path / "photos")
    assert len(data.split("train")) == 5
    with pytest.raises(CaptionerError, match="no image folder; .*data.images.*train2017"):
        read(f"coco:{tmp_path / 'coco'}")


def test_coco_entries_that_are_broken_cost_only_themselves(tmp_path):
    put(tmp_path, "train2017/1.jpg", "val2017/2.jpg")
    content = {
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2}, {"id": 3, "file_name": "../x.jpg"},
                   {"id": 4, "file_name": "/etc/x.jpg"}],
        "annotations": [{"image_id": 1, "caption": "A\n dog ."}, {"image_id": 9, "caption": "A"},
                        {"image_id": 1}, {"image_id": 1, "caption": None},
                        {"image_id": 3, "caption": "A fox ."}],
    }  # fmt: skip
    write(tmp_path / "annotations/captions_train2017.json", json.dumps(content))
    data = read(f"coco:{tmp_path}")
    assert [(r.id, r.captions) for r in data.records] == [("1", ("A dog .",))]
    assert data.problems.count("captions that name no listed image") == 4
    assert data.problems.count("images without id and file_name") == 1
    assert "2 image paths that leave their folder" in data.problems.summary()


def test_coco_file_without_annotations(tmp_path):
    write(tmp_path / "annotations/captions_train2017.json", '{"images": [], "info": {}}')
    (tmp_path / "train2017").mkdir()
    with pytest.raises(CaptionerError, match="no list 'annotations'; found: images, info"):
        read(f"coco:{tmp_path}")


def test_coco_size_is_read_in_seconds(tmp_path):
    """20,000 images, 100,000 captions: a sixth of COCO."""
    coco_split(tmp_path, "train2017", [1])
    image = tmp_path / "train2017/000000000001.jpg"
    numbers = range(20_000)
    file = tmp_path / "annotations/captions_train2017.json"
    for i in numbers:
        os.link(image, tmp_path / f"train2017/{i}.jpg")
    captions = [(i, f"Thing {i} of {k} things .") for i in numbers for k in range(5)]
    coco_file(file, [(i, f"{i}.jpg") for i in numbers], captions)
    start = time.perf_counter()
    data = read(f"coco:{tmp_path}")
    assert time.perf_counter() - start < 10
    assert sum(len(record.captions) for record in data.records) == 100_000


# karpathy


def karpathy_entry(number, split, *texts, **more):
    name = f"COCO_{number:012d}.jpg"
    sentences = [{"tokens": text.lower().split(), "raw": text, "sentid": 7} for text in texts]
    return {"filename": name, "imgid": number, "split": split, "sentences": sentences} | more


def test_karpathy_coco(tmp_path):
    entries = [
        karpathy_entry(i, split, f"Thing {i} .", "A dog .", filepath="val2014", cocoid=1000 + i)
        for i, split in enumerate(["train", "restval", "val", "test"])
    ]
    put(tmp_path / "photos", *(f"val2014/{entry['filename']}" for entry in entries))
    file = write(tmp_path / "splits/dataset_coco.json", json.dumps({"images": entries}))
    with pytest.raises(CaptionerError, match="none of its images .*--set data.images=DIR"):
        read(f"karpathy:{file}")
    data = read(f"karpathy:{file}", images=tmp_path / "photos")
    assert splits(data) == {"1000": "train", "1001": "train", "1002": "dev", "1003": "test"}
    assert by_id(data)["1002"].captions == ("Thing 2 .", "A dog .")
    assert by_id(data)["1002"].image == tmp_path / "photos/val2014/COCO_000000000002.jpg"
    # The same file with the images in one folder.
    data = read(f"karpathy:{file}", images=tmp_path / "photos/val2014")
    assert len(data.records) == 4


@pytest.mark.parametrize("folder", ["", "images", "Images"])
def test_karpathy_flickr8k_beside_its_images(tmp_path, folder):
    entries = [karpathy_entry(i, "train", f"Thing {i} .") for i in range(3)]
    entries[0]["sentences"] = [{"tokens": ["a", "dog"]}]
    put(tmp_path / folder, *(entry["filename"] for entry in entries))
    data = read(f"karpathy:{write(tmp_path / 'dataset.json', json.dumps({'images': entries}))}")
    assert by_id(data)["COCO_000000000000"].captions == ("a dog",)
    assert set(splits(data).values()) == {"train"}


def test_karpathy_entries_that_are_broken_cost_only_themselves(tmp_path):
    good = karpathy_entry(1, "train", "A dog .")
    put(tmp_path, good["filename"])
    bad_names = [{"filename": name, "sentences": []} for name in ("../x.jpg", "/x.jpg")]
    entries = [good, {"filename": "x.jpg"}, 3, *bad_names,
               {"filename": good["filename"], "sentences": [{"sentid": 1}, 5]},
               {"filename": "y.jpg", "sentences": 5}]  # fmt: skip
    data = read(f"karpathy:{write(tmp_path / 'd.json', json.dumps({'images': entries}))}")
    assert [r.captions for r in data.records] == [("A dog .",)]
    assert data.problems.count("images without filename and sentences") == 3
    assert data.problems.count("sentences without raw or tokens") == 2
    assert "2 image paths that leave their folder" in data.problems.summary()
