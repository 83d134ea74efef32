"""How sure a captioner can be of a caption: calibrated log-probabilities.

A log-probability orders captions, but says nobody how often they are right. *Right* is here what
can be counted: a caption shares its main noun with a reference, what is in the picture with what
people say is. A logistic function of the mean log-probability per word, fitted on images that
training didn't see (Platt 1999), turns one into the probability of the other. Two parameters are
more than a few dozen images can tell, so what is usual is part of the fit.

Nothing else that was tried ranks right before wrong captions clearly better. On 100 to 200
photographs of Flickr8k, each judged by a fit to others, for three models (trained on 600, 600 and
700), the area under the ROC curve is 0.66, 0.60 and 0.67 by log-probability alone. How many near
captions (`model.neighbours`) have the main noun, beside it: 0.68, 0.62 and 0.72 (the differences'
95 % intervals reach from -0.05 to 0.13, and no signature gives those captions); an offset for each
noun: 0.66, 0.59 and 0.72, with a larger calibration error; the consensus with the near
captions, the agreement of the beams and the caption's length: nothing. What is ranked is mostly one
thing: of the captions about dogs 97 % are right, of the others 55 %, and among those no feature
orders clearly better than chance.

NumPy, no TensorFlow. Legend: N captions.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from captioner.config import Decode
from captioner.errors import CaptionerError
from captioner.nouns import shares_main_noun

# In a run folder.
FILE = "calibration.json"
_BANK = "neighbours.npz"  # as `captioner.models.neighbours`, which brings TensorFlow, calls it

# Fewer images say nothing.
LEAST = 20

# What is known of the slope beforehand, in log-odds per nat and word, and how well. A model trained
# on 350 photographs of Flickr8k and asked for 350 others had 2.0; 50 images alone say little, and a
# few thousand overrule it.
_SLOPE, _SPREAD = 2.0, 0.5

# Draws of what comes true, to know what chance does to a calibration error.
_DRAWS = 500

# What a user may ask for, to show what it would leave.
_LEAST_CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Calibration:
    """The map from a caption to its confidence."""

    intercept: float
    slope: float
    """Log-odds per nat and word."""
    images: int
    """How many it was fitted on."""
    right: float
    """The share of their captions that were right."""
    decode: dict[str, Any]
    """The settings that the captions were made with; with others it means nothing."""
    held_out: int = 0
    """How many images `error` and `chance` are of."""
    error: float = 0.0
    """The calibration error on images that it wasn't fitted on; see `Reliability`."""
    chance: float = 0.0
    """What that would be if every confidence were true."""
    weights: str = ""
    """The `fingerprint` of the run; with other weights it means nothing, either."""

    def confidence(self, caption: str, log_prob: float) -> float:
        """The probability that a caption shares its main noun with what people say.

        Args:
            caption: str. Made without a prompt.
            log_prob: float. Nats, summed over its tokens.
        """
        logit = self.intercept + self.slope * _measured(caption, log_prob)
        return float(1 / (1 + np.exp(-np.clip(logit, -50, 50))))

    @property
    def within(self) -> float:
        """How far `right` may be from what more images would show, at 95 %: all confidences are
        too high or too low by that together, which a calibration error by chance doesn't count."""
        share = (self.images * self.right + 2) / (self.images + 4)  # Agresti and Coull (1998)
        return float(1.96 * np.sqrt(share * (1 - share) / (self.images + 4)))

    def differences(self, decode: Mapping[str, Any]) -> list[str]:
        """'beams: 5 there, 3 asked' for each setting that makes other captions."""
        usual = Decode().model_dump()
        there, asked = ({**usual, **one} for one in (self.decode, decode))
        return [
            f"{key}: {there[key]} there, {asked[key]} asked"
            for key in usual
            if key != "seed" and _plain(there[key]) != _plain(asked[key])
        ]


def check_count(images: int) -> None:
    """Raises `CaptionerError` for fewer than `LEAST` images."""
    if images < LEAST:
        raise CaptionerError(
            f"{images} images are too few to calibrate with: it takes {LEAST} that training "
            "didn't see (--split dev+test, or --data with more)"
        )


