"""tfds:NAME: captioned or labelled data sets of tensorflow_datasets, such as coco_captions.

Training draws images in any order, and tfds only streams them. So the images' encoded bytes are
written once, as they are, to a folder of their own beside an index; afterwards neither
tensorflow_datasets nor TensorFlow is needed to read them. That folder appears whole or not at
all: it is written under another name and then renamed.
"""

import contextlib
import difflib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError
from captioner.inputs.records import Gatherer, split_name

_INDEX = "index.jsonl"

# What builders call these features; the first that is there is taken.
_CAPTIONS = ("captions", "caption", "text", "sentences")
_IDS = ("image/id", "image_id", "image/filename", "image_filename", "filename")

_MAGIC = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"))


def read_tfds(name: str, cache: Path, gather: Gatherer, labels: bool = False) -> None:
    """tfds:NAME, where NAME may have a config and version (`coco_captions/2014:1.1.0`).

    The data set needs an image feature and captions: a text, a sequence of texts, or a sequence
    of dicts with `text`; or with `labels` a class label, whose name is the image's caption. A
    single split is divided like data without splits; where there is a validation split and no test
    split, it is halved by hash. It is prepared, downloading if need be, in TFDS_DATA_DIR (default
    ~/tensorflow_datasets), and copied to `cache`/NAME.

    Source: https://www.tensorflow.org/datasets/api_docs/python/tfds/decode/SkipDecoding

    Raises:
        CaptionerError: no such data set, it can't be prepared, or it lacks images or captions.
    """
    if not re.fullmatch(r"\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?", name):
        raise CaptionerError(f"data tfds:{name}: expected a name such as tfds:coco_captions")
    folder = cache / (name.replace("/", "-").replace(":", "-") + ("-labels" if labels else ""))
    gather.labelled = labels
    if not (folder / _INDEX).is_file():
        _materialise(name, folder, labels)
    with (folder / _INDEX).open(encoding="utf-8") as index:
        rows = [json.loads(line) for line in index]
    splits = {row["split"] for row in rows}
    usual = {split_name(split) for split in splits}
    gather.split_dev = "dev" in usual and "test" not in usual
    for row in rows:
        split = row["split"] if len(splits) > 1 else None
        image = gather.image(row["id"], folder / row["image"], id=row["id"], split=split)
        for caption in row["captions"] if image else ():
            gather.caption(image, caption)


def _materialise(name: str, folder: Path, labels: bool) -> None:
    """Writes a data set's encoded images and its index to `folder`, whole or not at all."""
    builder = _prepared(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # mkdtemp: two processes that start at once must not write into each other's folder.
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with (part / _INDEX).open("w", encoding="utf-8") as index:
            for split in builder.info.splits:
                (part / split).mkdir()
                examples = _examples(name, builder, split, labels)
                for number, (id, content, captions) in enumerate(examples):
                    ending = next((e for m, e in _MAGIC if content.startswith(m)), ".img")
                    file = f"{split}/{number:07d}{ending}"
                    (part / file).write_bytes(content)
                    row = {
                        "id": id or f"{split}-{number:07d}",
                        "image": file,
                        "captions": captions,
                        "split": split,
                    }
                    index.write(json.dumps(row) + "\n")
        part.chmod(0o755)  # mkdtemp's 0700 would shut out those who share the cache
        try:
            part.rename(folder)
        except OSError:
            if not (folder / _INDEX).is_file():  # else another process was first: use its folder
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _prepared(name: str) -> Any:
    """The builder of a data set, downloaded and prepared."""
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise CaptionerError(
            f"data tfds:{name} needs TensorFlow Datasets: pip install tensorflow-datasets"
        ) from None
    where = os.environ.get("TFDS_DATA_DIR")
    try:
        builder = tfds.builder(name, data_dir=where)
    except tfds.core.registered.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.partition("/")[0].lower(), known)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise CaptionerError(f"tensorflow_datasets has no data set {name!r}{hint}") from None
    except Exception as error:  # its own kinds of error for configs and versions vary by release
        raise CaptionerError(f"data tfds:{name}: {_first_line(error)}") from error
    if not builder.is_prepared():
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for a command's results
                builder.download_and_prepare()
        except Exception as error:  # no network, no space, a missing manual download, ...
            raise CaptionerError(
                f"data tfds:{name} is not prepared in {where or '~/tensorflow_datasets'} "
                f"(TFDS_DATA_DIR sets the place) and can't be downloaded: {_first_line(error)}"
            ) from error
    return builder


def _examples(
    name: str, builder: Any, split: str, labels: bool
) -> Iterator[tuple[str, bytes, list[str]]]:
    """Id (maybe empty), encoded image and captions (with `labels` its label's name) of each
    example."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    names = list(features.keys()) if hasattr(features, "keys") else []
    images = [n for n in names if isinstance(features[n], tfds.features.Image)]
    image = "image" if "image" in images else next(iter(images), None)
    if labels:
        known = [n for n in names if isinstance(features[n], tfds.features.ClassLabel)]
        captions = "label" if "label" in known else next(iter(known), None)
    else:
        captions = next((n for n in _CAPTIONS if n in names), None)
    if image is None or captions is None:
        what = "a class label" if labels else "captions"
        raise CaptionerError(
            f"data tfds:{name} has no images with {what}; its features: {', '.join(names)}"
        )
    id = next((n for n in _IDS if n in names), None)
    wanted = {n: features[n] for n in (image, captions, id) if n}
    decoders = tfds.decode.PartialDecoding(wanted, {image: tfds.decode.SkipDecoding()})
    stream = builder.as_dataset(split=split, decoders=decoders)
    for example in tfds.as_numpy(stream):
        said = example[captions]
        if labels:  # -1 where it isn't published
            texts = [features[captions].int2str(int(said))] if said >= 0 else []
        else:
            texts = _texts(said)
        yield _id(example.get(id)), example[image], texts


def _id(value: Any) -> str:
    if isinstance(value, bytes):
        return os.path.splitext(value.decode("utf-8", "replace"))[0]
    return "" if value is None else str(value)


def _texts(value: Any) -> list[str]:
    """Captions from a text, a sequence of texts, or what tfds makes of a sequence of dicts: a
    dict of sequences. Bytes that aren't UTF-8 stay marked, for the Gatherer to refuse."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("text", "caption", "raw") if name in value), [])
    if isinstance(value, bytes):
        value = [value]
    return [text.decode("utf-8", "surrogateescape") for text in value]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
