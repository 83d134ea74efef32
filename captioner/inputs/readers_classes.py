"""classes:DIR: a folder of images for each class, whose name is an image's one caption."""

import os
from collections import Counter
from pathlib import Path

from captioner.errors import CaptionerError
from captioner.inputs.readers_files import IMAGE_ENDINGS, files_below
from captioner.inputs.records import Gatherer, fold, split_name


def read_classes(path: Path, images: Path | None, gather: Gatherer) -> None:
    """classes:DIR: DIR/CLASS/*.jpg, at any depth below CLASS; or with splits, DIR/train/CLASS,
    DIR/val/CLASS, DIR/test/CLASS.

    Folders are splits where at least two of them are named as such and hold folders of images.
    Hidden files and links to folders are passed over, as by `folder:`.

    Raises:
        CaptionerError: data.images is set, or there is no image in any class.
    """
    if images is not None:
        raise CaptionerError(
            f"classes:{path}: the folders of the classes hold the images; unset data.images"
        )
    gather.labelled = True
    pictures = files_below(path, IMAGE_ENDINGS)
    splits = _splits(pictures)
    empty = _folders(path, splits)
    for name in pictures:
        split = None
        parts = name.split("/")
        if splits:
            if parts[0] not in splits:
                gather.problems.add("images in no split", name)
                continue
            split, parts = parts[0], parts[1:]
        if len(parts) < 2:
            gather.problems.add("images in no class's folder", name)
            continue
        empty.pop("/".join(name.split("/")[: 2 if splits else 1]), None)
        image = gather.image(name, path / name, split=split if len(splits) > 1 else None)
        if image:
            gather.caption(image, parts[0])
    for folder in empty:
        gather.problems.add(f"classes without images ({' '.join(IMAGE_ENDINGS)})", folder)
    _check_names(pictures, splits, gather)


def _splits(pictures: list[str]) -> set[str]:
    """The folders that are splits; none where the classes lie in DIR itself."""
    depths: dict[str, int] = {}
    for name in pictures:
        top, *rest = name.split("/")
        depths[top] = max(depths.get(top, 0), len(rest))
    named = {top for top, depth in depths.items() if depth >= 2 and split_name(top)}
    # One folder named so and nothing else is what somebody unpacked: its classes are the classes.
    return named if len(named) > 1 or (named and named == depths.keys()) else set()


def _folders(path: Path, splits: set[str]) -> dict[str, None]:
    """The folders of classes, relative, sorted; those without an image in them included."""
    found = []
    for parent in sorted(splits) or [""]:
        with os.scandir(path / parent) as entries:
            found += [
                f"{parent}/{one.name}" if parent else one.name
                for one in entries
                if one.is_dir(follow_symlinks=False) and one.name[0] != "."
                and one.name != "__MACOSX"
            ]  # fmt: skip
    return dict.fromkeys(sorted(found))


def _check_names(pictures: list[str], splits: set[str], gather: Gatherer) -> None:
    """Counts folders whose names differ by white space alone, which are one class."""
    place = 1 if splits else 0
    names = {name.split("/")[place] for name in pictures if name.count("/") > place}
    shared = Counter(fold(name) for name in names)
    for name, count in shared.items():
        if count > 1:
            gather.problems.add("names of several folders (taken as one class)", name)
