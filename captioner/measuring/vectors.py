"""What measured indexes hold: unit vectors drawn at random, spread as embeddings of captions are.

Drawn evenly in all directions, vectors have no near neighbours at all, which no search is made for;
those of captions lie near a few of the directions.

Legend: N vectors, Q queries, E their width.
"""

from collections.abc import Iterator

import numpy as np

WIDTH = 384
NEAREST = 10  # of a search
QUERIES = 200
_AT_ONCE = 50_000

# Variances that fall as (k + 10)^-1.5 are those of 57 equal directions, by the ratio of their
# squared sum to their sum of squares; 35,000 captions of photographs, embedded by the small BERT,
# have 54.
_SPREAD = (np.arange(WIDTH, dtype=np.float32) + 10) ** -0.75

ABOUT = "unit vectors of width 384, spread as embeddings of captions are; searched for 200 others"


def drawn(count: int) -> Iterator[np.ndarray]:
    """So many vectors, float32 [N, E] some at a time: the same ones every time."""
    for start in range(0, count, _AT_ONCE):
        yield _draw(start + 1, min(_AT_ONCE, count - start))


def queries() -> np.ndarray:
    """Others, float32 [Q, E]."""
    return _draw(0, QUERIES)


def _draw(seed: int, count: int) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((count, WIDTH), np.float32) * _SPREAD
    return made / np.linalg.norm(made, axis=1, keepdims=True)
