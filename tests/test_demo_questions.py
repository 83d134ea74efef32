"""Questions about drawn pictures: true, balanced, the same each time."""

from collections import Counter

import pytest

from captioner.inputs import demo
from captioner.inputs.demo.things import THINGS
from captioner.metrics.vqa import QuestionOnly, accuracy

IMAGES = 480


@pytest.fixture(scope="module")
def asked():
    """(scene, question, answer, known) of a smaller set's training pictures."""
    count = demo.split_sizes(IMAGES)["train"]
    scenes = [demo.scene(0, index, "train") for index in range(count)]
    made = demo.questions(scenes)
    return [(scene, *one) for scene, some in zip(scenes, made, strict=True) for one in some]


def test_the_same_each_time_and_as_the_set_has_them(asked):
    every = list(demo.asked(IMAGES))
    assert Counter(split for _, split, _ in every) == demo.split_sizes(IMAGES)
    train = [one for _, split, made in every if split == "train" for one in made]
    assert train == [tuple(one[1:]) for one in asked]
    ids = [known.id for _, _, made in every for _, _, known in made]
    assert len(set(ids)) == len(ids)


def test_questions_end_in_their_mark_and_have_ten_answers(asked):
    for _, text, answer, known in asked:
        assert text.endswith("?") and len(known.answers) == 10
        assert accuracy(answer, known.answers) == 1
    assert {known.kind for *_, known in asked} == {
        "is", "what", "what colour", "where", "which side", "how many",
    }  # fmt: skip


def test_yes_and_no_are_even_and_true(asked):
    yes_no = [row for row in asked if row[3].answer_kind == "yes/no"]
    even = Counter((row[0].seed, row[2]) for row in yes_no)
    assert all(even[seed, "yes"] == even[seed, "no"] >= 1 for seed, _ in even)
    for scene, text, answer, _ in yes_no:
        words = text.rstrip("?")
        if words.startswith("is there "):
            name = words.removeprefix("is there ").partition(" ")[2]
            assert (answer == "yes") == any(group.kind == name for group in scene.groups)
        else:
            named = [group for group in scene.groups if _meant(scene, group, words)]
            said = words.rpartition(" ")[2]
            true = any(said in (group.colour, group.position) for group in named)
            assert named and (answer == "yes") == true, (text, answer)


def test_counts_and_colours_are_true(asked):
    for scene, text, answer, known in asked:
        if known.kind == "how many":
            kind = text.removeprefix("how many ").removesuffix(" are there?")
            assert int(answer) == next(
                group.count for group in scene.groups if THINGS[group.kind].plural == kind
            )
        if known.kind == "what colour":
            assert any(
                _meant(scene, group, text.rstrip("?")) and group.colour == answer
                for group in scene.groups
            )


def test_the_question_alone_gives_little_away(asked):
    blind = QuestionOnly((text, answer) for _, text, answer, _ in asked)
    others = [one for _, split, made in demo.asked() if split == "test" for one in made]
    right = [accuracy(blind(text), known.answers) for text, _, known in others]
    yes_no = [
        accuracy(blind(text), known.answers)
        for text, _, known in others
        if known.answer_kind == "yes/no"
    ]
    assert sum(right) / len(right) < 0.4
    assert 0.4 < sum(yes_no) / len(yes_no) < 0.6
    counts = Counter(answer for *_, answer, known in asked if known.kind == "how many")
    assert max(counts.values()) < 0.45 * counts.total()


def _name(group):
    thing = THINGS[group.kind]
    return thing.name if group.count == 1 else thing.plural


def _meant(scene, group, words):
    """Whether a question is about the group: by its name, or because there is no other."""
    alone = len(scene.groups) == 1 and {"it", "they"} & set(words.split())
    return bool(alone) or f"the {_name(group)} " in f"{words} "


def test_no_question_tells_what_a_split_never_shows(asked):
    shown = {(one.kind, one.colour) for scene, *_ in asked for one in scene.groups}
    plurals = {thing.plural: kind for kind, thing in THINGS.items()}
    for scene, text, answer, _ in asked:
        words = text.rstrip("?").rpartition(" ")
        if answer == "no" and words[0].startswith(("is the ", "are the ")):
            name = words[0].partition(" the ")[2]
            kind = plurals.get(name, name)
            if words[2] in THINGS.get(kind, THINGS["ball"]).colours and kind in THINGS:
                assert (kind, words[2]) in shown, text
