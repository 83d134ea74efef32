"""Captions' embeddings: made once, and again where what was kept is damaged or of something else."""

import numpy as np
import pytest

from captioner import config
from captioner.learning import embeddings
from captioner.models.build import build

CAPTIONS = ["a dog", "a red ball on the grass", "two men", "a dog", "café ball"]


@pytest.fixture
def made(tiny_overrides, tmp_path, monkeypatch):
    """(settings, built, count): settings with a cache of their own; count() is how many captions
    were embedded since it was last asked."""
    monkeypatch.setattr(embeddings, "_LEAST", 3)
    settings = config.settings("demo", overrides=[*tiny_overrides, f"data.folder={tmp_path}"])
    built = build(settings, ["[PAD]", "[UNK]", "[START]", "[END]", "a", "dog", "ball"])
    seen = []
    original = embeddings._embedded

    def spy(built, captions, progress):
        seen.extend(captions)
        return original(built, captions, progress)

    monkeypatch.setattr(embeddings, "_embedded", spy)

    def count() -> int:
        found = len(seen)
        seen.clear()
        return found

    return settings, built, count


def test_they_are_made_once(made, tmp_path):
    settings, built, count = made
    steps = []
    first = embeddings.embeddings(settings, built, CAPTIONS, lambda *at: steps.append(at))
    assert count() == 5 and steps[-1] == (5, 5)
    assert first.shape == (5, built.model.text_encoder.width) and first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(first[0], first[3])
    assert np.abs(first[0] - first[1]).max() > 1e-3
    again = embeddings.embeddings(settings, built, CAPTIONS)
    assert count() == 0
    np.testing.assert_array_equal(again, first)
    (file,) = (tmp_path / "cache" / "captions").iterdir()  # nothing else is left behind
    assert file.suffix == ".npz"


def test_other_captions_and_another_reading_are_others(made):
    settings, built, count = made
    embeddings.embeddings(settings, built, CAPTIONS)
    count()
    for other in (CAPTIONS[::-1], [*CAPTIONS[:3], "a dog\na dog"], CAPTIONS[:3]):
        embeddings.embeddings(settings, built, other)
        assert count() == len(other)
    text = settings.text.model_copy(update={"max_prompt": 3})
    embeddings.embeddings(settings.model_copy(update={"text": text}), built, CAPTIONS)
    assert count() == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "of another width"])
def test_what_is_damaged_is_made_again(made, tmp_path, damage):
    settings, built, count = made
    first = embeddings.embeddings(settings, built, CAPTIONS)
    (file,) = (tmp_path / "cache" / "captions").iterdir()
    whole = file.read_bytes()
    if damage == "of another width":
        with file.open("wb") as out:
            np.savez(out, embeddings=first[:, :-1])
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
        file.write_bytes({"cut": whole[:middle], "flipped": flipped, "emptied": b""}[damage])
    count()
    np.testing.assert_array_equal(embeddings.embeddings(settings, built, CAPTIONS), first)
    assert count() == 5
    np.testing.assert_array_equal(embeddings.embeddings(settings, built, CAPTIONS), first)
    assert count() == 0


def test_a_few_are_not_kept(made, tmp_path):
    settings, built, count = made
    embeddings.embeddings(settings, built, CAPTIONS[:2])
    assert count() == 2 and not (tmp_path / "cache").exists()
