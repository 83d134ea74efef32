"""Captions judged by more than one number: scores, wording, and objects that nobody else sees.

Legend: N images.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner.metrics.measures import Measures
from captioner.metrics.objects import Objects
from captioner.metrics.scorer import Scorer
from captioner.metrics.tokenizer import tokenize
from captioner.metrics.wording import ends_badly, repeats_a_phrase, repeats_a_word

# What is counted of captions beside their scores, as shares of captions or of what is named.
SHARES = (
    "novel", "repeated_word", "repeated_bigram", "repeated_trigram", "bad_ending",
    "hallucinated_objects", "captions_with_hallucinations",
)  # fmt: skip

# Of these, more is worse; of the words and the novel captions, neither more nor less is good.
FAULTS = SHARES[1:]


@dataclass(frozen=True)
class Assessment:
    """What was found of one caption for each image."""

    scores: dict[str, float | None]
    """As `Scorer.score` gives them."""

    captions: dict[str, float | int | None]
    """Of all captions: `words` (their mean) and `words_spread` (standard deviation),
    `vocabulary` (different words), `different_captions` (the share of captions that is left
    without repetitions of other images' captions), and the `SHARES`; None where there is nothing to
    count: `novel` without training captions, `hallucinated_objects` without objects."""

    measures: Measures
    """The scores, but for the Java ones, and `words` and the `SHARES`."""

    rows: list[dict[str, Any]]
    """Of each image its scores, `words`, `novel` (or None), `repeats` (a list of `word`, `bigram`,
    `trigram`), `bad_ending`, `objects` and `hallucinated` (lists of words)."""


class Assessor:
    """Judges captions of a fixed set of images.

    Args:
        references: for each image's id, its captions as plain text.
        training: the captions that the model learned from, as far as they are at hand. What is
            novel is judged by them, and what an object word is, of which see
            `captioner.metrics.objects`; without them the references say the latter.

    Raises:
        CaptionerError: no references, or an image without any.
    """

    def __init__(self, references: Mapping[str, Sequence[str]], training: Sequence[str] = ()):
        self._scorer = Scorer(references)
        self.images = self._scorer.images
        self._references = [
            [tokenize(text) for text in references[image]] for image in self.images
        ]
        learned = [tokenize(text) for text in training]
        self._known = {tuple(words) for words in learned}
        self._objects = Objects(learned or [words for one in self._references for words in one])

    def assess(self, captions: Mapping[str, str], *, java: bool = True) -> Assessment:
        """Judges one caption for each of the images.

        Args:
            captions: image id to caption, plain text.
            java: bool. Whether to try METEOR and SPICE. Defaults to `True`.

        Raises:
            CaptionerError: images without a caption, captions of unknown images.
        """
        scores = self._scorer.score(captions, java=java)
        words = [tokenize(captions[image]) for image in self.images]
        rows = [
            self._row(mine, references)
            for mine, references in zip(words, self._references, strict=True)
        ]
        ratios = self._ratios(rows)
        measures = self._scorer.measures(captions).with_ratios(ratios)
        each = self._scorer.score_each(captions)
        rows = [each[image] | row for image, row in zip(self.images, rows, strict=True)]
        return Assessment(scores, self._summary(words, ratios), measures, rows)

    def people(self, seed: int = 0) -> dict[str, float | int | None]:
        """`Assessment.captions` of people: what to measure the model's by.

        One reference of each image, drawn by the seed, is judged by the image's others. Objects
        are counted on images that have others, and by one reference fewer than the model's, which
        makes people look a little worse than they are.
        """
        random = np.random.default_rng(seed)
        words, rows = [], []
        for references in self._references:
            chosen = int(random.integers(len(references)))
            others = references[:chosen] + references[chosen + 1 :]
            words.append(references[chosen])
            row = self._row(references[chosen], others)
            if not others:
                row["objects"] = row["hallucinated"] = []
            rows.append(row)
        return self._summary(words, self._ratios(rows))

    def _row(self, words: list[str], references: Sequence[Collection[str]]) -> dict[str, Any]:
        repeats = ["word"] if repeats_a_word(words) else []
        repeats += ["bigram"] if repeats_a_phrase(words, 2) else []
        repeats += ["trigram"] if repeats_a_phrase(words, 3) else []
        return {
            "words": len(words),
            "novel": tuple(words) not in self._known if self._known else None,
            "repeats": repeats,
            "bad_ending": ends_badly(words),
            "objects": self._objects.named(words),
            "hallucinated": self._objects.hallucinated(words, references),
        }

    def _ratios(self, rows: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        once = np.ones(len(rows))

        def count(of) -> np.ndarray:
            return np.array([float(of(row)) for row in rows])

        hallucinated = count(lambda row: len(row["hallucinated"]))
        above = {
            "words": count(lambda row: row["words"]),
            "novel": count(lambda row: bool(row["novel"])),
            "repeated_word": count(lambda row: "word" in row["repeats"]),
            "repeated_bigram": count(lambda row: "bigram" in row["repeats"]),
            "repeated_trigram": count(lambda row: "trigram" in row["repeats"]),
            "bad_ending": count(lambda row: row["bad_ending"]),
            "hallucinated_objects": hallucinated,
            "captions_with_hallucinations": hallucinated > 0,
        }
        below = {
            "novel": once if self._known else 0 * once,
            "hallucinated_objects": count(lambda row: len(row["objects"])),
        }
        return {name: (values, below.get(name, once)) for name, values in above.items()}

    @staticmethod
    def _summary(words: list[list[str]], ratios) -> dict[str, float | int | None]:
        def share(name: str) -> float | None:
            above, below = (values.sum() for values in ratios[name])
            return float(above / below) if below else None

        return {
            "words": share("words"),
            "words_spread": float(np.std([len(one) for one in words])),
            "vocabulary": len({word for one in words for word in one}),
            "different_captions": len(set(map(tuple, words))) / len(words),
            **{name: share(name) for name in SHARES},
        }
