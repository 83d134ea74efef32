"""Small drawings of figures, as SVG that stands in a page; each has its content in words."""

from collections.abc import Sequence

import numpy as np

from captioner.reporting.markup import escaped

_WIDE, _HIGH = 180, 22


def interval_bar(value: float, bounds: Sequence[float], top: float) -> str:
    """A figure and its interval on a scale from 0 to `top`.

    Hidden from screen readers: the row it stands in has both as text.
    """
    left, right, at = (
        _WIDE * min(max(one / top, 0.0), 1.0) if top > 0 else 0.0 for one in (*bounds, value)
    )
    middle = _HIGH / 2
    return (
        f'<svg width="{_WIDE}" height="{_HIGH}" aria-hidden="true">'
        f'<line class="axis" x1="0" x2="{_WIDE}" y1="{middle}" y2="{middle}"/>'
        f'<line class="span" x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="point" cx="{at:.1f}" cy="{middle}" r="4"/></svg>'
    )


def histogram(values: Sequence[float], name: str) -> str:
    """How often each height of a figure was reached, in steps of a round size from 0 on."""
    values = np.asarray(values, float)
    step = next(
        (one for one in (0.1, 0.2, 0.25, 0.5, 1.0) if values.max() / one <= 16), values.max() / 16
    )
    bins = max(1, int(values.max() / step) + 1)
    counts = np.bincount(np.minimum((values / step).astype(int), bins - 1), minlength=bins)
    wide, high, foot, head = 34, 110, 18, 16
    parts = []
    for place, count in enumerate(counts):
        size = high * count / counts.max()
        x, y = place * wide, head + high - size
        parts.append(
            f'<rect class="column" x="{x + 1}" y="{y:.1f}" width="{wide - 2}" '
            f'height="{size:.1f}"/>'
        )
        if count:
            parts.append(
                f'<text x="{x + wide / 2}" y="{y - 3:.1f}" text-anchor="middle">{count}</text>'
            )
        parts.append(f'<text x="{x}" y="{head + high + 14}">{place * step:g}</text>')
    said = f"{name} of each image: " + ", ".join(
        f"{count} from {place * step:g} to {(place + 1) * step:g}"
        for place, count in enumerate(counts)
        if count
    )
    width, height = bins * wide + 20, head + high + foot
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escaped(said)}"><line class="axis" x1="0" x2="{bins * wide}" '
        f'y1="{head + high}" y2="{head + high}"/>{"".join(parts)}</svg>'
    )


def curve(across: Sequence[float], up: Sequence[float], names: tuple[str, str]) -> str:
    """A curve in the unit square, with its diagonal.

    Args:
        across, up: its points, each from 0 to 1.
        names: what goes across and what up.
    """
    side, edge = 220, 24
    points = " ".join(
        f"{edge + side * x:.1f},{side * (1 - y) + 4:.1f}" for x, y in zip(across, up, strict=True)
    )
    said = f"{names[1]} by {names[0]}: " + ", ".join(
        f"{float(np.interp(at, across, up)):.2f} at {at:g}" for at in (0.05, 0.1, 0.2, 0.5)
    )
    right, bottom = edge + side, side + 4
    return (
        f'<svg width="{right + 8}" height="{bottom + 20}" role="img" aria-label="{escaped(said)}">'
        f'<line class="axis" x1="{edge}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
        f'<line class="axis" x1="{edge}" x2="{edge}" y1="4" y2="{bottom}"/>'
        f'<line class="axis" x1="{edge}" x2="{right}" y1="{bottom}" y2="4"/>'
        f'<polyline class="curve" points="{points}"/>'
        f'<text x="{edge}" y="{bottom + 15}">{escaped(names[0])}</text>'
        f'<text transform="translate({edge - 8} {bottom}) rotate(-90)">{escaped(names[1])}</text>'
        "</svg>"
    )
