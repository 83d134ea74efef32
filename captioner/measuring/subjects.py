"""What is measured: the user's model, or one of our own with the sizes that recipes have.

Weights don't change what a step of the network costs. What they do change is how long captions
are: with random ones the search goes on to its last step, so a trained model is faster.
"""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from captioner import config, loading
from captioner.captioning import checked
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.text import SPECIAL
from captioner.measuring import machine
from captioner.models.build import Built, build
from captioner.models.neighbours import Neighbours
from captioner.pretrained import tiny_text_encoder
from captioner.serving.exporting import export
from captioner.serving.trained import load_trained

# Searches that are compared, where the model can be exported with them.
SEARCHES = {"greedy": 1, "beam 3": 3, "beam 5": 5}
# The one that is exported in bfloat16, too, where the processor has it.
_ROUNDED, _IN_BFLOAT16 = "beam 3", ", bfloat16"

# The sizes of the recipe flickr8k, and of what was made of Flickr8k's captions with it.
WORDS = 2600
_BANK = 38_000
# The small BERT's, whose weights are not fetched for this.
_BERT_WORDS, _BERT_WIDTH, _BERT_LAYERS = 30_522, 384, 6

Call = Callable[[str, dict[str, list[bytes]]], dict[str, np.ndarray]]
Tell = Callable[[str], None]


class Subject:
    """A model, and its exports by search.

    Args:
        about: str. What it is, for people.
        settings: the run's; None for an export of which nothing is known.
        built: the model; None for an export.
        own: the search that it is served with.
        exports: folders of the versions that there are, by search.
        folder: where versions that are missing are made.
        tell: told of what takes long.
    """

    def __init__(
        self,
        about: str,
        settings: Settings | None,
        built: Built | None,
        own: str,
        exports: dict[str, Path],
        folder: Path,
        tell: Tell,
    ):
        self.about, self.settings, self.built, self.own = about, settings, built, own
        self._exports, self._folder, self._tell = exports, folder, tell
        self._calls: dict[str, Call] = {}

    @property
    def side(self) -> int:
        """Pixels of the square that the model sees."""
        return 224 if self.settings is None else self.settings.model.image_side

    @property
    def searches(self) -> list[str]:
        """Those that it can be measured with, its own last."""
        if self.built is None or self.settings.decode.search != "beam":
            return [self.own]
        groups = self.settings.decode.groups
        fitting = [name for name, beams in SEARCHES.items() if beams % groups == 0]
        found = [name for name in fitting if name != self.own]
        if _ROUNDED in fitting and machine.has_bfloat16():
            found.append(_ROUNDED + _IN_BFLOAT16)
        return [*found, self.own]

    def export(self, search: str) -> Path:
        """The version that searches so; made when it is first asked for."""
        if search not in self._exports:
            self._tell(f"exporting: {search}")
            settings, name = self.settings, search.removesuffix(_IN_BFLOAT16)
            if name != self.own:
                beams = f"decode.beams={SEARCHES[name]}"
                settings = config.changed(settings, [beams], sections=("decode",))
            facts = {"vocabulary": len(self.built.tokenizer)}
            where = self._folder / "exports" / search.replace(" ", "-")
            precision = "float32" if name == search else "bfloat16"
            made = export(self.built, settings, where, facts, precision=precision)
            self._exports[search] = made
        return self._exports[search]

    def call(self, search: str) -> Call:
        """The export's signatures: called with a name and inputs, gives arrays."""
        if search not in self._calls:
            self._calls[search] = loading.load(self.export(search)).call
        return self._calls[search]


