"""What a version says of itself: `MODEL_CARD.md` for people, `captioner.json` for programs.

The card is made of the facts in that file and of nothing else; a fact that isn't known is left
out. TensorFlow Serving looks at neither.
"""

import datetime
import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from captioner import confidence
from captioner.serving.card_text import (
    CONFIDENCE,
    CONTRACT,
    DRAWN,
    INTENDED_USE,
    LIMITS,
    NOTHING_DRAWN,
    OPENING,
    VERIFYING,
)

CARD = "MODEL_CARD.md"
FACTS = Path("assets.extra") / "captioner.json"

# A dimension of a signature's tensors that is the request's.
_BATCH = "B"


def write(folder: Path, signatures: Mapping[str, Any], known: dict[str, Any]) -> None:
    """Writes both files into a version's folder that is complete but for them.

    Args:
        folder: of the version; `assets.extra` is there.
        signatures: the concrete functions by name.
        known: what the exporter knows: "captioner", "tensorflow", "storage", "precision",
            "decode", "settings", and of a run what `captioner.about.of_run` gives.

    Raises:
        OSError: the disk is full, or can't be written.
    """
    facts = {
        "exported": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "keras": version("keras"),
        **known,
        "signatures": {name: _described(one) for name, one in signatures.items()},
        "files": _sums(folder),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(facts), encoding="utf-8")


def card(facts: Mapping[str, Any]) -> str:
    """The card of a version, in Markdown, of the facts in its captioner.json."""
    parts = [
        f"# Model card: captioner {_code(facts['run'])}" if "run" in facts else "# Model card",
        _opening(facts),
        *_model(facts),
        *_training(facts),
        *_scores(facts),
        *_confidence(facts),
        *_contract(facts),
        INTENDED_USE,
        LIMITS,
        *_versions(facts),
        *_files(facts),
    ]
    return "\n\n".join(parts) + "\n"


# The parts of the card.


def _opening(facts) -> str:
    reads = facts["settings"]["model"]["text_encoder"] != "none"
    return OPENING.format(
        reader="a BERT reads the prompt if there is one, " if reads else "",
        captioner=_text(facts["captioner"]),
        exported=_text(facts["exported"]),
    )


def _model(facts) -> list[str]:
    settings = facts["settings"]
    model, decode, train = settings["model"], facts["decode"], settings["train"]
    side = model["image_side"]
    frozen = train["freeze"]
    rows = [("image encoder", f"ResNet50 at {side} × {side} pixels, {_trained('image', frozen)}")]
    if model["text_encoder"] != "none":
        bert = f"{_code(_last_name(model['text_encoder']))}, {_trained('text', frozen)}"
        longest = settings["text"]["max_prompt"]
        rows.append(("text encoder", f"{bert}; reads prompts of up to {longest} WordPieces"))
    words = f", {facts['vocabulary']:,} WordPieces" if "vocabulary" in facts else ""
    rows += [
        ("decoder", f"LSTM of {model['units']} units, {model['heads']} heads of attention{words}"),
        ("search", _search(decode)),
        ("stored in", f"{_text(facts['storage'])}; computes in float32{_encoding(facts)}"),
        ("ops", "core TensorFlow ops only: no tensorflow-text, no custom op"),
    ]
    return ["## The model", _table(("", ""), rows)]


def _encoding(facts) -> str:
    """What is said of an image encoder that computes in another precision than the rest."""
    precision = facts["precision"]
    if precision == "float32":
        return ""
    return f", the image encoder is stored and computes in {_text(precision)}"


def _training(facts) -> list[str]:
    settings = facts["settings"]
    data, train = settings["data"], settings["train"]
    found = facts.get("data")
    parts = [
        "## What it was trained on",
        f"{_code(_last_name(data['spec']))}, recipe {_code(_last_name(settings['recipe']))}: "
        f"at most {train['epochs']} epochs, seed {train['seed']}.",
    ]
    if isinstance(found, dict):
        rows = [
            (split, f"{found['images'][split]:,}", f"{found['captions'][split]:,}")
            for split in found["images"]
        ]
        parts.append(_table(("split", "images", "captions"), rows))
        if found["left_out"]:
            counted = (f"{count:,} {_text(kind)}" for kind, count in found["left_out"].items())
            parts.append(f"Left out: {'; '.join(counted)}.")
    if data["text"] and data["text_epochs"]:
        parts.append(
            f"Before it saw an image, the decoder read the captions of "
            f"{_code(_last_name(data['text']))} {data['text_epochs']} times."
        )
    if settings["model"]["neighbours"]:
        parts.append(
            "**This folder holds captions** that it was trained on (at most 50,000, as WordPieces): "
            f"the search asks the {settings['model']['neighbours']} that are nearest to an image "
            "what to expect. Who is given the folder can read them."
        )
    if facts.get("pretrained"):
        rows = [
            (
                one["part"],
                _code(_last_name(one["name"])),
                _text(one.get("what", "")),
                _text(one.get("licence", "not known to captioner: see its source")),
            )
            for one in facts["pretrained"]
        ]
        parts += ["Its encoders started from:", _table(("part", "name", "what", "licence"), rows)]
    return parts


