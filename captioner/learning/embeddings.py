"""Captions as the frozen text encoder embeds them, kept on disk.

35,000 captions cost the small BERT two to three minutes of a processor, at the start of every
training that has them near (`data.text`), and the same again where a run is resumed. A file is
named by the hash of what went into it, written whole or not at all, and checked when it is read.

Legend: S embedding width.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from captioner import pretrained
from captioner.config import Settings
from captioner.inputs.files import batches
from captioner.models.build import Built
from captioner.models.sentences import embed

_BATCH = 256

# Fewer take no longer to embed than to look up.
_LEAST = 1000


def embeddings(
    settings: Settings,
    built: Built,
    captions: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Each caption's embedding by the text encoder: float32 [captions, S].

    Args:
        settings: the run's.
        built: the model, its text encoder as it was loaded.
        captions: any texts.
        progress: told how many are embedded, and of how many.
    """
    if len(captions) < _LEAST:
        return _embedded(built, captions, progress)
    path = settings.data.folder / "cache" / "captions" / f"{_key(settings, captions)}.npz"
    width = built.model.text_encoder.width
    found = _read(path, (len(captions), width))
    if found is None:
        found = _embedded(built, captions, progress)
        _write(path, found)
    return found


def _embedded(built: Built, captions: Sequence[str], progress) -> np.ndarray:
    tokenizer, encoder = built.prompt_tokenizer, built.model.text_encoder

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode(texts):
        inputs = tokenizer(texts)
        longest = tf.reduce_max(tf.reduce_sum(inputs["input_mask"], axis=1))
        return embed(encoder, {name: one[:, :longest] for name, one in inputs.items()})

    # Captions of a length together leave the encoder little padding to read.
    order = np.argsort([len(caption) for caption in captions], kind="stable")
    found = np.zeros((len(captions), encoder.width), np.float32)
    for part in batches(len(captions), _BATCH):
        rows = order[part]
        found[rows] = encode(tf.constant([captions[row] for row in rows])).numpy()
        progress(part.stop, len(captions))
    return found


def _key(settings: Settings, captions: Sequence[str]) -> str:
    encoder = pretrained.fingerprint(pretrained.text_encoder(settings.model.text_encoder))
    digest = hashlib.sha256(f"1 {encoder} {settings.text.max_prompt}".encode())
    for caption in captions:
        text = caption.encode("utf-8", "surrogateescape")
        digest.update(b"\n%d %s" % (len(text), text))
    return digest.hexdigest()[:32]


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """What `_write` wrote; None where it is missing, damaged, or of another shape."""
    try:
        with np.load(path, allow_pickle=False) as file:  # a zip, which has checksums
            found = file["embeddings"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _write(path: Path, found: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, embeddings=found)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
