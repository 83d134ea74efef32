"""What a sentence says of the two that it is made of: the image, and the text around it."""

from collections.abc import Sequence

import numpy as np

from captioner.inputs.prompts import STOP_WORDS
from captioner.inputs.questions import Asked
from captioner.metrics import tokenize

# Those of `shares`, to draw.
CURVES = ("said", "from_text", "from_image")


def facts(asked: Asked) -> tuple[set[str], set[str]]:
    """The content words of the reference that the text has too, and those that it hasn't, which
    only the image can tell."""
    words = {word for word in tokenize(asked.answer) if word.isalnum()} - STOP_WORDS
    told = words & set(tokenize(asked.text))
    return told, words - told


def shares(asked: Sequence[Asked], sentences: Sequence[str]) -> dict[str, float]:
    """How many of these words the sentences say.

    Returns:
        `from_text` and `from_image`, the share of all references' words of either kind; and first
        `said`, the lower of the two: what a sentence lacks that uses only one of its sources.
    """
    counts = np.zeros((2, 2))  # text and image, by said and there
    for one, sentence in zip(asked, sentences, strict=True):
        words = set(tokenize(sentence))
        for kind, wanted in enumerate(facts(one)):
            counts[kind] += len(wanted & words), len(wanted)
    text, image = counts[:, 0] / np.maximum(counts[:, 1], 1)
    return {"said": float(min(text, image)), "from_text": float(text), "from_image": float(image)}
