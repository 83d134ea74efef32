"""captioner learns to describe images.

`captioner.load(folder)` gives an object that captions images; see `captioner.captioning.Captioner`. Importing
captioner alone loads no TensorFlow.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CaptionerError", "__version__", "load"]

from captioner.errors import CaptionerError

if TYPE_CHECKING:
    from captioner.loading import load


def __getattr__(name: str) -> Any:
    if name == "load":
        from captioner.loading import load

        return load
    raise AttributeError(f"module 'captioner' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
