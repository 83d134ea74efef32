"""Markdown of values that may hold anything: the cells and sentences of model cards."""

import re
from collections.abc import Iterable, Mapping
from typing import Any


def tensors(specs: Mapping[str, Any]) -> str:
    """A signature's inputs or outputs, as `captioner.json` has them."""
    return ", ".join(
        f"{code(name)} {text(one['dtype'])} [{', '.join(map(str, one['shape']))}]"
        for name, one in specs.items()
    )


def last_name(name: str) -> str:
    """A SPEC, file or handle without the folders of the machine it was on."""
    kind, colon, rest = name.partition(":")
    if "://" in name or kind == "tfds" or name == "captioner" or name.startswith("captioner/"):
        return name
    if colon and re.fullmatch(r"[a-z0-9]{2,}", kind):  # not a drive's letter
        return f"{kind}:{_last_part(rest)}"
    return _last_part(name)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(value: Any) -> str:
    """Anything on one line that prints: a name may hold line ends and worse."""
    text = " ".join(str(value).split()).encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text if len(text) <= 200 else f"{text[:100]}…{text[-100:]}"


def text(value: Any) -> str:
    """A value as Markdown that says just that."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", _line(value))


def code(value: Any) -> str:
    """A value as code, in fences that it doesn't hold itself; safe in a table, too."""
    text = _line(value).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    room = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{room}{text}{room}{fence}"
