"""Objects that a caption names and no reference does.

After CHAIR (Rohrbach et al. 2018, "Object Hallucination in Image Captioning"), which counts the
objects of a caption that aren't in the picture. CHAIR knows what is in it from COCO's segmentations
and maps words to COCO's 80 objects by hand-made lists, so it works on COCO alone. Here both are
made of captions, for any data set in English:

- An *object word* is one that stands where only nouns do: between an opener (an article, a
  number, a possessive, a preposition, a colour, a size) and what can follow a noun (a preposition,
  a conjunction, `is`, a form in -ing, the end). "a dog is" and "in red shirts" make objects of
  `dog` and `shirt`; "a grassy field" makes none of `grassy`. A word counts when it stands so at
  least `LEAST` times and in at least `SHARE` of its uses. Words for places, amounts and times
  ("front", "group", "day") are left out.
- It is *hallucinated* when no reference of the image has it. Plural and singular are one word, and
  all words for people are one, as in CHAIR.

What this doesn't do, so that figures compare only between models on the same data:

- References leave things out. An object that is in the picture and that nobody mentioned counts as
  hallucinated; the fewer references, the more of them. So the figure of a person's caption against
  the other references belongs beside the model's.
- There are no synonyms but those of people: "couch" for "sofa" and "animal" for "dog" count as
  hallucinated, and "woman" for "man" does not.
- A word is a noun or not wherever it stands ("swing", "jump"), and of "tennis ball" either word
  may count.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

LEAST = 3
SHARE = 0.1

_COLOURS = """red blue green yellow orange purple pink brown black white gray grey tan gold golden
    silver dark light bright colorful"""
_SIZES = "big small large little young old"
_OPENERS = frozenset(
    f"""a an the his her its their my your our two three four five six seven eight nine ten some
    many several no in on at with of from into onto through over under near by behind beside
    against across along around between like wearing holding carrying
    {_SIZES} {_COLOURS}""".split()
)
# What can follow a noun phrase. Forms in -ing do, too: "a dog running".
_CLOSERS = frozenset(
    """in on at with of from into onto through over under near by behind beside against across
    along around between and or but while as is are was were has have that who which to up down
    off out outside inside for during toward towards next together""".split()
)
_NO_OBJECTS = frozenset(
    f"""{_SIZES} {_COLOURS} front back side top bottom middle center centre edge end corner
    background foreground distance air day night time way lot group pair couple bunch row line
    crowd set number piece kind type part area place scene view picture photo photograph image
    camera left right something someone somebody it them him her one other others another each
    himself herself itself themselves all both this that there what it's he she they we you i which
    who high outside inside outdoors indoors home work play fun use sun sunny shade""".split()
)

PEOPLE = frozenset(
    """person people man men woman women boy boys girl girls child children kid kids guy guys lady
    ladies gentleman gentlemen male males female females baby babies toddler toddlers infant infants
    teenager teenagers teen teens adult adults human humans individual individuals youth youths
    youngster youngsters someone somebody player players""".split()
)

_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot",
    "teeth": "tooth", "geese": "goose", "mice": "mouse", "knives": "knife", "leaves": "leaf",
    "wolves": "wolf", "shelves": "shelf", "wives": "wife", "calves": "calf", "halves": "half",
    "scarves": "scarf", "loaves": "loaf", "oxen": "ox", "clothes": "clothes",
}  # fmt: skip


def folded(word: str) -> str:
    """A word for counting: its singular, and `person` for all words for people."""
    return "person" if word in PEOPLE else _singular(word)


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]


class Objects:
    """The object words of a language as some captions use it.

    Args:
        captions: as words (see `captioner.metrics.tokenize`); best those of the training data.
    """

    def __init__(self, captions: Iterable[Sequence[str]]):
        uses: Counter[str] = Counter()
        alone: Counter[str] = Counter()
        for words in captions:
            uses.update(map(folded, words))
            around = zip(words, words[1:], [*words[2:], ""], strict=False)
            alone.update(folded(w) for before, w, after in around if _alone(before, after))
        self.known = frozenset(
            word
            for word, count in alone.items()
            if count >= LEAST and count >= SHARE * uses[word] and word not in _NO_OBJECTS
        ) | {"person"}
        """The words, singular; `person` stands for all people."""

    def named(self, words: Sequence[str]) -> list[str]:
        """The object words of a caption in their order, as they stand there, none twice."""
        found = {}
        for word in words:
            found.setdefault(folded(word), word)
        return [word for one, word in found.items() if one in self.known]

    def hallucinated(
        self, words: Sequence[str], references: Iterable[Collection[str]]
    ) -> list[str]:
        """Those of `named` that no reference has.

        Args:
            words: the caption.
            references: the image's, each as words.
        """
        seen = {folded(word) for reference in references for word in reference}
        return [word for word in self.named(words) if folded(word) not in seen]


def _alone(before: str, after: str) -> bool:
    closed = not after or after in _CLOSERS or (after.endswith("ing") and len(after) > 4)
    return closed and before in _OPENERS
