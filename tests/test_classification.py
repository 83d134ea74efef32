"""The scores of a classification against figures worked by hand, and its picture."""

import numpy as np
import pytest
from PIL import Image

from captioner.metrics.classification import always, confusion, scores
from captioner.reporting import confusions

NAMES = ["cat", "dog", "owl", "pig"]
# Cats: two right, one a dog. Dogs: one right, one an owl. Owl: a cat. No pigs, none found.
TRUTH = [0, 0, 0, 1, 1, 2]
FOUND = [0, 0, 1, 1, 2, 0]


def test_who_is_taken_for_whom():
    expected = [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert confusion(TRUTH, FOUND, 4).tolist() == expected


def test_figures_worked_by_hand():
    made = scores(confusion(TRUTH, FOUND, 4), NAMES)
    by_class = made.pop("classes")
    assert by_class["cat"] == pytest.approx(
        {"images": 3, "precision": 2 / 3, "recall": 2 / 3, "F1": 2 / 3}
    )
    assert by_class["dog"] == {"images": 2, "precision": 0.5, "recall": 0.5, "F1": 0.5}
    assert by_class["owl"] == {"images": 1, "precision": 0, "recall": 0, "F1": 0}
    assert by_class["pig"] == {"images": 0, "precision": 0, "recall": 0, "F1": 0}
    third, weighted = (2 / 3 + 1 / 2) / 3, (3 * 2 / 3 + 2 * 1 / 2) / 6
    assert made == pytest.approx({
        "accuracy": 0.5,
        "macro_precision": third, "macro_recall": third, "macro_F1": third,
        "weighted_precision": weighted, "weighted_recall": weighted, "weighted_F1": weighted,
    })  # fmt: skip


def test_a_class_that_is_found_in_vain_lowers_the_mean():
    made = scores(confusion([0, 1], [0, 3], 4), NAMES)
    assert made["macro_F1"] == pytest.approx(1 / 3) and made["weighted_recall"] == 0.5


def test_always_the_same():
    """Three of six are cats: precision 1/2, recall 1, F1 2/3; the other two have nothing."""
    assert always(TRUTH, 0, NAMES) == pytest.approx({"accuracy": 0.5, "macro_F1": 2 / 9})


def test_no_images_at_all():
    made = scores(confusion([], [], 4), NAMES)
    assert made["accuracy"] == made["macro_F1"] == made["weighted_F1"] == 0.0


@pytest.mark.parametrize("count", [3, 60])
def test_the_picture_grows_with_the_classes(tmp_path, count):
    """Row by row, whatever the names hold."""
    names = [f"${'long ' * 8}{number}^" for number in range(count)]
    matrix = np.diag(np.arange(1, count + 1))
    matrix[0, 1] = 4
    path = tmp_path / "new" / "a.png"
    confusions.draw(matrix, names, path, "$5 of \\{classes\\}")
    with Image.open(path) as image:
        assert image.format == "PNG"
        # 8 points at 110 dpi are 12 pixels: a row must be at least as high.
        assert min(image.size) > max(250, count * 25)


def test_of_too_many_classes_the_most_confused_are_drawn(tmp_path):
    count = confusions.MOST + 20
    matrix = np.diag(np.full(count, 9))
    matrix[5, 110] = 3
    matrix[7, 7] = 0  # no image, and never found
    kept = confusions.shown(matrix)
    assert len(kept) == confusions.MOST and {5, 110} <= set(kept) and 7 not in kept
    assert list(kept) == sorted(kept)
