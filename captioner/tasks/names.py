"""Lists of names that a run keeps, one a line: answers, classes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from captioner.errors import CaptionerError


def writer(names: Sequence[str]) -> Callable[[Path], None]:
    """What writes them to a path; names hold no line ends."""
    lines = "".join(f"{name}\n" for name in names)
    return lambda path: path.write_text(lines, encoding="utf-8")


def read(path: Path, what: str) -> list[str]:
    """What a `writer` wrote.

    Args:
        path: the file.
        what: are listed in it, for messages.

    Raises:
        CaptionerError: it is missing or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CaptionerError(f"no {what} at {path}") from None
    except UnicodeDecodeError:
        raise CaptionerError(f"{path} holds no {what}: it isn't UTF-8") from None
    names = text.removesuffix("\n").split("\n")
    if "" in names or len(set(names)) != len(names):
        raise CaptionerError(f"{path} is damaged: it has an empty line, or one that is there twice")
    return names
