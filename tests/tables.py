"""Models that are tables, to search without images, and searches of them in plain Python.

Legend: B batch, K beams, T tokens, V vocabulary.
"""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from captioner.decoding.beam import beam_search, beams_needed
from captioner.decoding.rules import Rules

PAD, START, END = 0, 1, 2
V = 6
BANNED = (PAD, START)
FIRST = 0  # the code of the empty history
RULES = {field.name for field in dataclasses.fields(Rules)}


class Table:
    """A model whose log-probabilities are random, and differ for every history of every row.

    A history's code is its tokens as digits; `step` finds it in the state, and leaves the code of
    the history that it has now seen, with the row, to be traced.
    """

    def __init__(self, rows=1, tokens=4, seed=0, sharpness=1.0):
        rng = np.random.default_rng(seed)
        codes = (V + 1) ** (tokens + 1)
        logits = rng.normal(0, sharpness, (rows, codes, V)).astype(np.float32)
        self.log_probs = tf.nn.log_softmax(logits).numpy()
        self.rows = rows
        self.tokens = tokens

    def state(self, beams, rows=None):
        rows = np.arange(self.rows) if rows is None else np.array(rows)
        codes = np.stack([rows, np.full(len(rows), FIRST)], -1)  # [B, 2]
        return {"seen": tf.constant(np.repeat(codes[:, None], beams, 1), tf.int32)}

    def step(self, tokens, state):
        row, code = tf.unstack(state["seen"], axis=-1)
        code = self.code(code, tokens)
        table = tf.constant(self.log_probs)
        return tf.gather_nd(table, tf.stack([row, code], -1)), {"seen": tf.stack([row, code], -1)}

    @staticmethod
    def code(history, token):
        return history * V + token + 1

    def search(self, beams, rows=None, **options):
        rules = {name: options.pop(name) for name in RULES if name in options}
        rules = Rules(**{"max_tokens": self.tokens, "end": END, "banned": BANNED} | rules)
        needed = beams_needed(beams, rules, options.get("required", ()))
        state = self.state(needed, rows)
        return beam_search(
            self.step, state, batch=state["seen"].shape[0], beams=beams, rules=rules, start=START,
            **options,
        )

    def log_prob(self, row, caption):
        """Teacher forcing: the sum over a caption's tokens, in order."""
        code, total = self.code(FIRST, START), np.float32(0)
        for token in caption:
            total += self.log_probs[row, code, token]
            code = self.code(code, token)
        return total

    def codes(self, caption):
        """The histories that the caption's tokens were chosen after."""
        code, codes = self.code(FIRST, START), []
        for token in caption:
            codes.append(code)
            code = self.code(code, token)
        return codes

    def captions(self, tokens=None, words=range(END + 1, V)):
        """Every caption there is."""
        for length in range(tokens or self.tokens):
            for spoken in itertools.product(words, repeat=length):
                yield (*spoken, END)


def score(log_prob, length, penalty):
    return log_prob / length**penalty


def by_hand(table, row, beams, penalty):
    """Beam search with lists: (score, caption), the best first."""
    live, done = [(0.0, ())], []
    for t in range(table.tokens):
        last = t == table.tokens - 1
        candidates = sorted(
            (
                (table.log_prob(row, (*words, token)), (*words, token))
                for _, words in live
                for token in range(END, V)
                if token == END or not last
            ),
            reverse=True,
        )
        done += [
            (score(total, t + 1, penalty), words)
            for total, words in candidates[:beams]
            if words[-1] == END
        ]
        done = sorted(done, reverse=True)[:beams]
        live = [(total, words) for total, words in candidates if words[-1] != END][:beams]
        worst = min(table.log_prob(row, words) for _, words in done) if done else 0.0
        if last or (len(done) == beams and live[0][0] <= worst):
            break
    return done


def in_groups(table, row, beams, groups, diversity):
    """Diverse beam search with lists: (score, caption) of every group."""
    each = beams // groups
    live, done = [[(0.0, ())] for _ in range(groups)], [[] for _ in range(groups)]
    for t in range(table.tokens):
        said = dict.fromkeys(range(V), 0)
        for group in range(groups):
            last = t == table.tokens - 1
            candidates = sorted(
                (
                    (table.log_prob(row, (*words, token)) - diversity * said[token], (*words, token))
                    for _, words in live[group]
                    for token in range(END, V)
                    if token == END or not last
                ),
                reverse=True,
            )
            totals = [table.log_prob(row, words) for _, words in done[group]]
            full = len(done[group]) == each
            if not (full and max((one for one, _ in live[group]), default=-99) <= min(totals)):
                taken = {words for other in done[:group] for _, words in other}
                ended = [
                    (score(table.log_prob(row, words), len(words), 1.0), words)
                    for _, words in candidates[:each]
                    if words[-1] == END and words not in taken
                ]
                done[group] = sorted(done[group] + ended, reverse=True)[:each]
            going = [words for _, words in candidates if words[-1] != END][:each]
            live[group] = [(table.log_prob(row, words), words) for words in going]
            for words in going:
                said[words[-1]] += 1
    return sorted((one for group in done for one in group), reverse=True)


def caption(tokens):
    """A row of tokens without its padding."""
    tokens = [int(token) for token in tokens]
    return tuple(tokens[: tokens.index(END) + 1]) if END in tokens else tuple(tokens)


def valid(found, row=0):
    """The captions that a search found in a row."""
    return [
        caption(tokens)
        for tokens, total in zip(found.tokens[row].numpy(), found.log_probs[row], strict=True)
        if total > -1e8
    ]
