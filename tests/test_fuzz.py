"""Mutated files against the whole exported graph; `python tests/fuzz.py` does it at length."""

import numpy as np
import pytest
from clients import loaded
from fuzz import fuzz, originals_of, peak_memory


def test_mutated_files_are_captioned_or_refused_and_hurt_nobody(exports):
    counts = fuzz(loaded(exports["float32"]), originals_of(), files=72, seed=1)
    assert counts.captioned > 10 and counts.refused.total() > 30


def test_a_changed_neighbour_is_noticed(exports):
    class Shaken:
        def call(self, signature, inputs):
            out = loaded(exports["float32"]).call(signature, inputs)
            scores = "log_probs" if "log_probs" in out else "log_prob"
            if any(error for error in out["error"]):
                out[scores] = out[scores] * np.float32(1 + 1e-5)
            return out

    with pytest.raises(AssertionError, match="log_prob"):
        fuzz(Shaken(), originals_of(), files=100, seed=1)


@pytest.mark.slow
def test_twenty_thousand_mutated_files(exports, flickr8k):
    model = loaded(exports["float32"])
    originals = originals_of(flickr8k / "Images")
    fuzz(model, originals, files=600, seed=2)
    before = peak_memory()
    counts = fuzz(model, originals, files=20_000, seed=3)
    print(counts)
    assert counts.captioned > 2_000 and counts.refused.total() > 5_000
    assert peak_memory() < before + 512
