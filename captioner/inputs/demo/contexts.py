"""The text around a picture, and a sentence that needs both.

The text says who saw it and on which day, which no picture shows, and something that doesn't
matter; what was seen, the picture alone shows. The sentence says all three. Some people are named
in dev and test only: such a name can only come from the text.
"""

from collections.abc import Sequence
from random import Random

from captioner.inputs.demo.captions import captions
from captioner.inputs.demo.scenes import Scene

_PEOPLE = (
    "anna ben carla david emma felix grace henry ida jack laura martin nora oscar paul rosa".split()
)
_STRANGERS = "alice george helen peter sarah thomas".split()
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()

_TEXTS = (
    "this is what {who} saw on {day}.",
    "{who} took this picture on {day}.",
    "on {day}, {who} went out with a camera.",
    "a page from the diary of {who}, written on {day}.",
)
_BESIDES = ("it was cold.", "nobody else was there.", "it had rained all night.", "")

PER_IMAGE = 2

_PREPOSITIONS = ("above", "against", "among", "at", "in", "near", "on", "over", "under")


def contexts(scene: Scene, split: str) -> list[tuple[str, str]]:
    """`PER_IMAGE` pairs (text, sentence) of a scene."""
    random = Random(f"{scene.seed} contexts")
    seen = [one for one in map(_seen, captions(scene)) if one]  # the first always is
    made = []
    for number in range(PER_IMAGE):
        people: Sequence[str] = _PEOPLE
        if split != "train" and random.random() < 0.5:
            people = _STRANGERS
        facts = {"who": random.choice(people), "day": random.choice(_DAYS)}
        text = f"{random.choice(_TEXTS).format(**facts)} {random.choice(_BESIDES)}".strip()
        said = seen[number % len(seen)]
        made.append((text, f"on {facts['day']} {facts['who']} saw {said}"))
    return made


def _seen(caption: str) -> str:
    """A caption as what somebody saw, '' where it can't be said so."""
    for words in ("there is ", "there are ", "a picture of "):
        caption = caption.removeprefix(words)
    words = caption.split()
    if words[0] in _PREPOSITIONS or not {"is", "are", "there"}.isdisjoint(words):
        return ""
    return caption
