"""Python processes that captioner starts."""

import os
from pathlib import Path


def environment() -> dict[str, str]:
    """That of a process in which captioner is what it is here, from wherever it was imported."""
    path = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
