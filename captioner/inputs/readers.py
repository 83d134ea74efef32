"""Reads captioned data sets: `read(SPEC)` finds the reader and hands it what it needs.

A SPEC is `demo` or `KIND:WHERE`. A reader only says what its files say, to a `records.Gatherer`;
what becomes of missing images, repeated captions and splits is decided there, for all alike.
The readers: readers_files.py (csv, jsonl, folder: the user's own files), readers_published.py
(flickr8k, coco, karpathy), readers_vqa.py (questions), readers_classes.py and readers_tfds.py.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.config import near_misses
from captioner.errors import CaptionerError
from captioner.inputs.readers_classes import read_classes
from captioner.inputs.readers_files import read_csv, read_folder, read_jsonl
from captioner.inputs.readers_published import read_coco, read_flickr8k, read_karpathy
from captioner.inputs.readers_tfds import read_tfds
from captioner.inputs.readers_vqa import read_vqa
from captioner.inputs.records import DataSet, Gatherer

Reader = Callable[[Path, Path | None, Gatherer], None]

_READERS: dict[str, tuple[str, Reader]] = {
    "flickr8k": ("DIR", read_flickr8k),
    "coco": ("DIR", read_coco),
    "karpathy": ("FILE.json", read_karpathy),
    "vqa": ("DIR", read_vqa),
    "classes": ("DIR", read_classes),
    "csv": ("FILE", read_csv),
    "jsonl": ("FILE", read_jsonl),
    "folder": ("DIR", read_folder),
}
_KINDS = ("demo", *_READERS, "tfds")


def read(
    spec: str,
    *,
    images: Path | None = None,
    cache: Path = Path("data"),
    progress: Any = None,
    prompts: str = "",
) -> DataSet:
    """Reads the data set that a SPEC names.

    Args:
        spec: demo, flickr8k:DIR, coco:DIR, karpathy:FILE.json, vqa:DIR, classes:DIR, csv:FILE,
            jsonl:FILE, folder:DIR or tfds:NAME.
        images: The folder that image names are relative to, where it isn't the usual one (the
            setting data.images). The demo and tfds keep their own images and ignore it.
        cache: The folder for what is written first: the demo's images, the files of tfds.
        progress: Handed to `demo.write`, which documents it; other readers are quick.
        prompts: What the demo's pictures come with instead of captions: `questions` and answers,
            `contexts` (texts around them) and sentences that need both, `classes` (what they show;
            of tfds its labels, too), or '' for captions.

    Returns:
        The usable records and a report of the rest.

    Raises:
        CaptionerError: an unknown kind, a missing file or folder, missing columns, or no usable
            image; one line that says what was expected where.
    """
    kind, _, where = spec.strip().partition(":")
    if kind not in _KINDS:
        raise CaptionerError(f"unknown kind of data {kind!r}{near_misses(kind.lower(), _KINDS)}")
    if kind == "demo":
        if where:
            raise CaptionerError(f"data {spec!r}: demo takes nothing after it; write demo")
        return _read_demo(cache, progress, prompts)
    expected = "NAME" if kind == "tfds" else _READERS[kind][0]
    if not where.strip():
        raise CaptionerError(f"data {spec!r}: write {kind}:{expected}")
    gather = Gatherer()
    if kind == "tfds":
        read_tfds(where, cache / "tfds", gather, labels=prompts == "classes")
        return gather.finish(spec)

    path = Path(where).expanduser()
    if images is not None:
        images = images.expanduser()
        if not images.is_dir():
            raise CaptionerError(f"data.images={images}: no such folder")
    if expected == "DIR" and not path.is_dir():
        found = "that is a file" if path.exists() else "no such folder"
        raise CaptionerError(f"data {spec}: {found}; expected {kind}:{expected}")
    if expected != "DIR" and not path.is_file():
        found = "that is a folder" if path.exists() else "no such file"
        raise CaptionerError(f"data {spec}: {found}; expected {kind}:{expected}")
    _READERS[kind][1](path, images, gather)
    return gather.finish(spec)


def _read_demo(cache: Path, progress: Any, prompts: str) -> DataSet:
    """demo: the embedded data set, drawn where it isn't there yet; captions are read as CSV."""
    from captioner.inputs import demo  # it draws pictures: only whoever reads the demo imports it

    folder = cache / "demo"
    demo.write(folder, progress=progress)
    gather = Gatherer()
    if prompts == "classes":
        gather.labelled = True
        for name, split, kind in demo.shown():
            image = gather.image(name, os.path.join(os.path.abspath(folder), name), split=split)
            gather.caption(image, kind)
    elif prompts:
        gather.with_prompts = True
        made = demo.asked() if prompts == "questions" else demo.told()
        for name, split, rows in made:
            image = gather.image(name, os.path.join(os.path.abspath(folder), name), split=split)
            for prompt, caption, *known in rows:
                gather.caption(image, caption, prompt, *known)
    else:
        read_csv(folder / "captions.csv", None, gather)
    return gather.finish("demo")
