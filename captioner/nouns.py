"""What a caption is about: its main noun, by a rule of thumb for English."""

import re
from collections.abc import Iterable

from captioner.inputs.prompts import STOP_WORDS
from captioner.metrics.objects import PEOPLE, folded

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_DESCRIBING = frozenset(
    """red blue green yellow orange purple pink brown black white gray grey tan gold golden silver
    beige dark light bright colorful colored multicolored blond blonde brunette big small large
    little tiny huge giant long short tall young old older younger elderly adult teenage middle-aged
    three four five six seven eight nine ten many few various male female asian african american
    caucasian indian happy shirtless topless barefoot bare bald fluffy furry shaggy hairy wet muddy
    snowy sandy rocky grassy wooden dirty beautiful pretty cute spotted striped dressed costumed
    bearded tattooed empty open crowded busy""".split()
)
_AMOUNTS = frozenset(
    """group crowd pair couple bunch row line team number piece kind view picture photo photograph
    image closeup close-up herd pack flock lot""".split()
)
_NOUNS_IN_ING = frozenset("building king ring string thing wing wedding painting spring".split())
_ONE = {
    "men": "man", "women": "woman", "people": "person", "children": "child", "babies": "baby",
    "ladies": "lady", "gentlemen": "gentleman",
}  # fmt: skip


def main_noun(caption: str) -> str:
    """What a caption is about, singular; '' where it names nothing.

    The first word that is neither a function word nor describes ("a small brown dog"), nor an
    amount ("a group of people"), nor a form in -ing; of two nouns that name somebody by what they
    do, the second ("a construction worker"). `woman`, `man`, `boy` and `girl` are different nouns.
    A rule of thumb for English captions.
    """
    words = _words(caption)
    for word, following in zip(words, [*words[1:], ""], strict=False):
        ing = word.endswith("ing") and len(word) > 4 and word not in _NOUNS_IN_ING
        if word in STOP_WORDS or word in _DESCRIBING or ing or word.endswith(("-ed", "haired")):
            continue
        if word in _AMOUNTS and following == "of":
            continue
        agent = re.search("..[eo]rs?$", following) and following not in STOP_WORDS
        return _one(following if agent else word)
    return ""


def shares_main_noun(caption: str, references: Iterable[str]) -> bool:
    """Whether a caption's main noun is among the words of a reference, singular or plural."""
    noun = main_noun(caption)
    return bool(noun) and any(noun == _one(w) for text in references for w in _words(text))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _one(word: str) -> str:
    """A noun's singular."""
    if word in PEOPLE:  # different people are different nouns
        return _ONE.get(word) or word.removesuffix("s")
    return folded(word)
