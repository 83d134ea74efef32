"""Prompts for training data that has none.

A captioning data set brings images and captions; the text encoder is to learn to guide. So some
captions get a prompt drawn from themselves: a few of their content words, or their beginning. The
rest get the empty prompt, which is what most users will send.
"""

from collections.abc import Sequence

import numpy as np

# Words that guide nobody: what is left of an English caption without them is its content.
STOP_WORDS = frozenset(
    """a about above across after against along among an and another are around as at away back be
    been before behind being below beneath beside between both but by can close down each for from
    front has have having he her here him his holding holds in inside into is it its itself just
    large left like little looking looks more near next no not of off on one onto or other out
    outside over past right several she side small so some someone something stand standing stands
    than that the their them then there these they this those three through to together top toward
    towards two under up very wearing what when where which while who with without""".split()
)

_MOST_KEYWORDS = 3

# The share of key words that come with one of another caption, so that a captioner learns to leave
# out what doesn't belong into a picture rather than say it no matter how.
_STRAY = 0.2


def content_words(caption: str) -> list[str]:
    """The caption's words that say what is seen, in order, none twice."""
    return [word for word in dict.fromkeys(caption.split()) if word not in STOP_WORDS]


def draw(captions: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    """A prompt per caption: key words or a beginning for a `share` of them, '' for the rest.

    Args:
        captions: Normalised captions.
        share: The share that gets a prompt, 0 to 1.
        rng: Draws; the same state draws the same prompts.
    """
    prompts = []
    for caption, chosen, kind in zip(
        captions, rng.random(len(captions)) < share, rng.random(len(captions)), strict=True
    ):
        prompt = ""
        if chosen:
            prompt = _beginning(caption, rng) if kind < 0.3 else _keywords(caption, captions, rng)
        prompts.append(prompt)
    return prompts


def _keywords(caption: str, captions: Sequence[str], rng: np.random.Generator) -> str:
    words = content_words(caption)
    if not words:
        return ""
    count = min(len(words), int(rng.integers(1, _MOST_KEYWORDS + 1)))
    chosen = list(rng.permutation(words)[:count])
    if rng.random() < _STRAY:
        other = content_words(captions[int(rng.integers(len(captions)))])
        strays = [word for word in other if word not in caption.split()]
        if strays:
            chosen.insert(int(rng.integers(count + 1)), str(rng.choice(strays)))
    return " ".join(chosen)


def _beginning(caption: str, rng: np.random.Generator) -> str:
    words = caption.split()
    if len(words) < 2:
        return ""
    return " ".join(words[: int(rng.integers(1, len(words)))]) + "…"
