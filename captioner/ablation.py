"""Ablation: what each part of a recipe brings, by training without it.

Every training is `captioner.train` in a process and a run folder of its own, so that memory is
given back, a killed one resumes, and a finished one is not trained again. What is left to do is
read off the folder alone.

    OUT/full-0/                           a run folder: variant and seed (its export is removed)
    OUT/full-0/scores.SPLIT.json          what `captioner.evaluate --scores` wrote
    OUT/full-0/scores.VARIANT.SPLIT.json  the same of a variant that searches otherwise
    OUT/notes/full-0.json                 seconds of training, and why it failed if it did
    OUT/logs/full-0.log                   what the commands said
"""

import json
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from captioner import config, tasks
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import write_json
from captioner.reporting.ablated import FULL, PLAIN, Row

_NAME = re.compile(r"[A-Za-z0-9_]+")
_INTERRUPTED = 130

Run = Callable[[Sequence[str], Path], int]
"""Runs a command's words (`train --run DIR ...`), adds what it says to a log file, and gives its
exit code."""


@dataclass(frozen=True)
class Part:
    """A part of a recipe."""

    name: str
    about: str
    overrides: tuple[str, ...]
    """`--set` words that leave it out."""
    instead: bool = False
    """Whether they put something else in its place; the plain model goes without."""


def read_parts(recipe: str, path: Path | None = None) -> list[Part]:
    """The parts of a recipe: those of a TOML file, or those that the package knows.

    Raises:
        CaptionerError: no such file, none for this recipe, or not such a file.
    """
    if path is None:
        known = resources.files("captioner") / "recipes" / "parts" / f"{Path(recipe).stem}.toml"
        if not known.is_file():
            raise CaptionerError(
                f"no parts are known of the recipe {recipe}: write them down as "
                "captioner/recipes/parts/flickr8k.toml does, and name the file with --parts"
            )
        text, where = known.read_text(encoding="utf-8"), f"recipes/parts/{known.name}"
    else:
        try:
            text, where = path.read_text(encoding="utf-8"), str(path)
        except FileNotFoundError:
            raise CaptionerError(f"no file of parts {path}") from None
        except UnicodeDecodeError:
            raise CaptionerError(f"{path} holds no parts: it isn't UTF-8") from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CaptionerError(f"{where}: {error}") from None
    found = tree.get("parts")
    if not isinstance(found, dict) or not found or len(tree) > 1:
        raise CaptionerError(f"{where}: expected tables [parts.NAME] and nothing else")
    return [_part(name, one, where) for name, one in found.items()]


def _part(name: str, one: Any, where: str) -> Part:
    """A part of a file, checked."""
    said = f"{where}: [parts.{name}]"
    if not _NAME.fullmatch(name) or name in (FULL, PLAIN):
        raise CaptionerError(
            f"{said}: a name has letters, digits and _ (they name folders), and is not "
            f"{FULL} or {PLAIN}"
        )
    if not isinstance(one, dict) or set(one) - {"instead"} != {"about", "set"}:
        raise CaptionerError(f"{said}: expected about and set (and instead = true, if it is so)")
    about, words, instead = one["about"], one["set"], one.get("instead", False)
    if not isinstance(instead, bool):
        raise CaptionerError(f"{said}: instead must be true or false")
    if not isinstance(about, str) or not about.strip():
        raise CaptionerError(f"{said}: about must say what it is")
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise CaptionerError(f'{said}: set must be a list such as ["train.average=0"]')
    return Part(name, " ".join(about.split()), tuple(words), instead)


@dataclass(frozen=True)
class Variant:
    """A recipe without one of its parts, without any, or whole."""

    name: str
    about: str
    overrides: tuple[str, ...]
    """`--set` words beside the seed."""
    settings: Settings
    searched: bool = False
    """Whether it is the full model with another search, which needs no training."""
    instead: bool = False
    """Whether it puts something in a part's place."""


