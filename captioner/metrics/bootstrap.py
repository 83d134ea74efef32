"""How far figures would move with other images: intervals, and comparisons of two models.

The images are taken for a random sample of those that could have been scored, and sampled again
with replacement (Efron 1979; for captions' scores Koehn 2004, "Statistical significance tests for
machine translation evaluation"). What this leaves out: another seed of training, other references
for the same images, and the document frequencies of CIDEr, which stay those of all the references
at hand. Percentile intervals of a few dozen images are somewhat too narrow, and a fault that no
caption shows has the interval 0 to 0, though up to 3/N of other captions may show it.

Legend: N images, F summands, M figures, S resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from captioner.metrics.measures import Measures

RESAMPLES = 2000
LEVEL = 0.95

_CHUNK = 2**22  # resampled weights held at once: 32 MiB
_EQUAL = 1e-12  # closer figures are the same but for rounding


@dataclass(frozen=True)
class Comparison:
    """A model's figures minus another's, on the same images; arrays in the measures' order."""

    names: tuple[str, ...]
    difference: np.ndarray
    """float64 [M]."""
    interval: np.ndarray
    """float64 [M, 2]: where the difference lies at `LEVEL` over resamples of the images."""
    p: np.ndarray
    """float64 [M]: how often a difference as large, of either sign, comes of exchanging the two
    models' captions at random, image by image. Each figure by itself: of 20 figures that don't
    differ, one has p < 0.05."""
    higher: np.ndarray
    """int [M]: images on which the model's own figure is the higher one."""
    lower: np.ndarray
    """int [M]: the lower one; the rest are equal."""


def intervals(measures: Measures, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Percentile intervals at `LEVEL` of each figure: float64 [M, 2].

    All NaN with fewer than two images: one says nothing about others.
    """
    if len(measures.summands) < 2:
        return np.full([len(measures.names), 2], np.nan)
    sums = _resampled(measures.summands, resamples, seed)
    return _percentiles(measures.figures(sums))


def ratio_intervals(
    above: np.ndarray, below: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Percentile intervals at `LEVEL` of ratios of sums over images, such as means over their
    words: float64 [M, 2] from numerators and denominators [N, M].

    NaN with fewer than two images, or where a ratio is of nothing.
    """
    images, count = above.shape
    if images < 2:
        return np.full([count, 2], np.nan)
    sums = _resampled(np.hstack([above, below]), resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _percentiles(sums[:, :count] / sums[:, count:])


def compare(
    model: Measures, other: Measures, *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compares two models by their captions of the same images, in the same order.

    The interval is of a paired bootstrap, p of approximate randomisation (Noreen 1989; two-sided,
    the data at hand counted as one of the exchanges, so that p is never 0).

    Raises:
        ValueError: measures of other figures, or of another number of images.
    """
    if model.names != other.names or model.summands.shape != other.summands.shape:
        raise ValueError("compare: the two must measure the same figures of the same images")
    figures, count = model.figures, model.summands.shape[1]
    mine, its = model.summands, other.summands
    difference = figures(mine.sum(0)) - figures(its.sum(0))

    if len(mine) < 2:
        interval = np.full([len(model.names), 2], np.nan)
    else:
        sums = _resampled(np.hstack([mine, its]), resamples, seed)
        interval = _percentiles(figures(sums[:, :count]) - figures(sums[:, count:]))

    moved = _exchanged(its - mine, resamples, seed)
    chance = figures(mine.sum(0) + moved) - figures(its.sum(0) - moved)
    # Differences that can't be formed count as large ones, so p errs to the safe side.
    large = ~(np.abs(chance) < np.abs(difference) - _EQUAL)
    p = (1 + large.sum(0)) / (resamples + 1)
    p[np.isnan(difference)] = np.nan

    gap = model.each() - other.each()
    return Comparison(
        model.names, difference, interval, p, (gap > _EQUAL).sum(0), (gap < -_EQUAL).sum(0)
    )


def _resampled(summands: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sums over S resamples of the images, drawn with replacement: [S, F] from [N, F]."""
    images = len(summands)
    random = np.random.default_rng(seed)
    sums = np.empty([resamples, summands.shape[1]])
    for part in _parts(resamples, images):
        # How often each image was drawn.
        weights = [
            np.bincount(random.integers(0, images, images), minlength=images)
            for _ in range(part.stop - part.start)
        ]
        sums[part] = np.array(weights, np.float64) @ summands
    return sums


def _exchanged(gaps: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sums of the gaps of images chosen by a coin each, S times: [S, F] from [N, F]."""
    random = np.random.default_rng([seed, 1])
    sums = np.empty([resamples, gaps.shape[1]])
    for part in _parts(resamples, len(gaps)):
        coins = random.integers(0, 2, [part.stop - part.start, len(gaps)], np.int8)
        sums[part] = coins.astype(np.float64) @ gaps
    return sums


def _parts(resamples: int, images: int) -> Iterator[slice]:
    """Slices of the resamples whose weights fit the memory."""
    size = max(1, _CHUNK // images)
    for start in range(0, resamples, size):
        yield slice(start, min(start + size, resamples))


def _percentiles(figures: np.ndarray) -> np.ndarray:
    """The interval of each figure: [M, 2] from [S, M]; resamples without a figure don't count."""
    tail = 50 * (1 - LEVEL)
    interval = np.full([figures.shape[1], 2], np.nan)
    for column, values in enumerate(figures.T):
        values = values[~np.isnan(values)]
        if len(values):
            interval[column] = np.percentile(values, [tail, 100 - tail])
    return interval
