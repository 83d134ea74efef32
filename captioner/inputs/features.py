"""The cache of a frozen image encoder's features, on disk in float16.

A cache is a folder named by the key of what went into it: encoder, image side, views, and every
image file by path, size and time. It is written under another name and renamed, so there is never
half of one, and its rows' checksums are verified when it is opened.

Legend: V views, N images, R regions, D encoder width.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.inputs.augment import augment, sided
from captioner.inputs.files import batches, read_file, remove_abandoned
from captioner.inputs.images import decode_images
from captioner.inputs.records import Record

# Raised when decoding, resizing or normalisation changes: old caches are then other features.
PREPROCESSING = 2

# A cache being written is another folder.
_MAKING = ".making-"

_BATCH = 32
_DTYPE = np.dtype("float16")

Encode = Callable[[tf.Tensor], tf.Tensor]
Progress = Callable[[int, int], None]


def decode_files(paths: Sequence[Path | str], side: int) -> tuple[tf.Tensor, list[str]]:
    """Image files to (uint8 [N, side, side, 3], N reasons): '' where an image was read."""
    contents, reasons = zip(*(read_file(path) for path in paths), strict=True)
    pixels, errors = decode_images(tf.constant(contents, tf.string), side)
    errors = [error.decode("utf-8", "replace") for error in errors.numpy()]
    return pixels, [mine or theirs for mine, theirs in zip(reasons, errors, strict=True)]


def find_unreadable(
    records: Sequence[Record], side: int, progress: Progress | None = None
) -> dict[int, str]:
    """Decodes every image once: positions and reasons of those that can't be read."""
    bad = {}
    for part in batches(len(records), _BATCH):
        _, errors = decode_files([record.image for record in records[part]], side)
        bad |= {part.start + i: error for i, error in enumerate(errors) if error}
        if progress:
            progress(part.stop, len(records))
    return bad


class FeatureCache:
    """Features of a list of images, opened with `open_features`.

    Attributes:
        unreadable: dict[int, str]. Positions of images that couldn't be read, with the reason;
            their rows are zero.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]):
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.shape = tuple(index["shape"])
        if self.shape != shape:
            raise ValueError(f"an index of shape {self.shape}, not {shape}")
        self.unreadable = {int(row): why for row, why in index["unreadable"].items()}
        self._file = folder / "features.bin"
        expected = int(np.prod(self.shape)) * _DTYPE.itemsize
        if self._file.stat().st_size != expected:
            raise ValueError("features.bin has another size than its index says")
        self._verify(index["checksums"])
        self._rows = np.memmap(self._file, _DTYPE, "r", shape=self.shape) if expected else None

    def _verify(self, checksums: list[int]) -> None:
        if len(checksums) != self.shape[0] * self.shape[1]:
            raise ValueError("the index has not a checksum for each row")
        size = int(np.prod(self.shape[2:])) * _DTYPE.itemsize
        with self._file.open("rb") as file:
            for row, expected in enumerate(checksums):
                if zlib.crc32(file.read(size)) != expected:
                    raise ValueError(f"row {row} of features.bin is damaged")

    def __len__(self) -> int:
        return self.shape[1]

    @property
    def views(self) -> int:
        """V."""
        return self.shape[0]

    def rows(self, images: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """float16 [n, R, D] of n images, each in one of its views."""
        if self._rows is None:
            return np.zeros((0, *self.shape[2:]), _DTYPE)
        return self._rows[views, images]


def _key(records: Sequence[Record], views: int, side: int, fingerprint: str, seed: int) -> str:
    digest = hashlib.sha256(
        f"{PREPROCESSING} {fingerprint} {side} {views} {seed if views > 1 else 0}".encode()
    )
    for record in records:
        try:
            stat = os.stat(record.image)
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = "missing"
        # Views of images of which a side is named are not mirrored, so captions and prompts count.
        side_named = views > 1 and sided(record)
        path = os.path.abspath(record.image)
        digest.update(f"\n{path} {state} {side_named}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def open_features(
    records: Sequence[Record],
    encode: Encode,
    *,
    folder: Path,
    shape: tuple[int, int],
    side: int,
    fingerprint: str,
    views: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> FeatureCache:
    """Opens the cache for these images; makes it where it is missing, changed or damaged.

    Args:
        records: The images, in the order of the cache's rows.
        encode: uint8 [n, side, side, 3] -> float [n, R, D].
        folder: Where caches are kept.
        shape: (R, D).
        side: Pixels.
        fingerprint: Identifies the encoder's weights.
        views: 1 for the plain images, more for augmented views after the plain one.
        seed: Of the augmentation.
        progress: Called with (images done, images in all).

    Raises:
        OSError: the disk is full; what was written is removed.
    """
    final = folder / _key(records, views, side, fingerprint, seed)
    whole = (views, len(records), *shape)
    if final.is_dir():
        try:
            return FeatureCache(final, whole)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged: made again
            shutil.rmtree(final, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder, _MAKING)
    temporary = Path(tempfile.mkdtemp(prefix=_MAKING, dir=folder))
    try:
        _write(temporary, records, encode, shape, side, views, seed, progress)
        try:
            temporary.rename(final)
        except OSError:
            if not final.is_dir():  # unless another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return FeatureCache(final, whole)


def _write(folder, records, encode, shape, side, views, seed, progress) -> None:
    unreadable: dict[int, str] = {}
    checksums: list[int] = []
    with (folder / "features.bin").open("wb") as file:
        for view in range(views):
            for part in batches(len(records), _BATCH):
                chunk = records[part]
                pixels, errors = decode_files([record.image for record in chunk], side)
                if view:
                    flip = [not sided(record) for record in chunk]
                    pixels = augment(pixels, flip, seed=_view_seed(seed, view, part.start))
                features = np.array(encode(pixels))
                if not np.isfinite(features).all():
                    raise CaptionerError(
                        f"the image encoder gave a value that is not finite for one of "
                        f"{chunk[0].image} … {chunk[-1].image}; look at model.image_weights"
                    )
                for i, error in enumerate(errors):
                    if error:
                        unreadable[part.start + i] = error
                        features[i] = 0
                # A feature beyond float16's range would come back as infinity.
                features = np.clip(features, -65504, 65504).astype(_DTYPE)
                for row in features:
                    data = row.tobytes()
                    checksums.append(zlib.crc32(data))
                    file.write(data)
                if progress:
                    progress(view * len(records) + part.stop, views * len(records))
        file.flush()
        os.fsync(file.fileno())
    index = {
        "shape": [views, len(records), *shape],
        "unreadable": unreadable,
        "checksums": checksums,
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _view_seed(seed: int, view: int, start: int) -> int:
    """A seed of its own for each view of each batch."""
    text = f"{seed} {view} {start}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") >> 1
