"""Beam and greedy search in plain TensorFlow, for a whole batch inside one graph.

They meet a model through one function, `step(tokens, state) -> log_probs, state`, and know nothing
of images: `tokens` is int32 [B, N], `log_probs` float32 [B, N, V], and `state` any nest of tensors
[B, N, ...] that beams carry along. One entry of a state that is a dict can be traced: what it
holds after each step (attention, say) is then given back for every token of a caption.

Legend: B batch, K captions, G groups of k = K / G, L lanes of a group, N = G L k beams,
C candidates for a group's beams, T tokens, V vocabulary.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from captioner.decoding import finished
from captioner.decoding.phrases import FIRST, Required
from captioner.decoding.results import Found, Trace, joined, keep, scored, widened
from captioner.decoding.rules import NEVER, Rules, moved

Step = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any]]


def beams_needed(beams: int, rules: Rules, required: Sequence[Required] = ()) -> int:
    """N, the beams that a search for K captions needs: the state's second dimension."""
    return beams * _lanes(rules, required)


def beam_search(
    step: Step,
    state: Any,
    *,
    batch: tf.Tensor | int,
    beams: int,
    rules: Rules,
    start: int,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    prefix: tf.Tensor | None = None,
    trace: str | None = None,
    groups: int = 1,
    diversity: float = 0.0,
    required: Sequence[Required] = (),
) -> Found:
    """Searches the `beams` best captions of each row.

    A caption that ends among the best `beams` continuations is finished; a row is done when it
    has `beams` finished ones, each more probable than what is still live. The last of `max_tokens`
    is always the end token, so every caption ends and every log-probability includes its end. One
    beam is greedy search. Where there are fewer captions than beams, the places left over have no
    tokens and a log-probability of -1e9.

    *Lanes.* Beams that have said more of the required phrases don't compete with those that have
    said less, as they would lose: there are as many beams again for every number of required
    pieces (Hokamp and Liu 2017, "Lexically Constrained Decoding", over phrases that may be broken
    off). Likewise those whose last word is forbidden if it ends here have beams of their own: most
    can't go on, and would crowd out those that can. All captions of a row hold as many required
    phrases as its best one, which is all of them wherever rules, prefix and `max_tokens` allow it.

    *Groups* (Vijayakumar et al. 2018, "Diverse Beam Search"). Each has its beams, chosen after
    those of the groups before it; a token costs `diversity` for each beam of theirs that goes on
    with the same token at the same place. That cost is for choosing alone: it isn't summed, nor
    part of a score. No caption is finished in two groups.

    Args:
        step: function. Continues every beam by one token.
        state: nest of [B, N, ...] with N of `beams_needed`. Before the first step; all beams of a
            row alike.
        batch: int or scalar. B.
        beams: int. K.
        rules: what captions may be like. A prefix may break them.
        start: int. Fed to the first step.
        length_penalty: float. 0 orders by log-probability, 1 by log-probability per token.
        coverage_penalty: float. See `scored`; other than 0, the trace must be an attention.
        prefix: int32 [B, P] or None. Tokens that captions must begin with, padded with 0; of
            them at most max_tokens - 1 are used.
        trace: str or None. The entry of `state` to give back per token.
        groups: int. G, must divide K.
        diversity: float. Nats.
        required: phrases that captions must hold.
    """
    return _Search(
        step, batch, beams, rules, (length_penalty, coverage_penalty), trace, groups, diversity,
        required,
    ).captions(state, start, prefix)  # fmt: skip


def _lanes(rules: Rules, required: Sequence[Required]) -> int:
    lanes = 1 + sum(phrase.pieces for phrase in required)
    return lanes if rules.forbidden is None or rules.strict else 2 * lanes


