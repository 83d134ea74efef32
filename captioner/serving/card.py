"""What a version says of itself: `MODEL_CARD.md` for people, `captioner.json` for programs.

The card is made of the facts in that file and of nothing else; a fact that isn't known is left
out. TensorFlow Serving looks at neither.
"""

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from captioner import tasks
from captioner.serving.card_text import VERIFYING
from captioner.serving.markdown import code, table, text

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
        f"# Model card: captioner {code(facts['run'])}" if "run" in facts else "# Model card",
        *tasks.of_facts(facts).card(facts),
        *_versions(facts),
        *_files(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _versions(facts) -> list[str]:
    names = ("captioner", "tensorflow", "keras", "python")
    rows = [(name, text(facts[name])) for name in names if name in facts]
    return ["## Versions", table(("made with", "version"), rows)]


def _files(facts) -> list[str]:
    rows = [
        (code(name), f"{one['bytes']:,}", code(one["sha256"]))
        for name, one in facts["files"].items()
    ]
    return ["## Files", table(("file", "bytes", "SHA-256"), rows), VERIFYING]


def inputs(function) -> dict[str, Any]:
    """A concrete function's inputs: name to `tf.TensorSpec`."""
    positional, named = function.structured_input_signature
    return {spec.name: spec for spec in (*positional, *named.values())}


def _described(function) -> dict[str, dict]:
    """A concrete function's inputs and outputs: dtype, and shape with `B` for the batch."""
    return {
        key: {
            name: {
                "dtype": spec.dtype.name,
                "shape": [_BATCH if size is None else size for size in spec.shape.as_list()],
            }
            for name, spec in specs.items()
        }
        for key, specs in (("inputs", inputs(function)), ("outputs", function.structured_outputs))
    }


def _sums(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file under a folder."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(folder).as_posix()
        found[name] = {"bytes": path.stat().st_size, "sha256": digest}
    return found
