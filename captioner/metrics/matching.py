"""Judgements of yes or no: how often they are right, and how well they order.

Pure NumPy. Legend: P judgements.
"""

from collections.abc import Sequence

import numpy as np


def scores(
    scored: Sequence[float], right: Sequence[bool], threshold: float = 0.5
) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of judgements at a threshold, and ROC AUC of their order.

    Args:
        scored: P probabilities, or any figures that are higher where yes is likelier.
        right: P. Where yes is right.
        threshold: what is as high or higher counts as yes.

    Returns:
        `accuracy`, `precision` (0 where nothing is called yes), `recall` (0 where there is nothing
        to find), `F1` (their harmonic mean, 0 where both are) and `ROC_AUC`.
    """
    found = confusion(scored, right, threshold)
    hits, called, there = (
        found["true_positive"],
        found["true_positive"] + found["false_positive"],
        found["true_positive"] + found["false_negative"],
    )
    total = sum(found.values())
    return {
        "accuracy": (hits + found["true_negative"]) / total if total else 0.0,
        "precision": hits / called if called else 0.0,
        "recall": hits / there if there else 0.0,
        "F1": 2 * hits / (called + there) if called + there else 0.0,
        "ROC_AUC": roc_auc(scored, right),
    }


def confusion(
    scored: Sequence[float], right: Sequence[bool], threshold: float = 0.5
) -> dict[str, int]:
    """`true_positive`, `false_positive`, `false_negative`, `true_negative`: counts of the
    judgements; arguments as `scores` has them."""
    yes = np.asarray(scored, float) >= threshold
    right = np.asarray(right, bool)
    return {
        "true_positive": int((yes & right).sum()),
        "false_positive": int((yes & ~right).sum()),
        "false_negative": int((~yes & right).sum()),
        "true_negative": int((~yes & ~right).sum()),
    }


def roc_auc(scored: Sequence[float], right: Sequence[bool]) -> float:
    """The area under the ROC curve: the probability that of a right and a wrong one the right one
    scores higher, equal ones counted half (Mann and Whitney's U over all the pairs; Fawcett, 2006,
    "An introduction to ROC analysis", section 7). 0.5 where one kind is missing."""
    scored, right = np.asarray(scored, float), np.asarray(right, bool)
    positives = int(right.sum())
    negatives = len(right) - positives
    if not positives or not negatives:
        return 0.5
    _, place, counts = np.unique(scored, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ends - (counts - 1) / 2  # from 1; equal ones share the mean of theirs
    above = ranks[place][right].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def roc_curve(scored: Sequence[float], right: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """The shares of wrong and of right ones that are called yes, from the highest threshold to the
    lowest: from (0, 0) to (1, 1), with a point for each different score."""
    scored, right = np.asarray(scored, float), np.asarray(right, bool)
    order = np.argsort(-scored, kind="stable")
    last = np.append(np.diff(scored[order]) != 0, True) if len(order) else np.zeros(0, bool)
    curves = []
    for kind in (~right, right):
        hits = np.cumsum(kind[order])[last]
        curves.append(np.append(0.0, hits / max(1, int(kind.sum()))))
    return curves[0], curves[1]


def best_threshold(scored: Sequence[float], right: Sequence[bool]) -> float:
    """The threshold at which most judgements are right, midway between two scores; of several that
    are as good, the highest."""
    scored, right = np.asarray(scored, float), np.asarray(right, bool)
    values = np.unique(scored)[::-1]
    if not len(values):
        return 0.5
    between = np.append((values[:-1] + values[1:]) / 2, values[-1])
    thresholds = np.append(values[0] + 1.0, between)
    order = np.argsort(-scored, kind="stable")
    hits = np.append(0, np.cumsum(np.where(right[order], 1, -1)))
    # How many are called yes at each threshold.
    called = np.searchsorted(-scored[order], -thresholds, side="right")
    return float(thresholds[np.argmax(hits[called])])