class _Search:
    """One search: what doesn't change from step to step."""

    def __init__(
        self, step, batch, beams, rules, penalties, trace, groups, diversity, required
    ):  # fmt: skip
        self.step, self.batch, self.beams, self.rules = step, batch, beams, rules
        self.penalties = penalties
        self.groups, self.diversity, self.required = groups, diversity, tuple(required)
        self.each = beams // groups  # k
        self.lanes = _lanes(rules, required)
        self.live = beams * self.lanes  # N
        self.trace = Trace(trace, batch, self.live, rules.max_tokens)
        self.best = self.each * (self.lanes + 1)  # candidates of a lane

    def captions(self, state, start, prefix) -> Found:
        """The search from its first step to its last."""
        tokens = self.rules.max_tokens
        self.prefix = None if prefix is None else widened(prefix, self.batch, tokens)
        blank = tf.zeros([self.batch, self.live, tokens], tf.int32)
        no_trace = self.trace.blank(state)
        # All beams begin alike, so only the first of a group may be continued at first.
        alone = [0.0] + [NEVER] * (self.lanes * self.each - 1)
        live = tf.tile(tf.constant([alone * self.groups]), [self.batch, 1])
        places = slice(self.beams)
        done = finished.empty(blank[:, places], no_trace[:, places], len(self.required))
        spoken = {
            "rules": self.rules.begin(self.batch, self.live),
            "required": [tf.fill([self.batch, self.live], FIRST) for _ in self.required],
        }
        last = tf.fill([self.batch, self.live], start)
        *_, done = tf.while_loop(
            lambda t, *rest: (t < tokens) & ~tf.reduce_all(self._all_done(rest[2], rest[-1])),
            self._body,
            (tf.constant(0), blank, last, live, state, spoken, no_trace, done),
        )
        done = finished.best(done, self.groups)
        traced = done["trace"] if self.trace.name else None
        return Found(done["tokens"], done["log_probs"], done["scores"], traced)

    def _all_done(self, live, done):
        """bool [B]: rows whose groups are all done."""
        rows = [
            finished.is_done(self._part(done, group), self._own(live, group), len(self.required))
            for group in range(self.groups)
        ]
        return rows[0] if self.groups == 1 else tf.reduce_all(rows, axis=0)

    def _part(self, done, group):
        """A group's finished captions."""
        if self.groups == 1:
            return done
        return finished.part(done, slice(group * self.each, (group + 1) * self.each))

    def _own(self, some, group):
        """Of [B, N, ...] a group's [B, L k, ...]."""
        size = self.lanes * self.each
        return some if self.groups == 1 else some[:, group * size : (group + 1) * size]

    def _body(self, t, tokens, last, live, state, spoken, history, done):
        log_probs, state = self.step(last, state)
        log_probs = tf.cast(log_probs, tf.float32)
        vocabulary = log_probs.shape[-1] or tf.shape(log_probs)[-1]
        bars = self.rules.bars(
            t, tokens, self.prefix, spoken["rules"], vocabulary, stutter=False
        )
        totals = live[:, :, None] + log_probs + bars  # [B, N, V]
        lane = self._lane(spoken)
        now = self.trace.of(state)
        met = self._met(spoken)
        here = tf.one_hot(t, self.rules.max_tokens, dtype=tf.int32)
        among_best = np.arange(self.lanes * self.best) % self.best < self.each  # of their lane
        dones, chosen = [], []
        said = tf.zeros([self.batch, vocabulary])  # how often earlier groups go on with a token
        for group in range(self.groups):
            found = self._candidates(group, totals, lane, said, t, spoken["rules"])
            parent, token, total = found["parent"], found["token"], found["total"]  # [B, C]
            sequence = keep(tokens, parent) + token[:, :, None] * here  # [B, C, T]
            trace = keep(history, parent) + self.trace.at(t, keep(now, parent))
            pool = self._part(done, group)
            alive = self._own(live, group)
            reached = (token == self.rules.end) & among_best[None] & (total > NEVER / 2)
            reached &= ~finished.is_done(pool, alive, len(self.required))[:, None]
            candidates = {
                "scores": scored(total, tf.cast(t + 1, tf.float32), trace, *self.penalties),
                "log_probs": total,
                "tokens": sequence,
                "trace": trace,
            }
            if met is not None:
                candidates["met"] = keep(met, parent)
            dones.append(finished.added(pool, candidates, reached, dones))

            order = self._going_on(found)  # [B, L k], places among the candidates
            # Sums of what is never chosen must not overflow.
            alive = tf.maximum(keep(total, order), NEVER)
            chosen.append([alive, *(keep(one, order) for one in (parent, token, sequence, trace))])
            if group < self.groups - 1:
                spread = tf.one_hot(chosen[-1][2], vocabulary)  # [B, L k, V]
                counted = tf.cast(alive > NEVER / 2, tf.float32)
                said += tf.reduce_sum(spread * counted[..., None], axis=1)
        done = {name: joined([one[name] for one in dones]) for name in done}
        groups = zip(*chosen, strict=True)
        live, parent, last, tokens, history = (joined(list(one)) for one in groups)
        state, spoken = tf.nest.map_structure(lambda one: keep(one, parent), (state, spoken))
        spoken = {
            "rules": self.rules.follow(spoken["rules"], last),
            "required": [
                moved(phrase.after, one, last)
                for phrase, one in zip(self.required, spoken["required"], strict=True)
            ],
        }
        return t + 1, tokens, last, live, state, spoken, history, done

    # Candidates.

    def _lane(self, spoken):
        """int32 [B, N, V]: the lane that each token leads to, None where there is only one.

        Of phrases that are being said only the longest part counts. With `a` and `ary` required,
        `a` would otherwise count for both and `ary` for no more, and beams that go on from one to
        the other would never get ahead.
        """
        if self.lanes == 1:
            return None
        lane = 0
        if self.required:
            states = list(zip(self.required, spoken["required"], strict=True))
            said = [tf.gather(one.said[one.after], state) for one, state in states]
            being = [tf.gather(one.being_said[one.after], state) for one, state in states]
            lane = tf.add_n(said) + functools.reduce(tf.maximum, being)
        forbidden = self.rules.forbidden
        if forbidden is not None and not self.rules.strict:
            pending = tf.gather(forbidden.pending[forbidden.after], spoken["rules"]["phrase"])
            lane = 2 * lane + tf.cast(pending, tf.int32)
        return lane

    def _met(self, spoken):
        """int32 [B, N]: how many of the required phrases a beam holds if it ends; or None."""
        if not self.required:
            return None
        states = zip(self.required, spoken["required"], strict=True)
        return tf.add_n([tf.cast(tf.gather(one.met, state), tf.int32) for one, state in states])

    def _candidates(self, group, totals, lane, said, t, spoken):
        """A group's C best continuations, those of each lane by themselves and by falling rank.

        Of (L + 1) k for a lane at most L k end, so k live ones are always left.
        """
        size = self.lanes * self.each
        totals = self._own(totals, group)
        vocabulary = totals.shape[-1] or tf.shape(totals)[-1]
        places, first = size * vocabulary, group * size
        # With them, as many that don't stutter are left as are wanted.
        spare = size * self.rules.most_stutters
        found = []
        for one in range(self.lanes):
            mine = totals
            if lane is not None:
                mine = tf.where(self._own(lane, group) == one, totals, NEVER * 4)
            mine = tf.reshape(mine, [self.batch, places])
            ranks = mine
            if group and self.diversity:
                ranks -= self.diversity * tf.tile(said, [1, size])
            rank, index = tf.math.top_k(ranks, tf.minimum(self.best + spare, places))
            total = rank if ranks is mine else keep(mine, index)
            if spare:
                parent, token = index // vocabulary + first, index % vocabulary
                again = self.rules.stutters(t, self.prefix, spoken, parent, token)
                barred = tf.where(again, NEVER, 0.0)
                rank, order = tf.math.top_k(rank + barred, tf.minimum(self.best, places))
                total, index = keep(total + barred, order), keep(index, order)
            # [START] is never chosen, so a vocabulary of one or two tokens still fills the places.
            short = [[0, 0], [0, self.best - tf.shape(rank)[1]]]
            index = tf.pad(index, short)
            found.append(
                {
                    "rank": tf.pad(rank, short, constant_values=NEVER * 4),
                    "total": tf.pad(total, short, constant_values=NEVER * 4),
                    "parent": index // vocabulary + first if first else index // vocabulary,
                    "token": index % vocabulary,
                }
            )
        return {name: joined([one[name] for one in found]) for name in found[0]}

    def _going_on(self, found):
        """int32 [B, L k]: the best k candidates of each lane that don't end."""
        ended = found["token"] == self.rules.end
        ranks = tf.where(ended, NEVER * 8, found["rank"])
        chosen = []
        for start in range(0, self.lanes * self.best, self.best):
            mine = ranks if self.lanes == 1 else ranks[:, start : start + self.best]
            order = tf.math.top_k(mine, self.each)[1]
            chosen.append(order + start if start else order)
        return joined(chosen)
