"""Words and phrases as a search meets them: in pieces, one token after the other.

A word can be spelled in pieces in more than one way, and be the beginning of a longer one. So a
phrase is followed letter by letter through whatever tokens a caption is made of: an Aho-Corasick
automaton (1975) over `" a red ball "`, blanks where words end, of which a token is a run of
letters. A piece that begins a word brings the blank before it, the end token only a blank. NumPy.

Legend: S states, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Pieces that continue a word begin with this.
CONTINUES = "##"

# The state in which every caption begins: a blank, so that a piece that continues none is a word.
FIRST = 1

# A letter that no phrase holds: what is no text ([PAD], [UNK], [START]) is some word or other.
_MARK = "\0"


class Phrases(NamedTuple):
    """An automaton over tokens that tells when a phrase has been said; `FIRST` is its first state.

    Attributes:
        after: int32 [S, V]. The state that a token leads to.
        said: bool [S, V]. Whether a phrase has been said before the token's own letters begin:
            that shows only when its last word is seen to have ended.
        pending: bool [S]. Whether a phrase has been said if its last word ends here.
        depth: int32 [S]. Letters of a phrase that have been said, the first blank included.
    """

    after: np.ndarray
    said: np.ndarray
    pending: np.ndarray
    depth: np.ndarray


class Required(NamedTuple):
    """As `Phrases`, for one phrase that is to be said once; the last state is that it was.

    Attributes:
        after: int32 [S, V].
        said: int32 [S]. The phrase's pieces in the last state, 0 in the others.
        being_said: int32 [S]. How many of them a caption ends with, 0 in the last state.
        met: bool [S]. Whether the phrase has been said if the caption ends here.
        pieces: int. How many pieces the phrase has.
    """

    after: np.ndarray
    said: np.ndarray
    being_said: np.ndarray
    met: np.ndarray
    pieces: int


def follow(vocabulary: Sequence[str], end: int, phrases: Sequence[str]) -> Phrases:
    """The automaton for any of some phrases.

    Args:
        vocabulary: the pieces; those in brackets are marks.
        end: int. The end token.
        phrases: words, one blank between them, spelled as the vocabulary spells.
    """
    texts = [_letters(piece) for piece in vocabulary]
    texts[end] = " "
    patterns = [f" {phrase} " for phrase in phrases]
    alphabet = sorted(set().union(*texts, *patterns))
    step, full, pending, depth = _automaton(patterns, alphabet)
    codes = {letter: code for code, letter in enumerate(alphabet)}
    longest = max(map(len, texts))
    lengths = np.array([len(text) for text in texts])
    spelled = np.zeros((len(texts), longest), np.int32)
    for row, text in enumerate(texts):
        spelled[row, : len(text)] = [codes[letter] for letter in text]
    after = np.repeat(np.arange(len(step), dtype=np.int32)[:, None], len(texts), axis=1)
    said = np.zeros(after.shape, bool)
    for place in range(longest):
        there = place < lengths
        after[:, there] = step[after[:, there], spelled[there, place]]
        said[:, there] |= full[after[:, there]]
    return Phrases(after, said, pending, depth)


def require(vocabulary: Sequence[str], end: int, phrase: str, pieces: Sequence[int]) -> Required:
    """The automaton for a phrase that is to be said.

    Args:
        vocabulary, end: as for `follow`.
        phrase: words, one blank between them.
        pieces: sequence of int. The tokens that spell it.
    """
    after, said, pending, depth = follow(vocabulary, end, [phrase])
    was_said = len(after)  # one more state, which is never left
    after = np.where(said, was_said, after)
    after = np.concatenate([after, np.full((1, len(vocabulary)), was_said)]).astype(np.int32)
    spelled = np.cumsum([len(_letters(vocabulary[piece])) for piece in pieces])
    being_said = np.append(np.searchsorted(spelled, depth, side="right"), 0).astype(np.int32)
    in_all = np.zeros_like(being_said)
    in_all[was_said] = len(pieces)
    return Required(after, in_all, being_said, np.append(pending, True), len(pieces))


def _letters(piece: str) -> str:
    """What a piece adds to a caption's text."""
    if piece.startswith("[") and piece.endswith("]"):
        return f" {_MARK}"
    return piece.removeprefix(CONTINUES) if piece.startswith(CONTINUES) else f" {piece}"


def _automaton(patterns: Sequence[str], alphabet: Sequence[str]):
    """Aho and Corasick's automaton over letters; state 1 is the blank that all patterns begin with.

    Returns:
        step int32 [S, letters]; full bool [S], where a pattern ends; pending bool [S], where only
        the last letter of one is missing; depth int32 [S].
    """
    codes = {letter: code for code, letter in enumerate(alphabet)}
    children: list[dict[int, int]] = [{}]
    depth, full, pending = [0], {0: False}, {0: False}
    for pattern in patterns:
        state = 0
        for letter in pattern:
            if codes[letter] not in children[state]:
                children[state][codes[letter]] = len(children)
                children.append({})
                depth.append(depth[state] + 1)
            before, state = state, children[state][codes[letter]]
        pending[before] = full[state] = True
    count = len(children)
    full, pending = (
        np.array([some.get(state, False) for state in range(count)]) for some in (full, pending)
    )
    step = np.zeros((count, len(alphabet)), np.int32)
    fallback = np.zeros(count, np.int32)  # the state of the longest end that is a beginning
    for state in sorted(range(count), key=depth.__getitem__):
        step[state] = step[fallback[state]]
        full[state] |= full[fallback[state]]
        pending[state] |= pending[fallback[state]]
        for code, child in children[state].items():
            fallback[child] = step[state, code]
            step[state, code] = child
    return step, full, pending, np.array(depth, np.int32)
