"""The pairs that matching is trained on, right and wrong."""

import numpy as np
import pytest
import tiny_training as tiny

from captioner.inputs.pairs import PairBatches
from captioner.inputs.pipeline import CachedImages
from captioner.inputs.prompt_batches import TokenizedPrompts
from captioner.inputs.records import Record
from captioner.inputs.text import normalised
from captioner.learning import closed_form, matching, pairs, sentences
from captioner.learning.data import Images

SAME = (("a dog", "one dog"), ("a cat", "A dog!"), ("a bird", "two birds"), ("a kite", "red kite"))


def shown(made: list[Record]) -> Images:
    cache = tiny.Cache()
    cache.table = np.broadcast_to(  # an image's features say which it is
        np.arange(len(made), dtype=np.float16)[None, :, None, None], (2, len(made), 4, tiny.WIDTH)
    )
    cache.views = 2
    return Images(made, CachedImages(cache), frozenset())


def pair_batches(encoder, captions=SAME, **changes) -> PairBatches:
    train = shown([Record(str(at), None, own, "train") for at, own in enumerate(captions)])
    read = TokenizedPrompts(tiny.prompt_tokenizer(encoder))
    given = {"batch_size": 8, "negatives": 2} | changes
    return PairBatches(pairs.examples(train), train.source, read, **given)


def spelled(batch, made: PairBatches) -> list[tuple[int, str, float, float]]:
    """A batch's pairs: image, text, whether it is right, and what it counts."""
    texts = {
        tuple(row[row > 0]): text
        for text in made.data.prompts
        for row in made._prompts([text])["input_word_ids"]
    }
    return [
        (int(batch["image"][row, 0, 0]), texts[tuple(ids[ids > 0])], right, weight)
        for row, ids, right, weight in zip(
            batch["image_rows"], batch["input_word_ids"][batch["text_rows"]],
            batch["right"], batch["weight"], strict=True,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("mined", [0.0, 0.5, 1.0])
def test_wrong_pairs_are_never_right(tiny_encoder, mined):
    """Not even by an identical text of another image."""
    nearest = np.array([[2, 3], [3, 2], [3, 2], [3, 2], [3, -1], [3, 1], [2, -1], [2, 0]])
    made = pair_batches(tiny_encoder, mined=mined, nearest=nearest)
    said = {(at, normalised([text])[0]) for at, own in enumerate(SAME) for text in own}
    row = {text: at for at, text in enumerate(made.data.prompts)}
    seen = set()
    for epoch in range(8):
        for step in made.epoch(epoch):
            for image, text, right, weight in spelled(step[0], made):
                owned = {at for at, one in said if one == normalised([text])[0]}
                assert (image in owned) == bool(right), (image, text)
                assert weight == (1 if right else 0.5)
                if not right and mined == 1.0:
                    assert image in nearest[row[text]]
                seen.add((text, image, right))
    # Every caption with its image, and in time with all the wrong ones that it may have.
    assert sum(right for _, _, right in seen) == 8
    if not mined:
        assert len(seen) == 8 * 4 - 2  # but for the dogs of each other


def test_steps_are_drawn_alike_however_they_are_divided(tiny_encoder):
    """Also from the middle of an epoch on; a replica's share has only the images it needs."""
    one, two = (pair_batches(tiny_encoder, batch_size=3, replicas=n) for n in (1, 2))
    assert one.steps == 3
    whole = [spelled(step[0], one) for step in one.epoch(1)]
    parts = [[pair for part in step for pair in spelled(part, two)] for step in two.epoch(1)]
    assert whole == parts
    assert [spelled(step[0], one) for step in one.epoch(1, first=2)] == whole[2:]
    assert [len(step) for step in whole] == [9, 9, 6]
    for step in two.epoch(1):
        for part in step:
            assert set(part["image_rows"]) == set(range(len(part["image"])))
    assert repr(whole[0][0][1].lower()) in one.describe(1, 0).lower()


def test_a_step_of_one_image_takes_wrong_ones_from_all(tiny_encoder):
    made = pair_batches(tiny_encoder, (("a dog",), ("a cat",)), batch_size=1, negatives=1)
    for step in made.epoch(0):
        (_, _, first, _), (_, _, second, _) = spelled(step[0], made)
        assert (first, second) == (1, 0)
    alone = pair_batches(tiny_encoder, (("a dog",), ("A dog",)), batch_size=2, negatives=1)
    (step,) = alone.epoch(0)
    assert step[0]["right"].tolist() == [1, 1]  # nothing is wrong


def test_the_hardest_are_the_nearest_that_are_wrong():
    rng = np.random.default_rng(0)
    told = sentences.unit(rng.normal(size=(4, 2, 5)).astype(np.float32))
    vectors = rng.normal(size=(8, 5)).astype(np.float32)
    fit = sentences.Fit(None, None, np.zeros(5, np.float32), told, 0.0, 1.0)
    kept = np.array([0, 1, 3, 4])  # the third can't be read
    found = closed_form.Retrieval(kept, None, vectors, np.repeat(np.arange(4), 2), fit)
    made = [Record(str(at), None, own, "train") for at, own in enumerate(SAME)]
    made.insert(2, Record("lost", None, ("a kite",), "train"))
    data = pairs.examples(shown(made)._replace(unreadable=frozenset({2})))
    near = matching.hardest(found, data, 9)
    assert near.shape == (8, 4)
    for row, (text, image) in enumerate(zip(data.texts, data.image, strict=True)):
        wrong = [0, 1, 3, 4]
        for own in {0: (0, 1), 3: (0, 1)}.get(row, (int(image),)):  # the dogs
            wrong.remove(own)
        similar = {one: vectors[row] @ told[list(kept).index(one), 0] for one in wrong}
        expected = sorted(wrong, key=lambda one: -similar[one])
        assert near[row].tolist() == [*expected, *[-1] * (4 - len(expected))], text
    assert (matching.hardest(found, data, 2) == near[:, :2]).all()