def variants(
    recipe: str,
    data: str | None,
    overrides: Sequence[str],
    parts: Sequence[Part],
    tell: Callable[[str], None] = lambda text: None,
) -> list[Variant]:
    """The full recipe, the plain one, and one without each part, in this order. Where all parts put
    something in another's place, there is no plain one.

    Args:
        recipe, data, overrides: as `config.settings` takes them, for all of them.
        parts: a part's settings beat `overrides`. The plain model has those of all parts that put
            nothing in another's place.
        tell: told of parts that are passed over, as they are not in use.

    Raises:
        CaptionerError: settings that can't be.
    """

    def settings(name: str, words: Sequence[str]) -> Settings:
        try:
            return config.settings(recipe, data=data, overrides=[*overrides, *words])
        except CaptionerError as error:
            raise CaptionerError(f"without {name}: {error}" if words else str(error)) from None

    full = Variant(FULL, "nothing: the full recipe", (), settings(FULL, ()))
    made, used = [], []
    for part in parts:
        without = settings(part.name, part.overrides)
        found = config.differences(full.settings, without)
        if not found:
            tell(f"{part.name} is not in use with these settings: passed over")
            continue
        used += [] if part.instead else part.overrides
        searched = all(one.startswith("decode.") for one in found)
        made.append(
            Variant(part.name, part.about, part.overrides, without, searched, part.instead)
        )
    if made and all(one.instead for one in made):
        return [full, *made]
    about = "all of these: the plain model"
    plain = Variant(PLAIN, about, tuple(used), settings("all parts", used))
    return [full, plain, *made]


def chosen(found: Sequence[Variant], only: Sequence[str]) -> list[Variant]:
    """Those named, all of them where none is.

    Raises:
        CaptionerError: an unknown name, with near misses.
    """
    names = [one.name for one in found]
    for name in only:
        if name not in names:
            raise CaptionerError(f"--only {name}: no such part{config.near_misses(name, names)}")
    return [one for one in found if not only or one.name in only]


@dataclass(frozen=True)
class Outcome:
    """What is known of one variant with one seed."""

    scores: dict[str, Any] | None = None
    """As scores.json holds them; None where they are yet to be made."""
    seconds: float | None = None
    """Of training, all its attempts together; None for a search, and where unknown."""
    error: str | None = None
    """Why the last attempt failed."""


def row(variant: Variant, outcomes: Sequence[Outcome]) -> Row:
    """A variant's outcomes, one a seed, as a row of the table."""
    scored = [one.scores for one in outcomes if one.scores]
    return Row(
        variant.name,
        variant.about,
        variant.searched,
        len(outcomes),
        {
            name: [_figure(found, name) for found in scored]
            for name in tasks.of(variant.settings).compared
        },
        [one.seconds / 60 for one in outcomes if one.scores and one.seconds],
        [one.error for one in outcomes if one.error],
        variant.instead,
    )


def _figure(scores: Mapping[str, Any], name: str) -> float:
    """A score by its name; `hard.accuracy` is that of the object `hard`."""
    for key in name.split("."):
        scores = scores[key]
    return scores


