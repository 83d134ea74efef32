"""python -m captioner.search: finds photographs by a sentence or by a photograph."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from captioner import commandline
from captioner.errors import CaptionerError
from captioner.inputs.named import expand, printable
from captioner.photo_index import Hit, PhotoIndex, state_of, usearch_index
from captioner.searching import load_towers, open_index

_CHUNK = 64
# Photographs after which a long build is saved.
_EVERY = 5000


def main(arguments: argparse.Namespace) -> int:
    """Builds, or adds to, an index; or searches it."""
    sys.stdout.reconfigure(errors="backslashreplace")
    usearch_index()  # before a model is loaded for nothing
    return arguments.command(arguments)


def build(arguments: argparse.Namespace) -> int:
    """Adds photographs to an index. Those that it has are left alone, changed ones replaced, and
    those that are gone from the folders named are forgotten; corrupt ones are named and skipped."""
    paths = list(dict.fromkeys(os.path.abspath(one) for one in expand(arguments.photos)))
    model = load_towers(arguments.model)
    index = PhotoIndex.begin(
        arguments.index, os.path.abspath(arguments.model), model.identity, model.width
    )
    known = index.photos()
    states = {path: state_of(path) for path in paths}
    new = [path for path in paths if known.get(path, (0, ""))[1] != states[path]]
    gone = _gone(known, set(paths), arguments.photos)
    for path in gone:
        index.remove(known[path][0])
    added, changed, unreadable = 0, bool(gone), {}

    from captioner.learning.data import counting, tell

    with counting("embedding") as progress:
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            vectors, errors = model.images(chunk)
            unreadable |= {path: why for path, why in zip(chunk, errors, strict=True) if why}
            for path in chunk:
                if path in known:  # changed, for better or worse
                    index.remove(known[path][0])
                    changed = True
            good = [row for row, why in enumerate(errors) if not why]
            rows = [chunk[row] for row in good]
            index.add(rows, [states[path] for path in rows], vectors[good])
            added += len(good)
            progress(start + len(chunk), len(new))
            if (start + len(chunk)) // _EVERY > start // _EVERY:
                index.save()
    if not len(index):
        reason = next(iter(unreadable.items()), None)
        more = f": {printable(reason[0])}: {reason[1]}" if reason else ""
        raise CaptionerError(f"none of {len(paths)} photographs can be indexed{more}")
    if added or changed:
        index.save()
    for path, why in unreadable.items():
        print(f"{printable(path)}: {why}", file=sys.stderr)
    if unreadable:
        tell(f"left out: {len(unreadable)} of {len(new)} that can't be read")
    if arguments.json:
        row = {"index": str(arguments.index), "photos": len(index), "added": added}
        print(json.dumps(row | {"removed": len(gone), "unreadable": unreadable}))
    else:
        print(
            f"{arguments.index}: {len(index):,} photographs ({added:,} added, {len(gone):,} "
            f"removed, {len(unreadable):,} left out)"
        )
    return 0


def text(arguments: argparse.Namespace) -> int:
    """Finds photographs by a sentence."""
    index, model = open_index(arguments.index, arguments.model)
    (vector,) = model.texts([arguments.text])
    show(index.search(vector, arguments.count), arguments.json)
    return 0


def image(arguments: argparse.Namespace) -> int:
    """Finds photographs by a photograph."""
    index, model = open_index(arguments.index, arguments.model)
    (vector,), (error,) = model.images([arguments.image])
    if error:
        raise CaptionerError(f"{arguments.image}: {error}")
    show(index.search(vector, arguments.count), arguments.json)
    return 0


def show(hits: Iterable[Hit], as_json: bool) -> None:
    """Prints what was found, the nearest first."""
    for hit in hits:
        if as_json:
            print(json.dumps({"image": hit.image, "similarity": hit.similarity}))
        else:
            print(f"{hit.similarity:.4f}\t{printable(hit.image)}")


def _gone(known: Iterable[str], there: set[str], words: Iterable[str]) -> list[str]:
    """Indexed photographs of the folders named that are no more."""
    folders = [os.path.join(os.path.abspath(one), "") for one in words if os.path.isdir(one)]
    return [
        path
        for path in known
        if path not in there and path.startswith(tuple(folders)) and not os.path.exists(path)
    ]


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("search", __doc__.partition(": ")[2])
    commands = made.add_subparsers(metavar="build|text|image", required=True)

    def command(name: str, function) -> argparse.ArgumentParser:
        said = function.__doc__.partition(".")[0] + "."
        one = commands.add_parser(name, help=said, description=said, allow_abbrev=False)
        one.set_defaults(command=function)
        one.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )  # fmt: skip
        one.add_argument(
            "--index", type=Path, required=True, metavar="DIR", help="the index's folder"
        )
        needed = name == "build"
        hint = "a run folder or an export" + ("" if needed else " (default: what made the index)")
        one.add_argument("--model", type=Path, required=needed, metavar="DIR", help=hint)
        one.add_argument("--json", action="store_true", help="print JSON")
        if not needed:
            one.add_argument(
                "--count", type=commandline.count, default=10, metavar="N",
                help="how many to find (default: 10)",
            )  # fmt: skip
        return one

    command("build", build).add_argument(
        "photos", nargs="+", metavar="PHOTOS", help="files, folders or patterns"
    )
    command("text", text).add_argument("text", metavar="TEXT", help="a sentence")
    command("image", image).add_argument("image", metavar="IMAGE", help="a photograph")
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
