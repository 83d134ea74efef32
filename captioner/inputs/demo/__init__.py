"""The embedded data set: pictures drawn here, with captions, from a seed.

    from captioner.inputs import demo
    demo.write(Path("data/demo"))             # 2,400 pictures, 12,000 captions: `csv:` format
    picture = demo.draw(demo.scene(seed=7))   # one of them, as a PIL image

The road: `things*` and `backgrounds*` hold the drawings, `layouts` composes scenes of them,
`splits` deals those out, `captions` speaks of them, `questions` asks, `contexts` tells what they
don't show, and `render` draws them.
Nothing here imports TensorFlow. The same settings give the same bytes, whatever the number of
processes (given the same Pillow and NumPy).
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from captioner import children
from captioner.errors import CaptionerError
from captioner.inputs.demo import render
from captioner.inputs.demo.captions import captions
from captioner.inputs.demo.contexts import contexts
from captioner.inputs.demo.questions import Made, questions
from captioner.inputs.demo.render import draw
from captioner.inputs.demo.scenes import KINDS, Scene
from captioner.inputs.demo.splits import SPLITS, held_out, scene

__all__ = [
    "KINDS", "Scene", "asked", "captions", "contexts", "draw", "held_out", "questions", "scene",
    "shown", "split_sizes", "told", "write",
]  # fmt: skip

VERSION = 1  # raise it whenever the same settings give other pictures or captions
FEW = 48  # so many pictures are drawn faster here than a second process starts

Progress = Callable[[int, int], None]


def split_sizes(images: int) -> dict[str, int]:
    """How many pictures go to each split: a twelfth to dev and to test, at least one each."""
    part = max(1, round(images / 12))
    return {"train": images - 2 * part, "dev": part, "test": part}


def write(
    folder: Path,
    *,
    images: int = 2400,
    seed: int = 0,
    side: int = 256,
    progress: Progress | None = None,
) -> None:
    """Writes the data set as `folder/captions.csv`, whole or not at all.

    The folder holds `captions.csv` (image, caption, split; one row a caption, five an image),
    `images/SPLIT/NUMBER.jpg` and `scenes.json` (the settings, and each picture's description: see
    `Scene.description`). A finished set with the same settings is left as it is; one with other
    settings is replaced.

    Args:
        folder: where to write; its parent is made if need be.
        images: how many pictures, over all splits; at least 3.
        seed: of everything that is drawn by lot.
        side: width and height of the pictures, in pixels; at least 32.
        progress: called with (pictures done, pictures in all).

    Raises:
        CaptionerError: settings out of range; a folder there that isn't a demo set; a failed write.
    """
    folder = Path(folder)
    settings = {"version": VERSION, "images": images, "seed": seed, "side": side}
    if images < 3 or side < 32:
        raise CaptionerError(
            f"demo data: {images} images of {side} pixels; ask for at least 3 of at least 32"
        )
    if folder.exists():
        if _settings(folder) == settings:
            return
        if not folder.is_dir() or (any(folder.iterdir()) and _settings(folder) is None):
            raise CaptionerError(
                f"{folder} exists and is no demo data set; name another folder or remove it"
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise CaptionerError(f"cannot write demo data to {folder}: {error.strerror}") from error
    try:
        fresh.chmod(0o755)  # mkdtemp's is for the owner alone
        _write_images(fresh, images, seed, side, progress)
        _write_tables(fresh, settings)
        _put_in_place(fresh, folder, settings)
    except OSError as error:
        raise CaptionerError(f"cannot write demo data to {folder}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def asked(images: int = 2400, seed: int = 0) -> Iterator[tuple[str, str, list[Made]]]:
    """Each picture of the set that `write` writes, in its order: name, split and the questions
    about it, as `questions` has them. Nothing of that is kept on disk: it takes seconds."""
    for split, count in split_sizes(images).items():
        scenes = [scene(seed, index, split) for index in range(count)]
        for index, made in enumerate(questions(scenes)):
            yield render.image_name(split, index), split, made


def told(images: int = 2400, seed: int = 0) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """The same with the texts around each picture, and the sentences that need both."""
    for split, index in _names(images):
        yield render.image_name(split, index), split, contexts(scene(seed, index, split), split)


def shown(images: int = 2400, seed: int = 0) -> Iterator[tuple[str, str, str]]:
    """The same of pictures that show things of a single kind: name, split and that kind."""
    for split, index in _names(images):
        kinds = {group.kind for group in scene(seed, index, split).groups}
        if len(kinds) == 1:
            yield render.image_name(split, index), split, *kinds


def _settings(folder: Path) -> dict | None:
    """The settings of a finished set, or None."""
    try:
        with open(folder / "scenes.json", encoding="utf-8") as file:
            return json.load(file)["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _put_in_place(fresh: Path, folder: Path, settings: dict) -> None:
    """Renames the finished set; an older one goes only once the new one is complete."""
    if folder.exists():
        if _settings(folder) == settings:  # another process was quicker
            return
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        try:
            folder.rename(old / "set")
            fresh.rename(folder)
        finally:
            shutil.rmtree(old, ignore_errors=True)
    else:
        fresh.rename(folder)


def _names(images: int) -> list[tuple[str, int]]:
    return [(split, k) for split in SPLITS for k in range(split_sizes(images)[split])]


def _write_images(fresh: Path, images: int, seed: int, side: int, progress: Progress | None):
    workers = min(_processors(), 8)
    if images <= FEW or workers == 1 or not sys.executable:
        dots: Iterator = render.save(fresh, _names(images), seed, side)
    else:
        dots = _in_processes(fresh, images, seed, side, workers)
    with closing(dots):  # so that the workers end before the folder goes, whatever happens
        for done, _ in enumerate(dots, 1):
            if progress:
                progress(done, images)


def _processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_processes(fresh: Path, images: int, seed: int, side: int, workers: int) -> Iterator[bytes]:
    """Draws in `workers` processes of this same Python; yields once a picture.

    Plain commands rather than `multiprocessing`: its "spawn" imports the caller's main module anew
    (here one that loads TensorFlow) and its "fork" is unsafe once TensorFlow runs threads.
    """
    command = [sys.executable, "-m", "captioner.inputs.demo.worker", str(fresh.resolve())]
    for name, value in {"seed": seed, "side": side, "step": workers, **split_sizes(images)}.items():
        command += [f"--{name}", str(value)]
    # All share one pipe for their dots, so that reading it never starves one of them.
    out, into = os.pipe()
    running = []
    try:
        for number in range(workers):
            running.append(
                subprocess.Popen(
                    [*command, "--start", str(number)],
                    stdin=subprocess.DEVNULL,
                    stdout=into,
                    stderr=subprocess.PIPE,
                    env=children.environment(),
                )
            )
        os.close(into)
        into = None
        while dots := os.read(out, 4096):
            for _ in dots:
                yield b"."
        for process in running:
            _, complaint = process.communicate()
            if process.returncode:
                lines = complaint.decode(errors="replace").split("\n")
                last = next((line for line in reversed(lines) if line.strip()), "no reason given")
                raise CaptionerError(f"drawing the demo data failed: {last}")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stderr:
                process.stderr.close()
        os.close(out)
        if into is not None:
            os.close(into)


def _write_tables(fresh: Path, settings: dict) -> None:
    described = []
    with open(fresh / "captions.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "caption", "split"])
        for split, index in _names(settings["images"]):
            made = scene(settings["seed"], index, split)
            name = render.image_name(split, index)
            table.writerows([name, caption, split] for caption in captions(made))
            described.append({"image": name, "split": split, **made.description()})
    with open(fresh / "scenes.json", "w", encoding="utf-8") as file:
        json.dump({"settings": settings, "scenes": described}, file, indent=0, sort_keys=True)
        file.write("\n")