class Ablation:
    """The variants' runs in a folder: those that are there, and the rest to be made.

    Args:
        folder: Path. OUT.
        recipe, overrides: as `variants` was given them.
        split: what to score on.
        run: runs a command; None where nothing is to be made.
        tell: told what is going on.
    """

    def __init__(
        self,
        folder: Path,
        recipe: str,
        overrides: Sequence[str],
        split: str,
        run: Run | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ):
        self._folder = folder
        self._recipe = recipe
        self._overrides = tuple(overrides)
        self._split = split
        self._run = run
        self._tell = tell

    def check(self, variant: Variant, seed: int) -> None:
        """Raises `CaptionerError` where the folder holds a run of this name with other settings."""
        run = self._run_folder(variant, seed)
        if not (run / "config.json").is_file():
            return
        found = config.differences(
            config.load(run / "config.json"), _seeded(variant.settings, seed)
        )
        if variant.searched:
            found = [one for one in found if not one.startswith("decode.")]
        if found:
            raise CaptionerError(
                f"{run} was trained with other settings ({'; '.join(found[:3])}): name "
                "another --out, or remove that folder"
            )

    def outcome(self, variant: Variant, seed: int) -> Outcome:
        """What the folder says of a variant and seed."""
        notes = _read(self._notes(variant, seed)) or {}
        scores = _read(self._scores(variant, seed))
        made = scores.get("settings", {}) if scores else {}
        wanted = {
            "data": variant.settings.data.spec,
            "split": self._split,
        }
        if "decode" in made:  # of a model that searches
            wanted["decode"] = variant.settings.model_dump(mode="json")["decode"]
        if any(made.get(key) != value for key, value in wanted.items()):
            scores = None  # made of other data, or before the part's settings were changed
        return Outcome(scores, notes.get("seconds"), None if scores else notes.get("error"))

    def make(self, variant: Variant, seed: int) -> Outcome:
        """Trains a variant, unless that is done, and scores it; a failure is an outcome.

        Raises:
            KeyboardInterrupt: the user stopped a command, which saved what it had.
        """
        name, run = f"{variant.name}-{seed}", self._run_folder(variant, seed)
        trained = (run / "scores.json").is_file()
        error = None
        if not trained and variant.searched:
            error = f"{run.name} isn't trained"
        elif not trained:
            self._tell(f"{name}: training (log: {self._log(name)})")
            error = self._train(variant, seed)
        if error is None:
            self._tell(f"{name}: scoring on {self._split}")
            words = [
                "evaluate", "--model", str(run), "--data", variant.settings.data.spec,
                "--split", self._split, "--scores", str(self._scores(variant, seed)),
                "--set", *_reading(variant.settings),
            ]  # fmt: skip
            error = self._failure(words, name)
        notes = _read(self._notes(variant, seed)) or {}
        write_json(self._notes(variant, seed), notes | {"error": error})
        if error:
            self._tell(f"{name}: {error}")
        return self.outcome(variant, seed)

    def _train(self, variant: Variant, seed: int) -> str | None:
        """Trains; why it failed, None where it didn't. Notes the time, however it ends."""
        name, run = f"{variant.name}-{seed}", self._run_folder(variant, seed)
        words = [
            "train", "--recipe", self._recipe, "--data", variant.settings.data.spec,
            "--run", str(run),
            "--set", *self._overrides, *variant.overrides, f"train.seed={seed}",
        ]  # fmt: skip
        # What earlier attempts took, where they left something to go on from.
        before = self.outcome(variant, seed).seconds if run.is_dir() else None
        start = time.monotonic()
        try:
            error = self._failure(words, name)
        finally:
            seconds = (before or 0.0) + time.monotonic() - start
            write_json(self._notes(variant, seed), {"seconds": seconds, "error": None})
        # 200 MB a run that nobody asked for; captioner.export makes it again.
        shutil.rmtree(run / "export", ignore_errors=True)
        return error

    def _failure(self, words: Sequence[str], name: str) -> str | None:
        """Runs a command; why it failed, None where it didn't."""
        log = self._log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        code = self._run(words, log)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code == 0:
            return None
        said = re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace").strip())
        return f"{words[0]} failed ({code}): {said[-1].removeprefix('error: ')[:300]}"

    def _run_folder(self, variant: Variant, seed: int) -> Path:
        return self._folder / f"{FULL if variant.searched else variant.name}-{seed}"

    def _scores(self, variant: Variant, seed: int) -> Path:
        """In the run's folder, so that they are gone when it is."""
        kind = f"{variant.name}." if variant.searched else ""
        return self._run_folder(variant, seed) / f"scores.{kind}{self._split}.json"

    # Outside: where a folder holds something but no run, training refuses to begin one.

    def _notes(self, variant: Variant, seed: int) -> Path:
        return self._folder / "notes" / f"{variant.name}-{seed}.json"

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"


def _seeded(settings: Settings, seed: int) -> Settings:
    train = settings.train.model_copy(update={"seed": seed})
    return settings.model_copy(update={"train": train})


def _reading(settings: Settings) -> list[str]:
    """`--set` words with which evaluation reads the same data and searches alike."""
    data = settings.data
    words = [f"data.folder={data.folder}", f"data.unreadable_limit={data.unreadable_limit}"]
    words += [f"data.images={data.images}"] if data.images else []
    for name, value in settings.decode.model_dump(mode="json").items():
        shown = json.dumps(value) if isinstance(value, list) else str(value)
        words.append(f"decode.{name}={shown}")
    return words


def _read(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where it is missing or damaged: it is then made again."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None
