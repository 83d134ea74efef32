"""What the card of a captioner says."""

from collections.abc import Mapping, Sequence
from typing import Any

from captioner import confidence
from captioner.serving import card_common
from captioner.serving.card_text import (
    CONFIDENCE,
    CONTRACT,
    DRAWN,
    INTENDED_USE,
    LIMITS,
    NOTHING_DRAWN,
    OPENING,
)
from captioner.serving.markdown import code, last_name, table, text


def parts(facts: Mapping[str, Any]) -> list[str]:
    """All parts between the card's title and its versions."""
    return [
        _opening(facts),
        *model(facts),
        *card_common.training(facts, texts(facts)),
        *card_common.scores(facts, how(facts)),
        *certainty(facts),
        *contract(facts),
        INTENDED_USE,
        LIMITS,
    ]


def _opening(facts) -> str:
    reads = facts["settings"]["model"]["text_encoder"] != "none"
    reader = "a BERT reads the prompt if there is one, " if reads else ""
    return card_common.opening(OPENING, facts, reader=reader)


def model(facts, heads: Sequence[tuple[str, str]] = ()) -> list[str]:
    """What it is made of; `heads` are those that it has besides."""
    settings = facts["settings"]
    model, decode = settings["model"], facts["decode"]
    longest = f"; reads prompts of up to {settings['text']['max_prompt']} WordPieces"
    rows = card_common.encoders(facts, longest)
    words = f", {facts['vocabulary']:,} WordPieces" if "vocabulary" in facts else ""
    attention = f"{model['units']} units, {model['heads']} heads of attention"
    if model.get("answers"):
        chosen = f"the {model['answers']:,} most frequent answers of training at most"
        rows.append(("classifier", f"over {chosen}; {attention}"))
    else:
        rows += [("decoder", f"LSTM of {attention}{words}"), ("search", search(decode))]
    rows += [
        *heads,
        ("stored in", card_common.numbers(facts)),
        card_common.OPS,
    ]
    return ["## The model", table(("", ""), rows)]


def texts(facts) -> list[str]:
    """What it read besides, and holds."""
    settings = facts["settings"]
    data = settings["data"]
    notes = []
    train = settings.get("train", {})
    if train.get("teacher"):
        notes.append(
            f"It was distilled: it learned from {code(last_name(train['teacher']))}, a trained "
            f"model, as much as from the captions (weight {train['distill']} of 1)."
        )
    if data["text"] and data["text_epochs"]:
        notes.append(
            f"Before it saw an image, the decoder read the captions of "
            f"{code(last_name(data['text']))} {data['text_epochs']} times."
        )
    if settings["model"]["neighbours"]:
        notes.append(
            "**This folder holds captions** that it was trained on (at most 50,000, as WordPieces): "
            f"the search asks the {settings['model']['neighbours']} that are nearest to an image "
            "what to expect. Who is given the folder can read them."
        )
    return notes


def how(facts) -> list[str]:
    """How the captions that were scored came about."""
    how = facts["scores"].get("settings", {}) if facts.get("scores") else {}
    lines = []
    if "decode" in how:
        lines.append(f"Captions by {search(how['decode'])}.")
    names = {"tokenizer": "Tokenised by", "scorers": "Scored by"}
    lines += [f"{name} {text(how[key])}." for key, name in names.items() if key in how]
    lines.append("Papers print these figures times 100.")
    if how.get("decode") not in (None, facts["decode"]):
        lines.append(f"**This version searches otherwise ({search(facts['decode'])}).**")
    return lines


def certainty(facts) -> list[str]:
    """What is known of captions' confidence."""
    if "calibration" not in facts:
        return []
    known = confidence.parse(facts["calibration"])
    if known.differences(facts["decode"]):  # then captions have none
        return []
    return ["## Confidence", CONFIDENCE.format(**facts["calibration"], within=known.within)]


def contract(facts) -> list[str]:
    """What is served, and what holds of it."""
    parts = card_common.signatures(facts)
    several = facts["signatures"].get("caption_beams")
    if several:
        _, beams, tokens, high, wide = several["outputs"]["attention"]["shape"]
        parts.append(
            f"B images; {beams} captions each, the best first; {tokens} tokens a caption, padded; "
            f"attention over {high} × {wide} regions of the picture, in rows and columns."
        )
    limits = facts.get("limits")
    if limits:
        parts.append(
            CONTRACT.format(
                jpeg=limits["jpeg_pixels"] // 2**20,
                other=limits["pixels"] // 2**20,
                side=limits["side"],
                chance=DRAWN if facts["decode"].get("search") == "sample" else NOTHING_DRAWN,
            )
        )
    return parts


def search(decode: Mapping[str, Any]) -> str:
    """How captions are found, by `decode` settings."""
    beams = decode["beams"]
    if decode.get("search") == "sample":
        made = f"{beams} captions drawn at random, seed {decode['seed']}"
        made += f", temperature {decode['temperature']}"
        made += f", top k {decode['top_k']}" if decode["top_k"] else ""
        made += f", top p {decode['top_p']}" if decode["top_p"] < 1 else ""
    else:
        made = f"beam search with {beams} beams" if beams > 1 else "greedy search"
        if decode.get("groups", 1) > 1:
            made += f" in {decode['groups']} groups, diversity {decode['diversity']}"
    made += f", at most {decode['max_tokens']} tokens"
    if beams > 1 and "length_penalty" in decode:
        made += f", length penalty {decode['length_penalty']}"
    if decode.get("coverage_penalty"):
        made += f", coverage penalty {decode['coverage_penalty']}"
    if decode.get("min_tokens", 1) > 1:
        made += f", at least {decode['min_tokens']} tokens"
    if decode.get("no_repeat"):
        made += f", no run of {decode['no_repeat']} tokens twice"
    if decode.get("no_stutter"):
        made += ", no word twice in a row"
    for setting, verb in (("require", "with"), ("forbid", "without")):
        if decode.get(setting):
            made += f", {verb} {', '.join(map(code, decode[setting]))}"
    return made
