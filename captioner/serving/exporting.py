"""Exports: numbered SavedModels that appear whole or not at all."""

import errno
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner import __version__, tasks
from captioner.config import Settings
from captioner.inputs import image_headers
from captioner.inputs.files import remove_abandoned
from captioner.serving import batching, card, warmup

# A version being written; no server looks at a folder of such a name.
_WRITING = ".writing-"


def next_version(folder: Path) -> int:
    """One more than the highest number there is; 1 in an empty folder."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return 1 + max((int(name) for name in names if is_version(name)), default=0)


def is_version(name: str) -> bool:
    """Whether a model server would take a folder of this name for a version."""
    return name.isascii() and name.isdigit()


def export(
    built: Any,
    settings: Settings,
    folder: Path,
    about: dict[str, Any],
    *,
    storage: str = "float32",
    precision: str = "float32",
) -> Path:
    """Writes the next numbered version under `folder` and returns its path.

    A model server that watches `folder` sees the version once it is complete: it is written under
    a name that no server looks at, and renamed. What killed exports left there is removed.

    Beside the SavedModel, a version has warm-up requests, batching parameters and a model card
    (`warmup`, `batching`, `card`).

    Args:
        built: the trained model, as its task builds it.
        settings: the run's.
        folder: holds the versions.
        about: what the card and `assets.extra/captioner.json` say beside settings and versions;
            `captioner.about.of_run` makes it.
        storage: what matrices are stored in: float32, or float16 for half the size.
        precision: what the image encoder computes in, and its weights are stored in: float32, or
            bfloat16 for processors that have it.

    Raises:
        OSError: the disk is full, or can't be written; nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder, _WRITING)
    temporary = folder / f"{_WRITING}{uuid.uuid4().hex}"
    try:
        served = tasks.of(settings).serve(settings, built, storage, precision)
        # On the CPU, so that no kernel of this machine's accelerator gets into the graph.
        with tf.device("/CPU:0"):
            signatures = served.signatures()
            tf.saved_model.save(served, str(temporary), signatures=signatures)
        extra = temporary / "assets.extra"
        extra.mkdir()
        warmup.write(extra, {name: card.inputs(one) for name, one in signatures.items()})
        batching.write(temporary)
        known = {
            "captioner": __version__,
            "tensorflow": tf.__version__,
            "storage": storage,
            "precision": precision,
            "decode": settings.decode.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json"),
            "limits": {
                "jpeg_pixels": image_headers.MAX_JPEG_PIXELS,
                "pixels": image_headers.MAX_PIXELS,
                "side": image_headers.MAX_SIDE,
            },
        }
        card.write(temporary, signatures, known | about)
        return _publish(temporary, folder)
    except tf.errors.OpError as error:
        raise _as_os_error(error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _as_os_error(error: tf.errors.OpError) -> OSError:
    """What the system said; TensorFlow has error classes of its own for it."""
    message = re.sub(r"\{\{.*?\}\} *| *\[Op:\w+\]", "", error.message.split("\n")[0])
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return OSError(errno.ENOSPC, message)
    return OSError(errno.EIO, message)


def _publish(temporary: Path, folder: Path) -> Path:
    """Renames to the next number; another export may have taken it meanwhile."""
    while True:
        final = folder / str(next_version(folder))
        try:
            temporary.rename(final)
            return final
        except OSError:
            if not final.exists():
                raise
