"""VQA accuracy: an answer is right as far as people gave it, too.

Of ten people's answers, an answer that three or more gave is wholly right: min(how many / 3, 1),
averaged over the ten ways to leave one person out. Before they are compared, answers are written
alike, as the authors describe it.

Source: Antol et al., VQA: Visual Question Answering, ICCV 2015, arXiv:1505.00468, section 3, and
the description of the evaluation at visualqa.org/evaluation.html. There the answers of people are
processed like those of the model; so are they here, always.

Legend: M questions.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

# So many people's agreement makes an answer wholly right.
_ENOUGH = 3

PEOPLE = 10

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten".split()
    )
} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))

# What is left of a contraction without its apostrophe, to what it is with it. Those that are words
# themselves (ill, well, were, shed, wed, hell, id) are left alone.
_CONTRACTIONS = {
    whole.replace("'", ""): whole
    for whole in (
        *(f"{verb}n't" for verb in (
            "ai", "are", "ca", "could", "did", "does", "do", "had", "has", "have", "is", "might",
            "must", "need", "ought", "sha", "should", "was", "were", "wo", "would",
        )),
        *(f"{word}'ve" for word in (
            "could", "i", "might", "must", "should", "they", "we", "what", "where", "who", "would",
            "you",
        )),
        *(f"{word}'s" for word in (
            "he", "how", "she", "that", "there", "what", "when", "where", "who", "why",
            "somebody", "someone", "something",
        )),
        *(f"{word}'d" for word in ("he", "how", "it", "that", "there", "they", "where", "who",
                                   "you")),
        *(f"{word}'ll" for word in ("how", "it", "that", "they", "what", "who", "why", "you")),
        *(f"{word}'re" for word in ("they", "what", "who", "why", "you")),
        "i'm", "let's", "ma'am", "o'clock", "'twas", "y'all",
    )
}  # fmt: skip

_TYPOGRAPHIC = re.compile("[’‘`´]")
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),(?=\d)")
_PERIOD = re.compile(r"\.(?!\d)")
# Apostrophes stay (girl's is not girls), colons too (2:50 pm), and points of decimals.
_MARKS = re.compile(r"[^\w\s'.:]|_")


@lru_cache(maxsize=100_000)
def normalised(answer: str) -> str:
    """An answer as answers are compared: lower case; no periods but those of decimals, and no
    commas within numbers; other marks become blanks, but for apostrophes and colons; number words
    become digits; no articles; contractions have their apostrophe."""
    text = _TYPOGRAPHIC.sub("'", answer.lower())
    text = _COMMA_IN_NUMBER.sub("", text)
    text = _MARKS.sub(" ", _PERIOD.sub("", text))
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def accuracy(answer: str, people: Sequence[str]) -> float:
    """How right an answer is, 0 to 1.

    Args:
        answer: the model's.
        people: what people answered, ten of them. Where there are fewer, all are taken so often
            that there are ten or more: a single answer is right or wrong.

    Raises:
        ValueError: nobody answered.
    """
    if not people:
        raise ValueError("no answers to score by")
    given = [normalised(one) for one in people]
    given *= -(-PEOPLE // len(given))
    same = given.count(normalised(answer))
    # Who is left out said it (same times) or did not.
    shares = [min(same - 1, _ENOUGH)] * same + [min(same, _ENOUGH)] * (len(given) - same)
    return sum(shares) / (_ENOUGH * len(given))


def summary(scores: Sequence[float], kinds: Mapping[str, Sequence[str]]) -> dict:
    """The mean of accuracies [M], and by each sort of kind the mean of every kind.

    Args:
        scores: of the questions.
        kinds: names to the questions' kinds [M].

    Returns:
        {"accuracy": …, NAME: {kind: …}}, kinds in alphabetical order.
    """
    found: dict = {"accuracy": float(np.mean(scores))}
    for name, column in kinds.items():
        groups = defaultdict(list)
        for kind, score in zip(column, scores, strict=True):
            groups[kind].append(score)
        found[name] = {kind: float(np.mean(groups[kind])) for kind in sorted(groups)}
    return found


class QuestionOnly:
    """The baseline that sees no image: the answer most often given to the very question in
    training; to one that training doesn't have, to those that share its longest beginning.

    Args:
        pairs: the (question, answer) pairs of training.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]):
        counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for question, answer in pairs:
            words = _words(question)
            for end in range(len(words) + 1):
                counts[words[:end]][normalised(answer)] += 1
            counts[(*words, "?")][normalised(answer)] += 1  # the whole question
        if not counts:
            raise ValueError("no questions to learn from")
        # Of equally frequent answers, the first of the alphabet.
        self._best = {
            words: min(found, key=lambda answer, found=found: (-found[answer], answer))
            for words, found in counts.items()
        }

    def __call__(self, question: str) -> str:
        """The answer to a question."""
        words = (*_words(question), "?")
        return next(
            self._best[words[:end]]
            for end in range(len(words), -1, -1)
            if words[:end] in self._best
        )


def _words(question: str) -> tuple[str, ...]:
    return tuple(question.lower().rstrip("? ").split())
