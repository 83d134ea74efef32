"""The batches of an epoch: every caption once, the same ones for the same seed, divided exactly."""

import collections
import itertools
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.inputs import features, readers
from captioner.inputs.pipeline import (
    Batches,
    CachedImages,
    Examples,
    NoImages,
    ReadImages,
    examples,
    prompt_rows,
    text_examples,
)
from captioner.inputs.records import Record
from captioner.inputs.text import CaptionTokenizer, learn_vocabulary
from captioner.inputs.wordpiece import BertTokenizer

SIDE = 32


class Numbered:
    """Images whose one feature is their position, beside a number that was drawn for them."""

    spec = {"image": tf.TensorSpec([None, None, None], tf.float16)}

    def __call__(self, images, rng):
        rows = np.stack([images, rng.integers(1000, size=len(images))], axis=1)
        return {"image": rows[:, None].astype(np.float16)}


def counted(counts, own_prompts=None) -> Examples:
    """Examples with so many captions of each image; token 1 of each is its number."""
    image = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(image), dtype=np.int32)
    tokens = np.stack([np.full_like(number, 2), number, np.full_like(number, 3)], axis=1)
    return Examples(image, tokens, [f"dog {i} jumps high" for i in number], own_prompts)


def batches(counts=(5,) * 12, batch_size=20, per_image=5, **options) -> Batches:
    data = options.pop("data", None) or counted(counts)
    images = options.pop("images", None) or Numbered()
    return Batches(data, images, batch_size=batch_size, captions_per_image=per_image, **options)


@pytest.fixture(scope="module")
def prompt_tokenizer() -> BertTokenizer:
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789…")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{one}" for one in letters)]
    return BertTokenizer(words, length=8)


@pytest.fixture(scope="module")
def records(drawn) -> tuple[Record, ...]:
    return readers.read(f"csv:{drawn}").records[:11]


def joined(step) -> dict[str, np.ndarray]:
    """A step's parts as one batch, its rows counted on."""
    images = np.cumsum([0, *(len(one.get("image", one["tokens"])) for one in step)])
    prompts = np.cumsum([0, *(len(one.get("input_mask", ())) for one in step)])
    parts = []
    widest = max(one["input_mask"].shape[1] if "input_mask" in one else 0 for one in step)
    for one, image, prompt in zip(step, images, prompts, strict=False):
        part = one | {"image_rows": one["image_rows"] + np.int32(image)}
        for name in set(one) & {"input_word_ids", "input_mask", "input_type_ids"}:
            part[name] = np.pad(one[name], [(0, 0), (0, widest - one[name].shape[1])])
        if "prompt_rows" in one:
            rows = one["prompt_rows"]
            part["prompt_rows"] = np.where(rows < 0, rows, rows + np.int32(prompt))
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in step[0]}


def numbers(step) -> list[int]:
    return [int(n) for one in step for n in one["tokens"][:, 1]]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


UNEVEN = (1, 5, 7, 2, 12, 5, 3, 1, 4, 5, 30, 2, 2)


@pytest.mark.parametrize("per_image", [1, 2, 5])
@pytest.mark.parametrize(
    ("batch_size", "replicas"), [(1, 1), (16, 1), (16, 3), (79, 2), (1000, 1), (1000, 3)]
)
def test_every_caption_comes_exactly_once_an_epoch(batch_size, per_image, replicas):
    made = batches(UNEVEN, batch_size, per_image, replicas=replicas)
    for epoch in range(3):
        steps = list(made.epoch(epoch))
        assert len(steps) == made.steps
        assert sorted(n for step in steps for n in numbers(step)) == list(range(sum(UNEVEN)))


def test_captions_stand_beside_their_own_image():
    made = batches(UNEVEN, 20, replicas=2)
    for step in made.epoch(0):
        for one in step:
            shown = one["image"][one["image_rows"], 0, 0]
            np.testing.assert_array_equal(shown, made.data.image[one["tokens"][:, 1]])
            assert len(one["image"]) == len(set(one["image_rows"]))


def test_the_same_seed_and_epoch_give_the_same_batches(prompt_tokenizer):
    options = {"prompt_tokenizer": prompt_tokenizer, "prompt_share": 0.5, "seed": 7}
    first, second = batches(UNEVEN, **options), batches(UNEVEN, **options)
    list(first.epoch(3))  # an epoch drawn before changes nothing
    for one, other in zip(first.epoch(1), second.epoch(1), strict=True):
        assert_same(one, other)


