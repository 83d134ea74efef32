"""An index of photographs by what they show, on disk, searched without being read into memory.

A folder: `index.json` says which model made the vectors and which files belong together; the nearest
neighbours are a usearch file (HNSW: Malkov and Yashunin, 2018), opened memory-mapped; the
photographs' names are one file with the places where each begins. What changes is written beside the
old files, and the new `index.json` renamed over the old one: whoever searches meanwhile has the
old index whole, and a build that is killed changes nothing.

usearch, and not faiss or hnswlib: it opens its files memory-mapped as they are, takes further vectors
without being trained or built anew, keeps them in half precision, and comes as small wheels for all
systems (faiss is ten times the size, hnswlib has no wheels and reads its files whole).

Legend: N photographs, E width of the vectors, K hits.
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.errors import CaptionerError

_INDEX = "index.json"
_FORMAT = 1
_STALE = 24 * 3600  # seconds after which files that no index names are a killed build's

# Fewer are compared one by one, which is exact and takes a few milliseconds.
_EXACT = 20_000
# Neighbours that usearch looks at on its way, in building and in searching; more finds more of what
# is nearest and takes longer. With these, 98 % of the ten nearest of 100,000 synthetic vectors.
# Among more, as many find less (88 % of those of a million), and so there are more, as the root of
# their number: 810 among a million.
_WIDE_ADD, _WIDE_SEARCH, _AMONG = 128, 256, 100_000

# The state of a file that isn't there.
GONE = "0"


class Hit(NamedTuple):
    """A photograph that was found.

    Attributes:
        image: its path.
        similarity: cosine, -1 to 1.
        key: its number in the index.
    """

    image: str
    similarity: float
    key: int


def state_of(path: str) -> str:
    """What tells a file from a changed one; `GONE` where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # of a NUL in its name
        return GONE
    return f"{found.st_size}:{found.st_mtime_ns}"


def usearch_index() -> type:
    """usearch's `Index`.

    Raises:
        CaptionerError: it isn't installed; says how to.
    """
    try:
        from usearch.index import Index
    except ImportError:
        raise CaptionerError(
            "searching needs usearch, which isn't installed: pip install -e '.[search]' (or pip "
            "install usearch)"
        ) from None
    return Index