def fit(
    captions: Sequence[tuple[str, float]],
    right: Sequence[bool],
    decode: Mapping[str, Any],
    weights: str = "",
) -> Calibration:
    """Fits a calibration to captions that are known to be right or wrong.

    Args:
        captions: texts and log-probabilities, one of each image.
        right: whether each shares its main noun with a reference.
        decode: the settings they were made with.
        weights: the `fingerprint` of the run that made them.

    Raises:
        CaptionerError: fewer than `LEAST`.
    """
    check_count(len(captions))
    x = np.array([_measured(*caption) for caption in captions])
    intercept, slope = _logistic(x, np.array(right, float))
    share = float(np.mean(right))
    return Calibration(intercept, slope, len(captions), share, dict(decode), weights=weights)


def cross_fitted(
    captions: Sequence[tuple[str, float]], right: Sequence[bool], folds: int = 10
) -> np.ndarray:
    """float [N]: confidences, each by a fit that left the caption out."""
    x, y = np.array([_measured(*caption) for caption in captions]), np.array(right, float)
    found = np.zeros(len(x))
    for fold in range(folds):
        out = np.arange(len(x)) % folds == fold
        intercept, slope = _logistic(x[~out], y[~out])
        found[out] = 1 / (1 + np.exp(-(intercept + slope * x[out])))
    return found


def _plain(value: Any) -> Any:
    """A setting as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _measured(caption: str, log_prob: float) -> float:
    """What confidence is a function of: nats per word, of which the end is one."""
    return log_prob / (len(caption.split()) + 1)


def _logistic(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(intercept, slope) of the most probable logistic function, by Newton's method.

    Platt's targets, short of 0 and 1 by what N images leave open, keep it finite where all are
    right.
    """
    count = y.sum()
    y = np.where(y > 0, (count + 1) / (count + 2), 1 / (len(y) - count + 2))
    columns = np.stack([np.ones_like(x), x - x.mean()], 1)
    usual, precision = np.array([0, _SLOPE]), np.array([0, 1 / _SPREAD**2])
    found = usual.astype(float)
    for _ in range(100):
        p = 1 / (1 + np.exp(-columns @ found))
        uphill = columns.T @ (y - p) - precision * (found - usual)
        curve = (columns * (p * (1 - p))[:, None]).T @ columns + np.diag(precision)
        move = np.clip(np.linalg.solve(curve + 1e-9 * np.eye(2), uphill), -2, 2)
        found += move
        if np.abs(move).max() < 1e-9:
            break
    return float(found[0] - found[1] * x.mean()), float(found[1])


# Measuring it.


def judged(model, records: Sequence[Any]) -> tuple[list[tuple[str, float]], list[bool]]:
    """Captions records without prompts: texts with log-probabilities, and whether each is right.

    Args:
        model: a `captioner.captioning.Captioner`.
        records: with `image` and `captions`. Images that can't be read are left out.
    """
    captions, right = [], []
    results = model.caption([record.image for record in records])
    for record, result in zip(records, results, strict=True):
        if not result.error:
            captions.append((result.text, result.log_prob))
            right.append(shares_main_noun(result.text, record.captions))
    return captions, right


@dataclass(frozen=True)
class Bin:
    """Captions of about the same confidence."""

    captions: int
    least: float
    most: float
    confidence: float
    """Their mean confidence."""
    right: float
    """The share that was right."""