def test_epochs_and_seeds_differ_in_order_and_in_what_is_drawn(prompt_tokenizer):
    options = {"prompt_tokenizer": prompt_tokenizer, "prompt_share": 0.5}
    orders, views, prompts = set(), set(), set()
    for seed, epoch in itertools.product((0, 1), (0, 1)):
        steps = list(batches(UNEVEN, seed=seed, **options).epoch(epoch))
        orders.add(tuple(n for step in steps for n in numbers(step)))
        drawn = {float(a): float(b) for step in steps for a, b in step[0]["image"][:, 0]}
        views.add(tuple(drawn[image] for image in range(len(UNEVEN))))
        given = {
            n: row >= 0
            for step in steps
            for n, row in zip(numbers(step), step[0]["prompt_rows"], strict=True)
        }
        prompts.add(tuple(given[n] for n in range(sum(UNEVEN))))
    assert len(orders) == len(views) == len(prompts) == 4


def test_one_image_is_drawn_anew_each_epoch(prompt_tokenizer):
    made = batches((1,), 1, prompt_tokenizer=prompt_tokenizer, prompt_share=0.5)
    steps = [step for epoch in range(8) for step in made.epoch(epoch)]
    assert len({float(step[0]["image"][0, 0, 1]) for step in steps}) == 8
    assert {int(step[0]["prompt_rows"][0]) for step in steps} == {-1, 0}


def test_an_images_captions_are_grouped_anew_each_epoch():
    made = batches((12, 5), 17, 5)
    groups = {
        frozenset(group.tolist()) for epoch in range(5) for group in made._order(epoch)(0, 99)
        if len(group) < 5
    }  # fmt: skip
    assert len(groups) > 3