class PhotoIndex:
    """An index that is opened to be searched, or `changing`, to be added to.

    Attributes:
        folder: Path.
        model: str. What made the vectors, as it was named.
        identity: str. That model's.
        width: int. E.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], changing: bool):
        self.folder = folder
        self.model, self.identity = facts["model"], facts["identity"]
        self.width = facts["width"]
        self._files = facts["files"]
        self._vectors = usearch_index()(
            ndim=self.width, metric="ip", dtype="f16", expansion_add=_WIDE_ADD,
            expansion_search=_WIDE_SEARCH,
        )  # fmt: skip
        self._names: dict[int, str] = {}
        self._next = 0
        if not self._files:
            return
        path = folder / self._files["vectors"]["name"]
        (self._vectors.load if changing else self._vectors.view)(str(path))
        self._vectors.expansion_search = _width(len(self._vectors))
        self._ends = np.load(folder / self._files["ends"]["name"], mmap_mode="r")
        self._text = np.memmap(folder / self._files["names"]["name"], np.uint8, "r")
        self._next = len(self._ends)
        if changing:
            self._names = {key: self._name(key) for key in range(self._next)}

    # Opening.

    @classmethod
    def open(cls, folder: Path) -> "PhotoIndex":
        """Opens an index to be searched.

        Raises:
            CaptionerError: there is none, or it is damaged.
        """
        return cls._opened(folder, changing=False)

    @classmethod
    def begin(cls, folder: Path, model: str, identity: str, width: int) -> "PhotoIndex":
        """Opens an index to be added to, or begins one, in memory at first.

        Args:
            folder: its own; made where it is missing.
            model: where the model is.
            identity: which it is.
            width: E.

        Raises:
            CaptionerError: it is damaged, another model's, or the folder holds other things.
        """
        if (folder / _INDEX).is_file():
            found = cls._opened(folder, changing=True)
            found.check(identity)
            return found
        if folder.is_dir() and any(not _ours(path) for path in folder.iterdir()):
            raise CaptionerError(f"{folder} holds other things than an index: name another folder")
        facts = {"model": model, "identity": identity, "width": width, "files": {}}
        return cls(folder, facts, changing=True)

    @classmethod
    def _opened(cls, folder: Path, changing: bool) -> "PhotoIndex":
        if not (folder / _INDEX).is_file():
            raise CaptionerError(
                f"{folder} is no index: python -m captioner.search build --model DIR --index "
                f"{folder} PHOTOS... makes one"
            )
        usearch_index()
        try:
            facts = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            if facts["format"] != _FORMAT:
                raise ValueError(f"its format is {facts['format']}, and {_FORMAT} is known")
            for one in facts["files"].values():
                _verify(folder / one["name"], one, whole=changing)
            return cls(folder, facts, changing)
        except CaptionerError:
            raise
        except Exception as error:  # of any kind: it may be damaged anywhere
            raise CaptionerError(
                f"the index {folder} is damaged ({error}): remove it and build it again"
            ) from None

    def check(self, identity: str) -> None:
        """Refuses the vectors of another model.

        Raises:
            CaptionerError: it isn't the one that made this index.
        """
        if identity != self.identity:
            raise CaptionerError(
                f"{self.folder} is of another model ({self.model}, as it was then), whose vectors "
                "can't be compared with this one's: name that model, or build another index"
            )

    # What is in it.

    def __len__(self) -> int:
        return len(self._vectors)

    def photos(self) -> dict[str, tuple[int, str]]:
        """Of an index that is changing: path to (key, state)."""
        found = {}
        for key, name in self._names.items():
            state, _, path = name.partition(" ")
            if path:
                found[path] = key, state
        return found

    def _name(self, key: int) -> str:
        begin = int(self._ends[key - 1]) if key else 0
        coded = self._text[begin : int(self._ends[key])].tobytes()
        return coded.decode("utf-8", "surrogateescape")

    def photo(self, key: int) -> tuple[str, str] | None:
        """A photograph's path and its state when it was indexed; None where there is none of this
        number. Of an index that is opened to be searched."""
        if not 0 <= key < self._next:
            return None
        state, _, path = self._name(key).partition(" ")
        return (path, state) if path else None

    def search(self, vector: np.ndarray, count: int) -> list[Hit]:
        """The K = `count` photographs that are nearest to a unit vector [E], the nearest first."""
        if not len(self):
            return []
        exact = len(self) <= _EXACT
        found = self._vectors.search(vector, min(count, len(self)), exact=exact)
        keys = [int(key) for key in found.keys]  # noqa: SIM118
        near = np.clip(1 - np.asarray(found.distances, np.float64), -1, 1)  # of half precision
        hits = [
            Hit(self._name(key).partition(" ")[2], float(one), key)
            for key, one in zip(keys, near, strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.image))

    # Changing it.

    def add(self, paths: Sequence[str], states: Sequence[str], vectors: np.ndarray) -> None:
        """Adds photographs.

        Args:
            paths: their paths.
            states: what tells a file from a changed one; without blanks.
            vectors: float32 [n, E], of length 1.
        """
        keys = np.arange(self._next, self._next + len(paths), dtype=np.uint64)
        if len(keys):
            self._vectors.add(keys, vectors)
        for key, path, state in zip(keys, paths, states, strict=True):
            self._names[int(key)] = f"{state} {path}"
        self._next += len(paths)

    def remove(self, key: int) -> None:
        """Forgets a photograph."""
        self._vectors.remove(key)
        self._names[key] = ""

    def save(self) -> None:
        """Writes all that was changed, whole or not at all.

        Raises:
            OSError: the disk is full, or can't be written; the index is as it was before.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = uuid.uuid4().hex[:12]
        names = [
            self._names.get(key, "").encode("utf-8", "surrogateescape")
            for key in range(self._next)
        ]
        made = {kind: self.folder / f"{kind}-{mark}.{ending}" for kind, ending in _KINDS.items()}
        try:
            self._vectors.save(str(made["vectors"]))
            made["names"].write_bytes(b"".join(names))
            np.save(made["ends"], np.cumsum([len(name) for name in names], dtype=np.int64))
            files = {kind: _described(path) for kind, path in made.items()}
            facts = {
                "format": _FORMAT,
                "model": self.model,
                "identity": self.identity,
                "width": self.width,
                "photos": len(self),
                "files": files,
            }
            temporary = self.folder / f"index-{mark}.tmp"
            made["index"] = temporary
            temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            os.replace(temporary, self.folder / _INDEX)
        except BaseException:
            for path in made.values():
                path.unlink(missing_ok=True)
            raise
        before, self._files = self._files, files
        for one in before.values():
            (self.folder / one["name"]).unlink(missing_ok=True)
        for path in _stale(self.folder, {one["name"] for one in files.values()}):
            path.unlink(missing_ok=True)


_KINDS = {"vectors": "usearch", "names": "bin", "ends": "npy"}


def _width(count: int) -> int:
    """Neighbours to look at in a search among so many."""
    return round(_WIDE_SEARCH * max(1.0, (count / _AMONG) ** 0.5))


def _ours(path: Path) -> bool:
    """Whether a file in an index's folder is an index's."""
    kind, _, rest = path.name.partition("-")
    return path.name == _INDEX or (kind in (*_KINDS, "index") and bool(rest))


def _stale(folder: Path, named: set[str]) -> Iterator[Path]:
    """What killed builds left."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            old = path.stat().st_mtime < time.time() - _STALE
            if old and _ours(path) and path.name not in named and path.name != _INDEX:
                yield path


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _verify(path: Path, known: dict[str, Any], whole: bool) -> None:
    """Raises ValueError for a file that isn't what was written. The contents are read only where
    they are about to be loaded: a memory-mapped file's may be gigabytes."""
    if path.name != os.path.basename(known["name"]) or path.stat().st_size != known["bytes"]:
        raise ValueError(f"{path.name} has another size than was written")
    if whole and _described(path)["sha256"] != known["sha256"]:
        raise ValueError(f"{path.name} has changed since it was written")
