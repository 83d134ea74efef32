"""Asks about what a scene shows: what, how many, which colour, where, yes or no.

A question alone does not give its answer away. Of the yes-or-no questions of a picture half are
answered yes and half no, and what is asked about in vain comes up as often as it would be there (and
never, where the split has no such picture: else its questions would teach that there are none);
colours are as likely as the painter drew them, evenly; of things that are alone and in pairs, of
which there are many, few are counted.

A question has ten answers, as of ten people. They differ where several are right: "on the grass"
as well as "in a meadow".
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from captioner.inputs.demo.backgrounds import BACKDROPS
from captioner.inputs.demo.scenes import Group, Scene
from captioner.inputs.demo.things import THINGS
from captioner.inputs.questions import NUMBER, OTHER, PEOPLE, YES_NO, Question

# The share of things that are counted, by how many there are; of more, all.
_COUNTED = {1: 0.09, 2: 0.5}

# How one asks for a first group by its second, and where the first one is.
_RELATIONS = {
    "on": "on the {}",
    "under": "under the {}",
    "in front of": "in front of the {}",
    "above": "above the {}",
    "left of": "to the left of the {}",
    "right of": "to the right of the {}",
    "between": "between the two {}",
}
_PLACES = ("on", "under", "in front of")
_PAIRS = 2  # of yes-or-no questions
_UNNAMED = 0.5  # the share of questions about the only thing that don't name it

_OPPOSITES = {"left of": "right of", "right of": "left of"}
_SIDES = ("left", "right")

Made = tuple[str, str, Question]


def questions(scenes: Sequence[Scene]) -> list[list[Made]]:
    """Of each scene of a split a few (question, answer to train on, what else is known of it)."""
    shown: dict[str, list[str]] = {}
    for scene in scenes:
        for group in scene.groups:
            shown.setdefault(group.kind, []).append(group.colour)
    return [_asked(scene, scenes, shown) for scene in scenes]


def _asked(scene: Scene, scenes: Sequence[Scene], shown: Mapping[str, list[str]]) -> list[Made]:
    random = Random(f"{scene.seed} questions")
    drawn = [*_yes_or_no(random, scene, scenes, shown), *_colour(random, scene), *_count(random, scene),
             *_where(random, scene), *_side(random, scene), *_what(random, scene)]  # fmt: skip
    random.shuffle(drawn)
    made: dict[str, Made] = {}
    for kind, text, answers in drawn:
        if answers[0] in ("yes", "no"):
            sort = YES_NO
        else:
            sort = NUMBER if answers[0].isdecimal() else OTHER
        known = Question(f"{scene.seed}#{len(made)}", kind, sort, tuple(answers))
        made.setdefault(text, (text, answers[0], known))
    return list(made.values())


Drawn = Iterator[tuple[str, str, list[str]]]


def _yes_or_no(
    random: Random, scene: Scene, scenes: Sequence[Scene], shown: Mapping[str, list[str]]
) -> Drawn:
    """Pairs of questions of a sort about a thing: one is answered yes, one no."""
    sorts = [(sort, group) for group in scene.groups for sort in ("there", "colour", "side")]
    sorts = [(sort, group) for sort, group in sorts
             if sort == "there"
             or (sort == "colour" and group.colour)
             or (sort == "side" and group.position in _SIDES)]  # fmt: skip
    random.shuffle(sorts)
    in_vain: set[str] = set()  # none twice
    for sort, group in sorts[:_PAIRS]:
        if sort == "there":
            here = {one.kind for one in scene.groups} | in_vain
            kind = group.kind
            while kind in here:
                kind = random.choice(random.choice(scenes).groups).kind
            in_vain.add(kind)
            true, false = (_there(one) for one in (group.kind, kind))
        else:
            if sort == "colour":
                said = group.colour
                others = [one for one in shown[group.kind] if one != said]
                other = random.choice(others or sorted({*THINGS[group.kind].colours} - {said}))
                form = "{}"
            else:
                said = group.position
                other = _SIDES[1 - _SIDES.index(said)]
                form = "on the {}"
            it = _it(random, scene, group)
            true, false = (f"{_be(group)} {it} {form.format(one)}?" for one in (said, other))
        yield "is", true, ["yes"] * PEOPLE
        yield "is", false, ["no"] * PEOPLE


def _there(kind: str) -> str:
    name = THINGS[kind].name
    return f"is there {'an' if name[0] in 'aeiou' else 'a'} {name}?"


def _colour(random: Random, scene: Scene) -> Drawn:
    for group in scene.groups:
        if group.colour:
            text = f"what colour {_be(group)} {_it(random, scene, group)}?"
            yield "what colour", text, [group.colour] * PEOPLE


def _count(random: Random, scene: Scene) -> Drawn:
    for group in scene.groups:
        if random.random() < _COUNTED.get(group.count, 1.0):
            text = f"how many {THINGS[group.kind].plural} are there?"
            yield "how many", text, [str(group.count)] * PEOPLE


def _where(random: Random, scene: Scene) -> Drawn:
    """Of the first of two things by the second, if that is a place; else by the backdrop."""
    for group in scene.groups:
        text = f"where {_be(group)} {_it(random, scene, group)}?"
        first = group is scene.groups[0]
        if first and scene.relation in _PLACES:
            place = _RELATIONS[scene.relation].format(_name(scene.groups[1]))
            yield "where", text, [place] * PEOPLE
        elif not (first and scene.relation in ("above", "between")):
            phrases = BACKDROPS[scene.backdrop].phrases[group.zone]
            yield "where", text, [phrases[k % len(phrases)] for k in range(PEOPLE)]


def _side(random: Random, scene: Scene) -> Drawn:
    for group in scene.groups:
        if group.position in _SIDES:
            text = f"on which side {_be(group)} {_it(random, scene, group)}?"
            yield "which side", text, [group.position] * PEOPLE


def _what(random: Random, scene: Scene) -> Drawn:
    if scene.relation is None:
        group = scene.groups[0]
        text = "what is in the picture?" if group.count == 1 else "what are these?"
    else:
        first, second = scene.groups
        group, how, other = first, scene.relation, second
        if how in _OPPOSITES and random.random() < 0.5:
            group, how, other = second, _OPPOSITES[how], first
        text = f"what {_be(group)} {_RELATIONS[how].format(_name(other))}?"
    names = [_name(group)] * PEOPLE
    if group.count > 1:  # of one of them is right, too
        names[-3:] = [THINGS[group.kind].name] * 3
    yield "what", text, names


def _it(random: Random, scene: Scene, group: Group) -> str:
    """The thing, which need not be named where it is the only one: then the picture must tell."""
    if len(scene.groups) == 1 and random.random() < _UNNAMED:
        return "it" if group.count == 1 else "they"
    return f"the {_name(group)}"


def _name(group: Group) -> str:
    thing = THINGS[group.kind]
    return thing.name if group.count == 1 else thing.plural


def _be(group: Group) -> str:
    return "is" if group.count == 1 else "are"