def test_resuming_gives_the_rest_of_the_epoch(prompt_tokenizer):
    made = batches(UNEVEN, 10, replicas=2, prompt_tokenizer=prompt_tokenizer, prompt_share=0.5)
    whole = list(made.epoch(2))
    for first in range(made.steps + 1):
        rest = list(made.epoch(2, first))
        assert len(rest) == made.steps - first
        for one, other in zip(rest, whole[first:], strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_replicas_divide_the_step_of_one(replicas, prompt_tokenizer):
    options = {"prompt_tokenizer": prompt_tokenizer, "prompt_share": 0.5, "seed": 5}
    alone = batches(UNEVEN, 40, **options)
    divided = batches(UNEVEN, 40, replicas=replicas, **options)
    assert alone.steps == divided.steps
    for (whole,), parts in zip(alone.epoch(1), divided.epoch(1), strict=True):
        assert len(parts) == replicas
        assert_same([joined(parts)], [whole])
        sizes = [len(one["image"]) for one in parts]
        assert max(sizes) - min(sizes) <= 1


def test_the_last_step_may_leave_replicas_without_captions():
    made = batches((1,) * 9, 8, replicas=4)
    last = list(made.epoch(0))[-1]
    assert [len(one["tokens"]) for one in last] == [1, 0, 0, 0]
    for one in last[1:]:
        assert one["image"].shape == (0, 1, 2) and one["image_rows"].shape == (0,)


def test_fewer_images_a_step_than_replicas_is_an_error():
    with pytest.raises(CaptionerError, match=r"train.batch_size=9 .* 4 replicas"):
        batches((5,) * 10, 9, replicas=4)
    assert batches((5,) * 10, 20, replicas=4).steps == 3


@pytest.mark.parametrize(("counts", "batch_size", "groups"), [
    ((5,) * 100, 50, 10), ((1,) * 100, 50, 50), ((10,) * 50, 50, 10), ((5,) * 3, 1000, 3),
])  # fmt: skip
def test_batch_size_counts_captions(counts, batch_size, groups):
    (first, *_) = batches(counts, batch_size).epoch(0)
    assert len(first[0]["image"]) == groups


def test_an_image_with_many_captions_is_split_into_even_groups():
    made = batches((13,), 13, 5)
    assert sorted(len(group) for group in made._order(0)(0, 99)) == [4, 4, 5]
    (step,) = made.epoch(0)
    assert step[0]["image"][:, 0, 0].tolist() == [0, 0, 0]


def test_no_captions_no_steps():
    assert list(batches((), 8).epoch(0)) == []


# Prompts.


def test_prompt_rows_count_the_given_prompts():
    rows, given = prompt_rows(["", "a dog", "  ", "…", ""])
    assert rows.tolist() == [-1, 0, -1, 1, -1] and rows.dtype == np.int32
    assert given == ["a dog", "…"]
    rows, given = prompt_rows([])
    assert rows.shape == (0,) and given == []


def test_rows_point_at_their_captions_prompt(prompt_tokenizer):
    prompts = [f"p{i}" if i % 3 else "" for i in range(60)]
    made = batches(data=made_with(prompts), prompt_tokenizer=prompt_tokenizer, replicas=2)
    for step in made.epoch(0):
        for one in step:
            mine = [prompts[n] for n in one["tokens"][:, 1]]
            assert [row >= 0 for row in one["prompt_rows"]] == [bool(prompt) for prompt in mine]
            expected = prompt_tokenizer(tf.constant([p for p in mine if p], tf.string))
            longest = expected["input_mask"].numpy().sum(1).max()
            assert longest < prompt_tokenizer.length  # the rest is padding, and left out
            for name, value in expected.items():
                np.testing.assert_array_equal(one[name], value[:, :longest])


def made_with(prompts) -> Examples:
    return counted((5,) * (len(prompts) // 5), prompts)


def test_own_prompts_are_kept_and_none_are_drawn(prompt_tokenizer):
    made = batches(
        data=made_with([""] * 60), prompt_tokenizer=prompt_tokenizer, prompt_share=1.0
    )
    assert all((one["prompt_rows"] == -1).all() for step in made.epoch(0) for one in step)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_of_drawn_prompts(share, prompt_tokenizer):
    made = batches((5,) * 200, 100, prompt_tokenizer=prompt_tokenizer, prompt_share=share)
    rows = np.concatenate([one["prompt_rows"] for step in made.epoch(0) for one in step])
    assert np.mean(rows >= 0) == pytest.approx(share, abs=0.05)


def test_without_a_tokenizer_there_are_no_prompts():
    (step, *_) = batches(prompt_share=1.0).epoch(0)
    assert set(step[0]) == {"image", "image_rows", "tokens"}


# Images.


def test_the_signature_is_what_an_epoch_yields(prompt_tokenizer, records):
    tokenizer = CaptionTokenizer(learn_vocabulary([c for r in records for c in r.captions], 300))
    data = examples(records, tokenizer, 6, set())
    sources = {
        "read": (data, ReadImages(records, SIDE, augmented=False)),
        "none": (text_examples(data.texts, tokenizer, 6), NoImages()),
        "told": (text_examples(data.texts, tokenizer, 6), NoImages(told)),
        "numbered": (data, Numbered()),
    }
    for (data, images), tokens in itertools.product(sources.values(), (prompt_tokenizer, None)):
        made = Batches(
            data, images, batch_size=20, captions_per_image=5, replicas=2, prompt_share=0.5,
            prompt_tokenizer=tokens,
        )  # fmt: skip
        dataset = tf.data.Dataset.from_generator(
            lambda made=made: itertools.chain.from_iterable(made.epoch(0)),
            output_signature=made.signature(),
        )
        through = list(dataset.as_numpy_iterator())
        assert_same(through, [one for step in made.epoch(0) for one in step])


def told(positions, rng):
    """Sentences whose first number is their position, the second drawn."""
    return np.stack([positions, rng.random(len(positions))], 1).astype(np.float32)


def test_captions_without_images_bring_none():
    for step in batches(data=counted((1,) * 6), images=NoImages(), batch_size=3).epoch(0):
        (one,) = step
        assert set(one) == {"image_rows", "tokens"} and one["image_rows"].tolist() == [0, 1, 2]


def test_what_captions_without_images_are_told_is_their_own():
    options = {"data": counted((1,) * 7), "images": NoImages(told), "batch_size": 3}
    whole = [joined(step) for step in batches(**options).epoch(0)]
    for step, parts in zip(whole, batches(**options, replicas=2).epoch(0), strict=True):
        assert step["sentences"][:, 0].tolist() == step["tokens"][:, 1].tolist()
        divided = np.concatenate([part["sentences"] for part in parts])
        np.testing.assert_array_equal(step["sentences"], divided)


def test_read_images_are_those_of_the_files(records):
    images = ReadImages(records, SIDE, augmented=False)
    rows = np.array([3, 0, 7])
    expected, errors = features.decode_files([records[row].image for row in rows], SIDE)
    np.testing.assert_array_equal(images(rows, np.random.default_rng(0))["image"], expected)
    assert errors == ["", "", ""]


def test_augmented_images_differ_by_epoch_and_not_by_replicas(records):
    pytest.importorskip("keras_cv")
    data = counted((1,) * len(records))
    options = {"images": ReadImages(records, SIDE, augmented=True), "data": data}
    alone, divided = batches((), 4, **options), batches((), 4, replicas=2, **options)
    pixels = [joined(step)["image"] for step in alone.epoch(0)]
    for one, parts in zip(pixels, divided.epoch(0), strict=True):
        np.testing.assert_array_equal(one, joined(parts)["image"])
    assert not all(
        np.array_equal(one, joined(step)["image"])
        for one, step in zip(pixels, alone.epoch(1), strict=True)
    )


def test_a_file_that_changes_while_training_is_named(records, tmp_path):
    path = tmp_path / "gone.png"
    path.write_bytes(records[0].image.read_bytes())
    images = ReadImages([Record("gone", path, ("a dog",), "train")], SIDE, augmented=False)
    images(np.array([0]), np.random.default_rng(0))
    path.write_bytes(b"no image")
    with pytest.raises(CaptionerError, match="gone.png: .*changed since"):
        images(np.array([0]), np.random.default_rng(0))


def test_cached_views_are_all_drawn():
    class Cache:
        views = 3

        def rows(self, images, views):
            return np.stack([images, views], axis=1)

    images = CachedImages(Cache())
    drawn = images(np.arange(300), np.random.default_rng(0))["image"]
    assert drawn[:, 0].tolist() == list(range(300))
    counts = collections.Counter(drawn[:, 1].tolist())
    assert set(counts) == {0, 1, 2} and min(counts.values()) > 60

    sentences = np.arange(900, dtype=np.float32).reshape(300, 3, 1)
    both = CachedImages(Cache(), sentences)(np.arange(300), np.random.default_rng(0))
    assert list(both) == list(CachedImages(Cache(), sentences).spec) == ["image", "sentences"]
    np.testing.assert_array_equal(both["image"], drawn)
    np.testing.assert_array_equal(both["sentences"][:, 0], drawn[:, 0] * 3 + drawn[:, 1])


# Examples.


def test_examples_are_the_captions_of_readable_images():
    records = [
        Record("a", "a.jpg", ("A dog.", "Dogs!"), "train"),
        Record("b", "b.jpg", ("A cat",), "train"),
        Record("c", "c.jpg", ("One dog", "a cat"), "train", ("how many?", "")),
    ]
    tokenizer = CaptionTokenizer(learn_vocabulary([c for r in records for c in r.captions], 100))
    data = examples(records, tokenizer, 6, {1})
    assert data.image.tolist() == [0, 0, 2, 2]
    assert data.texts == ["a dog", "dogs", "one dog", "a cat"]
    assert data.prompts == ["", "", "how many?", ""]
    np.testing.assert_array_equal(data.tokens, tokenizer.encode(data.texts, 6))
    assert examples(records[:2], tokenizer, 6, set()).prompts is None
    assert len(examples(records, tokenizer, 6, {0, 1, 2})) == 0
    alone = text_examples(["A dog", "a cat"], tokenizer, 6)
    assert alone.image.tolist() == [0, 1] and alone.prompts is None


def test_a_step_can_be_found_by_its_captions():
    made = batches(UNEVEN, 10, seed=3)
    for at, step in enumerate(made.epoch(1)):
        first = repr(made.data.texts[numbers(step)[0]])
        assert made.describe(1, at).startswith(first)


def test_the_order_of_a_large_set_needs_little_memory():
    made = batches((5,) * 20_000, 128)
    tracemalloc.start()
    next(iter(made.epoch(0)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * len(made.data)  # bytes
