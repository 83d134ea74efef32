"""Search with a captioner: from its memory to captions."""

from collections.abc import Sequence

import tensorflow as tf

from captioner.config import Decode
from captioner.decoding import phrases, sampling
from captioner.decoding.beam import beam_search, beams_needed
from captioner.decoding.consensus import agreement, expecting, following, reordered
from captioner.decoding.results import Found
from captioner.decoding.rules import Rules
from captioner.errors import CaptionerError
from captioner.inputs.text import END, PAD, START, UNK, CaptionTokenizer, normalise


def search(
    model,
    memory,
    decode: Decode,
    prefix=None,
    attention: bool = False,
    *,
    tokenizer: CaptionTokenizer | None = None,
    requests: Sequence[tf.Tensor] = (),
) -> Found:
    """Searches, or draws, captions for every row of a memory.

    Args:
        model: has `initial(memory, beams)`, a dict of nests of [B, K, ...] with "attention"
            [B, K, R] in it, and `step(tokens, state, memory)`.
        memory: from the model's `encode`; a dict. `near` in it is what `Neighbours` gives.
        decode: the settings.
        prefix: int32 [B, P] or None. Tokens that captions must begin with, padded with 0.
        attention: bool. Whether to trace where every token looked: [B, K, T, R].
        tokenizer: the model's. Settings that are about words need it.
        requests: string [B] each. What the captions that are drawn for a row depend on, besides
            the seed. Defaults to the row's number.

    Raises:
        CaptionerError: words that the vocabulary can't spell are required, or more than fit into a
            caption.
    """
    check(decode, tokenizer)
    rules = _rules(decode, tokenizer)
    options = {
        "rules": rules,
        "start": START,
        "length_penalty": decode.length_penalty,
        "coverage_penalty": decode.coverage_penalty,
        "prefix": prefix,
        "trace": "attention" if attention or decode.coverage_penalty else None,
    }

    def step(tokens, state):
        log_probs, state = model.step(tokens, state, memory)
        return log_probs, _carried(state, options["trace"])

    near = memory.get("near")
    if near is not None and decode.evidence:
        step = expecting(step, near["evidence"], decode.evidence)
    if near is not None and decode.bigrams:
        step = following(step, near["tokens"], decode.bigrams)

    required = _required(decode, tokenizer)
    state = model.initial(memory, beams_needed(decode.beams, rules, required))
    batch = tf.shape(tf.nest.flatten(state)[0])[0]
    state = _carried(state, options["trace"])
    if decode.search == "sample":
        requests = requests or [tf.strings.as_string(tf.range(batch))]
        drawn = sampling.numbers(requests, decode.seed, decode.beams, decode.max_tokens)
        return sampling.sample(
            step,
            state,
            drawn,
            temperature=decode.temperature,
            top_k=decode.top_k,
            top_p=decode.top_p,
            **options,
        )
    found = beam_search(
        step,
        state,
        batch=batch,
        beams=decode.beams,
        groups=decode.groups,
        diversity=decode.diversity,
        required=required,
        **options,
    )
    if near is None or not decode.consensus:
        return found
    agreed = agreement(found.tokens, near["tokens"], near["rarity"])
    return reordered(found, found.scores + decode.consensus * agreed)


def _carried(state, trace: str | None):
    """What beams carry along: no attention, unless it is traced."""
    return state if trace else {name: one for name, one in state.items() if name != "attention"}


def check(decode: Decode, tokenizer: CaptionTokenizer | None) -> None:
    """Raises `CaptionerError` for required or forbidden words that can't be."""
    forbidden = _spelled("forbid", decode.forbid, tokenizer)
    required = _spelled("require", decode.require, tokenizer)
    pieces = sum(len(tokens) for _, tokens in required)
    if pieces >= decode.max_tokens:
        raise CaptionerError(
            f"decode.require takes {pieces} WordPieces, decode.max_tokens={decode.max_tokens} "
            f"leaves room for {decode.max_tokens - 1}: require less, or allow longer captions"
        )
    for phrase, tokens in required:
        if UNK in tokens:
            raise CaptionerError(
                f"decode.require: this vocabulary can't spell {phrase!r}; it has the letters of "
                "its training captions only"
            )
        for other, _ in forbidden:
            if f" {other} " in f" {phrase} ":
                raise CaptionerError(
                    f"decode.require={phrase} and decode.forbid={other} exclude each other"
                )


def _rules(decode: Decode, tokenizer: CaptionTokenizer | None) -> Rules:
    forbidden = _spelled("forbid", decode.forbid, tokenizer)
    return Rules(
        max_tokens=decode.max_tokens,
        end=END,
        banned=(PAD, UNK, START),
        min_tokens=decode.min_tokens,
        no_repeat=decode.no_repeat,
        no_stutter=_known(tokenizer).vocabulary if decode.no_stutter else None,
        forbidden=_followed(tokenizer, forbidden),
        strict=decode.search == "sample",
    )


def _followed(tokenizer, forbidden) -> phrases.Phrases | None:
    if not forbidden:
        return None
    return phrases.follow(tokenizer.vocabulary, END, [phrase for phrase, _ in forbidden])


def _required(decode: Decode, tokenizer: CaptionTokenizer | None) -> list[phrases.Required]:
    return [
        phrases.require(tokenizer.vocabulary, END, phrase, tokens)
        for phrase, tokens in _spelled("require", decode.require, tokenizer)
    ]


def _spelled(
    setting: str, words: Sequence[str], tokenizer: CaptionTokenizer | None
) -> list[tuple[str, list[int]]]:
    """Phrases as captions have them, and their tokens."""
    if not words:
        return []
    # In no graph that is being built: these are constants.
    with tf.init_scope():
        texts = [text.decode() for text in normalise(tf.constant(words)).numpy()]
        tokens = _known(tokenizer).tokens(tf.constant(texts)).to_list()
    for word, text in zip(words, texts, strict=True):
        if not text:
            raise CaptionerError(f"decode.{setting}: {word!r} holds no word")
    return list(zip(texts, tokens, strict=True))


def _known(tokenizer: CaptionTokenizer | None) -> CaptionTokenizer:
    if tokenizer is None:
        raise ValueError("settings about words (forbid, require, no_stutter) need a tokenizer")
    return tokenizer
