"""Published data sets as they are usually unpacked: flickr8k, coco and karpathy.

Their image names are never absolute and never leave the image folder; one that does is left out
and counted.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError
from captioner.inputs.readers_files import (
    IMAGE_ENDINGS,
    LEAVES,
    csv_rows,
    files_below,
    inside,
    text_lines,
)
from captioner.inputs.records import SPLITS, Gatherer


def read_flickr8k(path: Path, images: Path | None, gather: Gatherer) -> None:
    """flickr8k:DIR: Images/, captions.txt (CSV) or else Flickr8k.token.txt, and the split lists.

    The lists are Flickr_8k.{train,dev,test}Images.txt, whichever exist: a photo in none of them
    is left out; without any list, splits are drawn. The folders of the original archives
    (Flicker8k_Dataset, Flickr8k_text) are known too. Ids are file names without their ending.

    Source: Hodosh, Young and Hockenmaier, Framing Image Description as a Ranking Task, JAIR 2013.
    """
    if images is None:
        names = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset")
        images = _first(path / name for name in names)
    if images is None:
        raise CaptionerError(f"flickr8k:{path}: no folder of images; expected {path / 'Images'}")
    texts = (path, path / "Flickr8k_text")
    table = _first(folder / "captions.txt" for folder in texts)
    tokens = _first(folder / "Flickr8k.token.txt" for folder in texts)
    if table:
        rows = ((r["image"], r["caption"]) for r in csv_rows(table, ("image", "caption"), gather))
    elif tokens:
        rows = _token_rows(tokens, gather)
    else:
        expected = path / "captions.txt"
        raise CaptionerError(f"flickr8k:{path}: no captions; expected {expected} (image,caption)")

    listed: dict[str, str] = {}
    for split in SPLITS:
        file = _first(folder / f"Flickr_8k.{split}Images.txt" for folder in texts)
        for name in text_lines(file, gather) if file else ():
            if listed.setdefault(name, split) != split:
                kind = "images on a second split list (kept in the first)"
                gather.problems.add(kind, f"{name}: {listed[name]}, then {split}")

    captioned = set()
    for name, caption in rows:
        key = inside(name)
        if key is None:
            gather.problems.add(LEAVES, name)
        elif image := gather.image(key, images / key, split=listed.get(key)):
            captioned.add(key)
            gather.caption(image, caption)
    for name in sorted({*listed, *files_below(images, IMAGE_ENDINGS)} - captioned):
        gather.problems.add("images without captions", name)


def _token_rows(path: Path, gather: Gatherer) -> Iterator[tuple[str, str]]:
    """Rows of the original release: `name.jpg#0<TAB>caption`."""
    for line in text_lines(path, gather):
        name, _, caption = line.partition(" ")
        yield name.partition("#")[0], caption


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def read_coco(path: Path, images: Path | None, gather: Gatherer) -> None:
    """coco:DIR: annotations/captions_*.json and the image folders (train2014, val2017, ...).

    train* is train. COCO publishes no test captions, so without a file of test captions the
    images of val* are halved by hash into dev and test. A file whose name tells no split is read
    too; if all are such, splits are drawn. Where the captions of several years lie side by side
    (their images overlap), the year with the most image folders is read, the later of equals.
    Image folders are looked for in DIR and DIR/images, or in data.images, where the images may
    also lie without a folder each. Ids are COCO's image numbers.

    Source: Chen et al., Microsoft COCO Captions, 2015, arXiv:1504.00325.
    """
    folder = path / "annotations" if (path / "annotations").is_dir() else path
    files = sorted(folder.glob("captions_*.json"))
    if not files:
        expected = path / "annotations" / "captions_*.json"
        raise CaptionerError(f"coco:{path}: no captions; expected {expected}")
    years: dict[str, list[tuple[Path, str | None, Path]]] = {}
    for file in files:
        named = re.match(r"captions_(train|val|test)(\d*)", file.name)
        split, year = named.groups() if named else (None, "")
        name = f"{split}{year}" if split else "images"
        place = coco_images(path, images, name)
        if place:
            years.setdefault(year, []).append((file, split, place))
        else:
            left = f"{file.name}: no folder {name}"
            gather.problems.add("caption files without their images, left out", left)
    if not years:
        why = gather.problems.summary()
        raise CaptionerError(f"coco:{path}: no image folder; --set data.images=DIR names it: {why}")
    own = {year: sum(place.name == f"{split}{year}" for _, split, place in found)
           for year, found in years.items()}  # fmt: skip
    chosen = max(years, key=lambda year: (own[year], year))
    for year in years.keys() - {chosen}:
        for file, _, _ in years[year]:
            gather.problems.add(f"caption files of another year than {chosen}, left out", file.name)
    gather.split_dev = all(split != "test" for _, split, _ in years[chosen])
    for file, split, place in years[chosen]:
        _read_coco_file(file, split, place, gather)


def coco_images(path: Path, images: Path | None, name: str) -> Path | None:
    """The folder of the images called `name`, or the one in which all lie together."""
    roots = (images,) if images else (path, path / "images")
    return _first(root / name for root in roots) or _first(roots[-1:])


def _read_coco_file(file: Path, split: str | None, folder: Path, gather: Gatherer) -> None:
    content = load_json(file, ("images", "annotations"))
    known: dict[Any, Any] = {}
    for entry in content["images"]:
        try:
            number, name = entry["id"], entry["file_name"]
            key = inside(name)
        except (TypeError, KeyError, AttributeError):
            gather.problems.add("images without id and file_name", f"{file.name}: {entry}")
            continue
        if key is None:
            gather.problems.add(LEAVES, name)
            continue
        id = str(number)
        known[number] = gather.image(id, os.path.join(folder, key), id=id, split=split)
    for entry in content["annotations"]:
        try:
            image, caption = known[entry["image_id"]], entry["caption"]
        except (TypeError, KeyError):
            image = caption = None
        if image and isinstance(caption, str):
            gather.caption(image, caption)
        else:
            gather.problems.add("captions that name no listed image", f"{file.name}: {entry}")


def read_karpathy(path: Path, images: Path | None, gather: Gatherer) -> None:
    """karpathy:FILE.json: the split files of Karpathy and Li (dataset_coco.json, ...).

    Images are found as filepath/filename or filename below data.images; without that setting,
    below the file's folder, its images/ or Images/, or the folder above. restval counts as train,
    val as dev. Ids are `cocoid` where the file has it, else the file name without its ending.

    Source: Karpathy and Li, Deep Visual-Semantic Alignments, CVPR 2015, arXiv:1412.2306.
    """
    # `tokens` repeats `raw` as lists of words, two thirds of the memory: dropped while reading.
    content = load_json(path, ("images",), object_hook=_sentence_as_text)
    entries = []
    for entry in content["images"]:
        try:
            name, sentences = entry["filename"], entry["sentences"]
            parts = [part for part in (entry.get("filepath"), name) if part]
            long, short = inside("/".join(parts)), inside(name)
            if not isinstance(sentences, list):
                raise TypeError
        except (TypeError, KeyError, AttributeError):
            example = ", ".join(entry) if isinstance(entry, dict) else str(entry)
            gather.problems.add("images without filename and sentences", example)
            continue
        if long is None or short is None:
            gather.problems.add(LEAVES, "/".join(parts))
            continue
        id = str(entry["cocoid"]) if "cocoid" in entry else os.path.splitext(name)[0]
        entries.append((long, short, id, str(entry.get("split") or ""), sentences))

    beside = path.parent
    roots = (images,) if images else (beside, beside / "images", beside / "Images", beside.parent)
    place = _karpathy_images(roots, entries)
    if place is None:
        looked = " or ".join(str(root) for root in roots)
        example = f" (such as {entries[0][0]})" if entries else ""
        raise CaptionerError(
            f"karpathy:{path}: none of its images{example} in {looked}; "
            "name their folder with --set data.images=DIR"
        )
    root, form = place
    for entry in entries:
        long, short, id, split, sentences = entry
        image = gather.image(long, os.path.join(root, entry[form]), id=id, split=split)
        for text in sentences if image else ():
            if isinstance(text, str):
                gather.caption(image, text)
            else:
                gather.problems.add("sentences without raw or tokens", f"{id}: {text}")


def _sentence_as_text(entry: dict[str, Any]) -> Any:
    """A sentence's text in the place of its object, for json's `object_hook`."""
    if isinstance(entry.get("raw"), str):
        return entry["raw"]
    if isinstance(entry.get("tokens"), list):
        return " ".join(map(str, entry["tokens"]))
    return entry


def _karpathy_images(roots: tuple[Path, ...], entries: list[tuple]) -> tuple[Path, int] | None:
    """The first folder with any of the images, and which form of their names (0 long, 1 short)
    it takes."""
    for root in roots:
        for form in (0, 1):
            if any(os.path.exists(os.path.join(root, entry[form])) for entry in entries):
                return root, form
    return None


def load_json(path: Path, needed: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """A JSON object with lists of these names.

    Raises:
        CaptionerError: not JSON, or a name is missing (naming those found).
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            content = json.load(file, **options)
    except (ValueError, RecursionError) as error:
        raise CaptionerError(f"{path} is not valid JSON: {error}") from None
    for name in needed:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            found = ", ".join(content) if isinstance(content, dict) else "no object"
            raise CaptionerError(f"{path}: no list {name!r}; found: {found}")
    return content
