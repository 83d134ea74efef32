"""Prompts made of references, and what captions made of them.

A prompt taken from a reference says something about that reference, so captions that follow it
score higher even where they say nothing else. What belongs beside the score, on the same photos:
the score without prompts, that of the bare prompt taken for a caption, and both against the other
references alone, which the prompt was not taken from.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner.inputs.prompts import content_words
from captioner.inputs.records import Record
from captioner.metrics import Scorer, tokenize

# `data`: those that the data set brings, the first of an image; most bring none.
KINDS = ("data", "none", "keywords", "prefix")
KEYWORDS, BEGINNING = 2, 3  # words


@dataclass(frozen=True)
class Prompt:
    """What an image is captioned with."""

    text: str = ""
    words: tuple[str, ...] = ()
    """What of the text is a reference's: key words, or the words of a beginning."""
    reference: int | None = None
    """Which of the image's captions they come from."""


def draw(records: Sequence[Record], kind: str, seed: int = 0) -> list[Prompt]:
    """A prompt for each record.

    Args:
        records: the images.
        kind: `data`, `none`, `keywords` (two content words of one reference, in any order, by the
            rules of training) or `prefix` (the first three words of one, as a beginning).
        seed: int. With an image's id it decides the prompt, whatever the other images are.

    Returns:
        Prompts; an empty one where no reference has enough words: two content words, or four
        words, so that one is left to be said.
    """
    if kind == "none":
        return [Prompt()] * len(records)
    if kind == "data":
        return [Prompt(record.prompts[0] if record.prompts else "") for record in records]
    if kind not in KINDS:
        raise ValueError(f"prompts {kind!r}: one of {', '.join(KINDS)}")
    return [_drawn(record, kind, seed) for record in records]


def _drawn(record: Record, kind: str, seed: int) -> Prompt:
    random = np.random.default_rng([seed, *hashlib.sha256(record.id.encode()).digest()[:8]])
    # Words as scorers know them, in small letters; marks and the 's of "a dog's" are no words.
    spoken = [
        [word for word in tokenize(caption) if word.replace("-", "").isalnum()]
        for caption in record.captions
    ]
    found = []
    for reference, words in enumerate(spoken):
        content = content_words(" ".join(words))
        if kind == "keywords" and len(content) >= KEYWORDS:
            found.append((reference, content))
        elif kind == "prefix" and len(words) > BEGINNING:
            found.append((reference, words[:BEGINNING]))
    if not found:
        return Prompt()
    reference, words = found[int(random.integers(len(found)))]
    if kind == "prefix":
        return Prompt(" ".join(words) + "…", tuple(words), reference)
    chosen = tuple(str(word) for word in random.permutation(words)[:KEYWORDS])
    return Prompt(" ".join(chosen), chosen, reference)


def follow_up(
    records: Sequence[Record],
    prompts: Sequence[Prompt],
    prompted: Mapping[str, str],
    unprompted: Mapping[str, str],
    kind: str,
) -> dict[str, Any]:
    """What became of the prompts; scores are CIDEr.

    Args:
        records, prompts: those of the captions.
        prompted, unprompted: captions by the records' ids.
        kind: `keywords` or `prefix`.

    Returns:
        `images_with_prompt`; `words_used` (of key words, the share found in the caption, in the
        very form) or `continued` (the share of captions that begin with the beginning);
        `CIDEr` with keys `prompted`, `unprompted` and `prompt_alone`; and
        `CIDEr_of_other_references`, the same on images with several references, without the one
        that the prompt comes from, or None.
    """
    used = []
    for record, prompt in zip(records, prompts, strict=True):
        words = tokenize(prompted[record.id])
        if prompt.words and kind == "prefix":
            used.append(tuple(words[: len(prompt.words)]) == prompt.words)
        else:
            used += [word in words for word in prompt.words]
    alone = {
        record.id: " ".join(prompt.words) for record, prompt in zip(records, prompts, strict=True)
    }
    ways = {"prompted": prompted, "unprompted": unprompted, "prompt_alone": alone}
    others = {
        record.id: record.captions[: prompt.reference] + record.captions[prompt.reference + 1 :]
        for record, prompt in zip(records, prompts, strict=True)
        if prompt.reference is not None and len(record.captions) > 1
    }
    return {
        "images_with_prompt": sum(bool(prompt.text) for prompt in prompts),
        "continued" if kind == "prefix" else "words_used": float(np.mean(used)) if used else None,
        "CIDEr": _ciders({record.id: record.captions for record in records}, ways),
        "CIDEr_of_other_references": _ciders(others, ways) if others else None,
    }


def _ciders(references, ways: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    scorer = Scorer(references)
    return {
        name: float(np.mean(scorer.measures({id: texts[id] for id in references}).column("CIDEr")))
        for name, texts in ways.items()
    }
