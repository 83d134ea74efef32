"""BLEU-1 to BLEU-4 as coco-caption computes them.

Corpus level (Papineni et al. 2002, section 2.3): clipped n-gram matches and lengths are summed over
all images before the precisions are formed, and the brevity penalty compares with the reference of
the closest length, the shorter of two that are equally close. No smoothing beyond the guards
against division by zero, which are coco-caption's own so that figures agree to rounding
(pycocoevalcap, bleu_scorer.py).

N images; 4 orders of n-grams; 10 counts of each image.
"""

from collections.abc import Sequence

import numpy as np

from captioner.metrics.ngrams import ORDERS, Ngram, ngrams

COUNTS = 2 * ORDERS + 2  # what is counted of an image, see `Bleu.counts`

_TINY, _SMALL = 1e-15, 1e-9  # so that nothing matched out of nothing guessed is 1e-6, not 0 / 0


class Bleu:
    """Scores captions against fixed references.

    Args:
        references: for each image, its reference captions as words.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]):
        self._lengths = [[len(words) for words in image] for image in references]
        # An n-gram may be matched as often as the one reference that has most of it.
        self._most: list[dict[Ngram, int]] = []
        for image in references:
            most: dict[Ngram, int] = {}
            for words in image:
                for ngram, count in ngrams(words).items():
                    if count > most.get(ngram, 0):
                        most[ngram] = count
            self._most.append(most)

    def score(self, captions: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """BLEU-1 to BLEU-4 of one caption an image, in the references' order.

        Returns:
            float64 [4] for the corpus, and float64 [N, 4] for each image alone. The former is not
            the mean of the latter.
        """
        counts = self.counts(captions)
        return bleu(counts.sum(0)), bleu(counts)

    def counts(self, captions: Sequence[Sequence[str]]) -> np.ndarray:
        """What `bleu` needs of each image; of several images together it needs the sum.

        Returns:
            float64 [N, 10]: n-grams matched and n-grams written for the four orders, the caption's
            length and the closest reference's, in words.
        """
        counts = [self.count(image, words) for image, words in enumerate(captions)]
        return np.array(counts).reshape(-1, COUNTS)

    def count(self, image: int, words: Sequence[str]) -> np.ndarray:
        """The counts of one caption: float64 [10]."""
        counts = np.zeros(COUNTS)
        most = self._most[image]
        for ngram, count in ngrams(words).items():
            counts[len(ngram) - 1] += min(count, most.get(ngram, 0))
        lengths = [max(len(words) - n, 0) for n in range(ORDERS)]
        closest = min(self._lengths[image], key=lambda length: (abs(length - len(words)), length))
        counts[ORDERS:] = *lengths, len(words), closest
        return counts


def bleu(counts: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 of counts as `Bleu.counts` gives them; [..., 4] from [..., 10].

    Geometric means of the precisions times the brevity penalty.
    """
    matched, guessed = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    length, closest = counts[..., -2], counts[..., -1]
    precisions = (matched + _TINY) / (guessed + _SMALL)
    means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (closest + _SMALL)
    penalty = np.exp(np.minimum(1 - 1 / ratio, 0))
    return means * penalty[..., None]


def smoothed(counts: np.ndarray) -> np.ndarray:
    """BLEU-4 of single captions, [...] from [..., 10]; above 0 without a shared run of four, too.

    One is added to the n-grams matched and written from two words on (Lin and Och, 2004, "ORANGE").
    """
    more = np.array(counts)
    for first in (1, ORDERS + 1):
        more[..., first : first + ORDERS - 1] += 1
    return bleu(more)[..., -1]
