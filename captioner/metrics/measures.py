"""Figures of captions kept image by image, so that they can be formed of any sample of the images.

BLEU of a corpus isn't the mean of its images' BLEU; but like every figure here it is a function of
sums over the images. With the summands of each image kept, the figures of thousands of resamples
are one matrix product and that function.

Legend: N images, F summands of an image, M figures.
"""

from collections.abc import Mapping

import numpy as np

from captioner.metrics.bleu import COUNTS, bleu
from captioner.metrics.ngrams import ORDERS

BLEU_NAMES = tuple(f"BLEU_{n}" for n in range(1, ORDERS + 1))


class Measures:
    """BLEU and ratios of sums over images.

    Args:
        counts: float [N, 10]. `Bleu.counts` of one caption an image.
        ratios: name to numerators and denominators, float [N] each. A mean has 1 below every image;
            a share of words, the image's words.

    Attributes:
        names: of the M figures: BLEU_1 to BLEU_4, then the ratios.
        summands: float64 [N, F].
    """

    def __init__(
        self, counts: np.ndarray, ratios: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ):
        self.names = (*BLEU_NAMES, *ratios)
        columns = [column for pair in ratios.values() for column in pair]
        self.summands = np.column_stack([counts, *columns]).astype(np.float64)

    def with_ratios(self, ratios: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> "Measures":
        """The same images with more figures."""
        more = Measures(self.summands[:, :COUNTS], ratios)
        both = object.__new__(Measures)
        both.names = self.names + more.names[len(BLEU_NAMES) :]
        both.summands = np.hstack([self.summands, more.summands[:, COUNTS:]])
        return both

    def figures(self, sums: np.ndarray) -> np.ndarray:
        """Figures of samples by their sums of summands; [..., M] from [..., F].

        A ratio to nothing is NaN: of no objects named, no share is wrong.
        """
        above, below = sums[..., COUNTS::2], sums[..., COUNTS + 1 :: 2]
        # BLEU is 0 to its last guard against division by zero, which ratios don't need.
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.where(below > 0, above / below, np.nan)
        return np.concatenate([bleu(sums[..., :COUNTS]), ratios], axis=-1)

    def corpus(self) -> dict[str, float]:
        """The figures of all images together, by name."""
        return dict(zip(self.names, map(float, self.figures(self.summands.sum(0)))))

    def each(self) -> np.ndarray:
        """The figures of each image alone: float64 [N, M]."""
        return self.figures(self.summands)

    def column(self, name: str) -> np.ndarray:
        """One figure of each image alone: float64 [N]."""
        return self.each()[:, self.names.index(name)]
