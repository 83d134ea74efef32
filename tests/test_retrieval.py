"""Retrieval scores, by hand."""

import numpy as np
import pytest

from captioner.metrics import retrieval

# Three images on the axes, and captions that lean towards them.
IMAGES = np.eye(3, dtype=np.float32)
TEXTS = np.array(
    [
        [0.9, 0.4, 0.1],  # of image 0, nearest to it
        [0.2, 0.9, 0.3],  # of 0, but nearest to 1, and 0 comes last
        [0.3, 0.8, 0.1],  # of 1, nearest
        [0.9, 0.2, 0.4],  # of 2, second
    ],
    np.float32,
)
OWNER = [0, 0, 1, 2]


def test_ranks_by_hand():
    found = retrieval.scores(IMAGES, TEXTS, OWNER)
    # Captions: ranks 1, 3, 1, 2.
    assert found["text_to_image_R@1"] == 0.5 and found["text_to_image_R@5"] == 1.0
    assert found["text_to_image_median_rank"] == 1.5
    # Image 0: 0.9 (its own) ties with 0.9 of caption 3, which counts against it: rank 2. Image 1:
    # its own 0.8 behind the 0.9 of another's: 2. Image 2: its own 0.4 is the largest: 1.
    assert found["image_to_text_R@1"] == pytest.approx(1 / 3)
    assert found["image_to_text_median_rank"] == 2.0
    assert retrieval.mean_recall(found) == pytest.approx((0.5 + 1 + 1 + 1 / 3 + 1 + 1) / 6)


def test_an_image_counts_once_with_all_its_captions():
    """One caption of five is found at once, the others far down: rank 1, and one query."""
    texts = np.array([[1, 0], [0, 1], [0, 1], [0.1, 0.9], [0.6, 0.8]], np.float32)
    found = retrieval.scores(np.eye(2, dtype=np.float32), texts, [0, 0, 0, 0, 1])
    # Image 0 finds its first caption at once; image 1 finds three of the other's first.
    assert found["image_to_text_R@1"] == 0.5 and found["image_to_text_median_rank"] == 2.5


def test_who_says_the_same_of_everything_finds_nothing():
    images, texts = np.ones((20, 4), np.float32) / 2, np.ones((40, 4), np.float32) / 2
    found = retrieval.scores(images, texts, np.repeat(np.arange(20), 2))
    assert found["text_to_image_R@10"] == 0 and found["text_to_image_median_rank"] == 20
    assert found["image_to_text_R@10"] == 0 and found["image_to_text_median_rank"] == 39


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(30, 8)), rng.normal(size=(90, 8))
    owner = rng.permutation(np.repeat(np.arange(30), 3))
    whole = retrieval.scores(images, texts, owner)
    monkeypatch.setattr(retrieval, "_CHUNK", 7)
    assert retrieval.scores(images, texts, owner) == whole
    # The same with loops.
    similar = texts @ images.T
    ranks = [1 + sum(s > row[o] for s in row) for row, o in zip(similar, owner, strict=True)]
    assert whole["text_to_image_R@5"] == np.mean(np.array(ranks) <= 5)
    firsts = []
    for at in range(30):
        order = owner[np.argsort(-similar[:, at])]
        firsts.append(1 + int(np.flatnonzero(order == at)[0]))
    assert whole["image_to_text_median_rank"] == np.median(firsts)