@dataclass(frozen=True)
class Reliability:
    """Whether confidences mean what they say.

    Attributes:
        bins: by rising confidence.
        error: the expected calibration error: the mean over the captions of how far their bin's
            confidence is from the share that was right (Naeini et al. 2015).
        chance: what that error would be on average if every confidence were true: a few dozen
            captions can't show less.
        brier: the mean squared distance of confidence from 1 for right and 0 for wrong captions.
        ranking: the probability that of a right and a wrong caption the right one has the higher
            confidence (the area under the ROC curve); None where all are alike.
        left: of each of `_LEAST_CONFIDENCES` that some captions have: it, how many have it, and
            the share of them that was right.
    """

    bins: tuple[Bin, ...]
    error: float
    chance: float
    brier: float
    ranking: float | None
    left: tuple[tuple[float, int, float], ...] = ()

    @property
    def captions(self) -> int:
        """How many were measured."""
        return sum(one.captions for one in self.bins)

    def table(self) -> str:
        """The bins, and what is left where silence is asked for, as lines of text."""
        rows = [" confidence   mean  right  captions"]
        rows += [
            f"{b.least:.2f} - {b.most:.2f}   {b.confidence:.2f}   {b.right:.2f}  {b.captions:8,}"
            for b in self.bins
        ]
        ranking = "" if self.ranking is None else f"; ranking {self.ranking:.2f}"
        rows.append(
            f"calibration error (ECE) {self.error:.3f}, where true confidences would show "
            f"{self.chance:.3f} by chance; Brier score {self.brier:.3f}{ranking}"
        )
        rows += [
            f"--min-confidence {least}: {kept} of {self.captions} captions are left, "
            f"{right:.0%} of them right"
            for least, kept, right in self.left
        ]
        return "\n".join(rows)


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = 5) -> Reliability:
    """Compares confidences with what came true, in bins of equally many captions.

    Raises:
        ValueError: no captions.
    """
    p, y = np.array(confidences, float), np.array(right, float)
    if not len(p):
        raise ValueError("no captions to measure on")
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    found = tuple(
        Bin(len(q), *map(float, (p[q].min(), p[q].max(), p[q].mean(), y[q].mean()))) for q in parts
    )
    drawn = np.random.default_rng(0).random((_DRAWS, len(p))) < p
    error, *chance = (
        sum(len(q) * abs(p[q].mean() - some[q].mean()) for q in parts) / len(p)
        for some in (y, *drawn)
    )
    good, bad = p[y > 0], p[y == 0]
    ranking = None
    if len(good) and len(bad):
        above = good[:, None] - bad[None]
        ranking = float(np.mean((above > 0) + (above == 0) / 2))
    brier = float(np.mean((p - y) ** 2))
    left = tuple(
        (least, int(kept.sum()), float(y[kept].mean()))
        for least in _LEAST_CONFIDENCES
        if (kept := p >= least).any()
    )
    return Reliability(found, float(error), float(np.mean(chance)), brier, ranking, left)


# Files.


def write(calibration: Calibration, path: Path) -> None:
    """Writes a calibration as JSON."""
    text = json.dumps(dataclasses.asdict(calibration), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Calibration | None:
    """What `write` wrote, or an export's captioner.json holds; None where there is nothing, or what
    an export holds is of other settings than its own.

    Raises:
        CaptionerError: damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict) or "signatures" not in value:
            return parse(value)
        made = parse(value["calibration"]) if "calibration" in value else None
        return None if made and made.differences(value.get("decode", {})) else made
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CaptionerError(
            f"{path} is damaged ({error}); remove it and calibrate again"
        ) from None


def fingerprint(run: Path) -> str:
    """What tells a run's captions from those of other weights: a SHA-256 of its best weights, or
    where there are none yet its newest, and of the captions among which it looks for near ones.

    What training leaves frozen is not read: it is there before a run's first step, for good.
    """
    checkpoints = run / "checkpoints"
    steps = sorted(checkpoints.glob("[0-9]*"), reverse=True)
    weights = next((path for path in (checkpoints / "best", *steps) if path.is_dir()), checkpoints)
    return digest((*sorted(weights.glob("variables.*")), run / _BANK))


def digest(paths: Iterable[Path]) -> str:
    """A SHA-256 of some files' contents, of those that are there."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def parse(value: Any) -> Calibration:
    """A calibration from what JSON made of it.

    Raises:
        ValueError: it is none.
    """
    try:
        made = Calibration(
            float(value["intercept"]),
            float(value["slope"]),
            int(value["images"]),
            float(value["right"]),
            Decode(**value["decode"]).model_dump(mode="json"),
            int(value["held_out"]),
            float(value["error"]),
            float(value["chance"]),
            str(value.get("weights", "")),  # absent from those of earlier versions
        )
    except pydantic.ValidationError:
        raise ValueError("its decode settings are none that this version knows") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no calibration: {error!r}") from None
    if not np.isfinite([made.intercept, made.slope, made.right, made.error, made.chance]).all():
        raise ValueError("it is no calibration: its numbers aren't finite")
    return made