def subject(model: Path | None, folder: Path, tell: Tell) -> Subject:
    """What is to be measured.

    Args:
        model: a run folder or an export; None for a model of our own.
        folder: for temporary files.
        tell: told of what takes long.

    Raises:
        CaptionerError: there is no captioner.
    """
    if model is None:
        tell("making a model with random weights")
        settings = own_settings(folder)
        built = random_model(settings, WORDS, _BANK)
        about = (
            "no --model: random weights, with the sizes of the recipe flickr8k; captions are as "
            f"long as can be ({settings.decode.max_tokens} tokens), a trained model's are shorter"
        )
        return Subject(about, settings, built, _named(settings), {}, folder, tell)
    if (model / "config.json").is_file():
        settings = config.load(model / "config.json")
        tell("loading the run")
        name = model.resolve().name
        about = f"the run {name}"
        trained = load_trained(model)
        if not isinstance(trained, Built):
            raise CaptionerError(f"{model} writes no captions: it is a model of another task")
        return Subject(about, settings, trained, _named(settings), {}, folder, tell)
    loaded = checked(loading.load(model))
    settings = _settings_of(Path(loaded.source))
    own = _search(loaded.settings.get("search", "beam"), loaded.beams)
    parent = Path(loaded.source).resolve()
    about = (
        f"the export {parent.parent.name}/{parent.name}, whose search is part of its graph ({own}):"
        " other searches and the profile need its run folder, or no --model"
    )
    made = Subject(about, settings, None, own, {own: Path(loaded.source)}, folder, tell)
    made._calls[own] = loaded.call  # it is loaded already
    return made


def own_settings(folder: Path) -> Settings:
    """The recipe flickr8k's settings, without anything that would be fetched."""
    encoder = text_encoder(folder)
    return config.settings(
        "flickr8k", overrides=["model.image_weights=none", f"model.text_encoder={encoder}"]
    )


def text_encoder(folder: Path) -> Path:
    """A random BERT of the small one's size."""
    encoder = folder / "bert"
    if not encoder.is_dir():
        marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        words = [*marks, *_words(_BERT_WORDS - len(marks))]
        tiny_text_encoder(encoder, words, _BERT_WIDTH, _BERT_LAYERS)
    return encoder


def vocabulary(size: int) -> list[str]:
    """So many WordPieces."""
    return [*SPECIAL, *_words(size - len(SPECIAL))]


def random_model(settings: Settings, words: int, bank: int = 0) -> Built:
    """A model with random weights, and with so many random near captions if it asks them."""
    built = build(settings, vocabulary(words))
    if settings.model.neighbours:
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(bank, built.model.text_encoder.width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tokens = random_tokens(bank, settings.decode.max_tokens, words, rng)
        # Read as a bank of sentences is, by any directions, since nothing here means anything.
        turn = np.eye(vectors.shape[1], dtype=np.float32)
        built.model.neighbours = Neighbours(
            vectors, tokens, words, settings.model.neighbours, turn
        )
    return built


def random_tokens(
    count: int, length: int, words: int, rng: np.random.Generator, shortest: int = 6
) -> np.ndarray:
    """Captions as tokens int32 [count, length], each ended and padded.

    They are as long as Flickr8k's: 14 tokens with a deviation of 5, the end included (5,000 of
    them, in WordPieces), as far as `shortest` and `length` allow.
    """
    lengths = np.clip(np.rint(rng.normal(14, 5, count)), shortest, length).astype(int)
    tokens = rng.integers(len(SPECIAL), words, (count, length), dtype=np.int32)
    places = np.arange(length)
    tokens[places[None] == lengths[:, None] - 1] = SPECIAL.index("[END]")
    tokens[places[None] >= lengths[:, None]] = SPECIAL.index("[PAD]")
    return tokens


@functools.cache
def _words(count: int) -> tuple[str, ...]:
    """Words that nobody says: ba, be, …, baba, babe, …"""
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    made, longer = list(syllables), list(syllables)
    while len(made) < count:
        longer = [a + b for a in longer for b in syllables]
        made += longer
    return tuple(made[:count])


def _named(settings: Settings) -> str:
    return _search(settings.decode.search, settings.decode.beams)


def _search(kind: str, beams: int) -> str:
    """A search's name, that of `SEARCHES` where it has one."""
    if kind == "sample":
        return f"{beams} drawn"
    return "greedy" if beams == 1 else f"beam {beams}"


def _settings_of(version: Path) -> Settings | None:
    """The settings that an export says it was made with; None where they can't be read."""
    try:
        about = json.loads((version / "assets.extra" / "captioner.json").read_text("utf-8"))
        return Settings.model_validate(about["settings"])
    except (OSError, ValueError, KeyError, TypeError):  # lost, damaged, or another version's
        return None


def temporary_folder() -> tempfile.TemporaryDirectory:
    """For models, photographs and caches: about a gigabyte, removed at the end."""
    return tempfile.TemporaryDirectory(prefix="captioner-benchmark-", ignore_cleanup_errors=True)