def _scores(facts) -> list[str]:
    scores = facts.get("scores")
    if not scores:
        return []
    rows = [(_code(k), f"{v:.4f}") for k, v in scores.items() if isinstance(v, float)]
    how = scores.get("settings", {})
    given = [f"{scores['images']:,} images"] if "images" in scores else []
    if "split" in how:
        given.append(f"split {_code(how['split'])}")
    if "data" in how:
        given.append(f"of {_code(_last_name(how['data']))}")
    parts = ["## Scores", _table(("measure", "score"), rows)]
    lines = [f"On {', '.join(given)}."] if given else []
    if "decode" in how:
        lines.append(f"Captions by {_search(how['decode'])}.")
    names = {"tokenizer": "Tokenised by", "scorers": "Scored by"}
    lines += [f"{name} {_text(how[key])}." for key, name in names.items() if key in how]
    lines.append("Papers print these figures times 100.")
    if how.get("decode") not in (None, facts["decode"]):
        lines.append(f"**This version searches otherwise ({_search(facts['decode'])}).**")
    rounded = {_text(facts[kind]) for kind in ("storage", "precision")} - {"float32"}
    if rounded:
        what = " and ".join(sorted(rounded))
        lines.append(f"Measured before the weights were rounded to {what}.")
    return [*parts, " ".join(lines)]


def _confidence(facts) -> list[str]:
    if "calibration" not in facts:
        return []
    known = confidence.parse(facts["calibration"])
    if known.differences(facts["decode"]):  # then captions have none
        return []
    return ["## Confidence", CONFIDENCE.format(**facts["calibration"], within=known.within)]


def _contract(facts) -> list[str]:
    rows = [
        (_code(name), _tensors(one["inputs"]), _tensors(one["outputs"]))
        for name, one in facts["signatures"].items()
    ]
    parts = ["## Input and output"]
    if rows:
        parts.append(_table(("signature", "inputs", "outputs"), rows))
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


def _versions(facts) -> list[str]:
    names = ("captioner", "tensorflow", "keras", "python")
    rows = [(name, _text(facts[name])) for name in names if name in facts]
    return ["## Versions", _table(("made with", "version"), rows)]


def _files(facts) -> list[str]:
    rows = [
        (_code(name), f"{one['bytes']:,}", _code(one["sha256"]))
        for name, one in facts["files"].items()
    ]
    return ["## Files", _table(("file", "bytes", "SHA-256"), rows), VERIFYING]


# Its sentences and cells.


def _trained(encoder: str, frozen: Iterable[str]) -> str:
    """What training did to an encoder, by the patterns of what it left as it was."""
    name = f"{encoder}_encoder"
    if name in frozen:
        return "frozen in training"
    return "partly trained on" if any(one.startswith(name) for one in frozen) else "trained on"


def _search(decode: Mapping[str, Any]) -> str:
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
            made += f", {verb} {', '.join(map(_code, decode[setting]))}"
    return made


def _described(function) -> dict[str, dict]:
    """A concrete function's inputs and outputs: dtype, and shape with `B` for the batch."""
    positional, named = function.structured_input_signature
    inputs = {spec.name: spec for spec in (*positional, *named.values())}
    return {
        key: {
            name: {
                "dtype": spec.dtype.name,
                "shape": [_BATCH if size is None else size for size in spec.shape.as_list()],
            }
            for name, spec in specs.items()
        }
        for key, specs in (("inputs", inputs), ("outputs", function.structured_outputs))
    }


def _tensors(specs: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{_code(name)} {_text(one['dtype'])} [{', '.join(map(str, one['shape']))}]"
        for name, one in specs.items()
    )


def _sums(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file under a folder."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(folder).as_posix()
        found[name] = {"bytes": path.stat().st_size, "sha256": digest}
    return found


def _last_name(name: str) -> str:
    """A SPEC, file or handle without the folders of the machine it was on."""
    kind, colon, rest = name.partition(":")
    if "://" in name or kind == "tfds" or name == "captioner" or name.startswith("captioner/"):
        return name
    if colon and re.fullmatch(r"[a-z0-9]{2,}", kind):  # not a drive's letter
        return f"{kind}:{_last_part(rest)}"
    return _last_part(name)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(value: Any) -> str:
    """Anything on one line that prints: a name may hold line ends and worse."""
    text = " ".join(str(value).split()).encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text if len(text) <= 200 else f"{text[:100]}…{text[-100:]}"


def _text(value: Any) -> str:
    """A value as Markdown that says just that."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", _line(value))


def _code(value: Any) -> str:
    """A value as code, in fences that it doesn't hold itself; safe in a table, too."""
    text = _line(value).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    room = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{room}{text}{room}{fence}"
