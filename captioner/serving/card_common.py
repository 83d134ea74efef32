"""Parts of model cards that are alike for every task, of the facts in `captioner.json`."""

from collections.abc import Iterable, Sequence

from captioner.models.image_nets import TITLES
from captioner.serving.markdown import code, last_name, table, tensors, text

OPS = ("ops", "core TensorFlow ops only: no tensorflow-text, no custom op")


def opening(form: str, facts, **more: str) -> str:
    """What begins a card: `form` with what looks at the picture, who exported it and when."""
    known = {name: text(facts[name]) for name in ("captioner", "exported")}
    return form.format(looks=looks(facts), **known, **more)


def looks(facts) -> str:
    """What looks at the picture, by its name; runs of before there was a choice don't say."""
    return TITLES[facts["settings"]["model"].get("image_encoder", "resnet50")]


def encoders(facts, longest: str = "") -> list[tuple[str, str]]:
    """The rows of both encoders, or of the one there is; `longest` is what the text encoder
    reads at most."""
    settings = facts["settings"]
    model, frozen = settings["model"], settings["train"]["freeze"]
    side = model["image_side"]
    rows = [
        ("image encoder", f"{looks(facts)} at {side} × {side} pixels, {trained('image', frozen)}")
    ]
    if model["text_encoder"] != "none":
        bert = f"{code(last_name(model['text_encoder']))}, {trained('text', frozen)}"
        rows.append(("text encoder", bert + longest))
    return rows


def heads(facts, rows: Sequence[tuple[str, str]]) -> list[str]:
    """What is made of both encoders: `rows`, and what goes for every model."""
    made = [*encoders(facts), *rows, ("stored in", numbers(facts)), OPS]
    return ["## The model", table(("", ""), made)]


def training(facts, notes: Sequence[str] = ()) -> list[str]:
    """Data and pretrained parts, and what a task has to add between them."""
    settings = facts["settings"]
    data, train = settings["data"], settings["train"]
    found = facts.get("data")
    parts = [
        "## What it was trained on",
        f"{code(last_name(data['spec']))}, recipe {code(last_name(settings['recipe']))}: "
        f"at most {train['epochs']} epochs, seed {train['seed']}.",
    ]
    if isinstance(found, dict):
        rows = [
            (split, f"{found['images'][split]:,}", f"{found['captions'][split]:,}")
            for split in found["images"]
        ]
        parts.append(table(("split", "images", "captions"), rows))
        if found["left_out"]:
            counted = (f"{count:,} {text(kind)}" for kind, count in found["left_out"].items())
            parts.append(f"Left out: {'; '.join(counted)}.")
    parts += notes
    if facts.get("pretrained"):
        rows = [
            (
                one["part"],
                code(last_name(one["name"])),
                text(one.get("what", "")),
                text(one.get("licence", "not known to captioner: see its source")),
            )
            for one in facts["pretrained"]
        ]
        parts += ["Its encoders started from:", table(("part", "name", "what", "licence"), rows)]
    return parts


def scores(facts, said: Sequence[str] = ()) -> list[str]:
    """The run's scores, what they are of, and what a task has to say of how they came about."""
    found = facts.get("scores")
    if not found:
        return []
    rows = [(code(k), f"{v:.4f}") for k, v in found.items() if isinstance(v, float)]
    how = found.get("settings", {})
    given = [f"{found['images']:,} images"] if "images" in found else []
    if "split" in how:
        given.append(f"split {code(how['split'])}")
    if "data" in how:
        given.append(f"of {code(last_name(how['data']))}")
    parts = ["## Scores", table(("measure", "score"), rows)]
    lines = [f"On {', '.join(given)}."] if given else []
    lines += said
    rounded = {text(facts[kind]) for kind in ("storage", "precision")} - {"float32"}
    if rounded:
        what = " and ".join(sorted(rounded))
        lines.append(f"Measured before the weights were rounded to {what}.")
    return [*parts, " ".join(lines)]


def numbers(facts) -> str:
    """What it is stored in, and computes in."""
    said = f"{text(facts['storage'])}; computes in float32"
    precision = facts["precision"]
    if precision == "float32":
        return said
    return f"{said}, the image encoder is stored and computes in {text(precision)}"


def signatures(facts) -> list[str]:
    """What is served."""
    rows = [
        (code(name), tensors(one["inputs"]), tensors(one["outputs"]))
        for name, one in facts["signatures"].items()
    ]
    parts = ["## Input and output"]
    return [*parts, table(("signature", "inputs", "outputs"), rows)] if rows else parts


def trained(encoder: str, frozen: Iterable[str]) -> str:
    """What training did to an encoder, by the patterns of what it left as it was."""
    name = f"{encoder}_encoder"
    if name in frozen:
        return "frozen in training"
    return "partly trained on" if any(one.startswith(name) for one in frozen) else "trained on"
