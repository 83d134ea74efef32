"""What a captioned data set is once it has been read: records, their splits, a report of bad data.

A reader (readers.py) puts what its files say into a `Gatherer`, image by image and caption by
caption. The rules that hold for every format live here, once: how captions are cleaned, what is
left out and counted, how splits are named or drawn, and which ids images get. Nothing here decodes
an image or imports TensorFlow; 120,000 images with 600,000 captions take a few seconds.
"""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from captioner.config import near_misses
from captioner.errors import CaptionerError
from captioner.inputs.questions import Question

SPLITS = ("train", "dev", "test")

# restval is Karpathy's: COCO validation images that everyone trains on.
_SPLIT_NAMES = MappingProxyType(
    {
        "train": "train", "training": "train", "restval": "train",
        "dev": "dev", "development": "dev", "val": "dev", "valid": "dev", "validation": "dev",
        "test": "test", "testing": "test",
    }
)  # fmt: skip

# Shares in the order of the hash, lowest first. Test comes first so that it stays the same
# images when somebody later wants more or less of the others.
DRAWN = (("test", 0.1), ("dev", 0.1), ("train", 0.8))
HALVED = (("test", 0.5), ("dev", 0.5))

_NOT_UTF8 = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Record:
    """One image and what was said about it."""

    id: str
    """The data set's own id; unique in the data set."""

    image: Path
    """A file on disk; it existed and wasn't empty when the data set was read."""

    captions: tuple[str, ...]
    """At least one; white space folded; none twice (with the same prompt)."""

    split: str
    """train, dev or test."""

    prompts: tuple[str, ...] = ()
    """One per caption (maybe empty text) when the data set brings prompts, else ()."""

    questions: tuple[Question, ...] = ()
    """One per caption where the prompts are a data set's questions, else (). The caption of a
    question of which no answer was published is empty."""

    @property
    def answered(self) -> bool:
        """Whether there is anything to score by."""
        return any(self.captions)


class Problems:
    """Counts what was wrong with a data set, by kind, with a few examples of each."""

    EXAMPLES = 3

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, tuple[str, ...]]] = {}

    def add(self, kind: str, example: str, n: int = 1) -> None:
        """Counts `n` more of `kind`; `example` (a path, an id, a line number) is kept if among
        the first three different ones."""
        count, examples = self._found.get(kind, (0, ()))
        if len(examples) < self.EXAMPLES:
            example = _printable(example)
            if example not in examples:
                examples += (example,)
        self._found[kind] = (count + n, examples)

    def count(self, kind: str) -> int:
        """How many of this kind were found."""
        return self._found.get(kind, (0, ()))[0]

    def kinds(self) -> tuple[str, ...]:
        """The kinds found, in the order in which they turned up."""
        return tuple(self._found)

    def summary(self) -> str:
        """'2 captions without an image file (a.jpg, b.jpg); 1 ...' in one line; '' when none."""
        return "; ".join(
            f"{count:,} {kind} ({', '.join(examples)}{', …' if count > len(examples) else ''})"
            for kind, (count, examples) in self._found.items()
        )

    def __bool__(self) -> bool:
        return bool(self._found)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set's usable records, in the order of its files, and what had to be left out."""

    name: str
    """The SPEC that it was read from."""

    records: tuple[Record, ...]
    problems: Problems = field(default_factory=Problems)
    labelled: bool = False  # captions are names of classes

    def split(self, names: str) -> tuple[Record, ...]:
        """The records of `train`, `dev`, `test` or a sum such as `dev+test`, in their order;
        maybe none.

        Raises:
            CaptionerError: an unknown split, naming near misses.
        """
        wanted = [name.strip() for name in names.split("+")]
        for name in wanted:
            if name not in SPLITS:
                known = _SPLIT_NAMES.get(name.lower())
                hint = f"; did you mean {known}?" if known else near_misses(name.lower(), SPLITS)
                raise CaptionerError(f"unknown split {name!r}{hint} (sums such as dev+test work)")
        return tuple(record for record in self.records if record.split in wanted)

    def describe(self) -> str:
        """'csv:a.csv: 10 images, 50 captions (train 8, dev 1, test 1 images)'."""
        sizes = Counter(record.split for record in self.records)
        captions = sum(len(record.captions) for record in self.records)
        parts = ", ".join(f"{name} {sizes[name]:,}" for name in SPLITS)
        return f"{self.name}: {len(self.records):,} images, {captions:,} captions ({parts} images)"


def fold(text: str) -> str:
    """The text with every run of white space, line ends included, as one space, and none at its
    ends."""
    return " ".join(text.split())


def split_name(name: str) -> str | None:
    """train, dev or test for the names data sets give them (training, val, ...); None for any
    other."""
    return _SPLIT_NAMES.get(name.strip().lower())


def _place(key: str) -> float:
    """Where an image falls in [0, 1): the first 8 bytes of SHA-256 of its id."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def draw_splits(
    keys: Iterable[str], shares: Sequence[tuple[str, float]] = DRAWN
) -> dict[str, str]:
    """Draws a split for each key from a hash of that key.

    An image's split depends on its own id alone: not on the order of the files, on other images,
    or on the machine. One exception keeps tiny data sets usable: with at least as many images as
    splits, a split that would stay empty takes the images nearest to it in the order of the hash
    (test the lowest, train the highest, dev from between). With fewer images all go to the last
    split (train).

    Args:
        keys: The images' ids.
        shares: Splits and their shares (summing to 1) in the order of the hash.

    Returns:
        The split of each key.
    """
    places = {key: _place(key) for key in keys}
    if len(places) < len(shares):
        return dict.fromkeys(places, shares[-1][0])
    bounds, total = [], 0.0
    for _, share in shares[:-1]:
        total += share
        bounds.append(total)
    ordered = sorted(places, key=lambda key: (places[key], key))
    # cuts[i] is where split i ends among the ordered images; each split keeps at least one.
    cuts = [sum(place < bound for place in places.values()) for bound in bounds]
    start = 0
    drawn: dict[str, str] = {}
    for i, (name, _) in enumerate(shares):
        later = len(shares) - 1 - i  # splits that still need an image
        end = min(max(cuts[i], start + 1), len(ordered) - later) if later else len(ordered)
        drawn.update(dict.fromkeys(ordered[start:end], name))
        start = end
    return drawn


class _Image:
    """What is known of one image while its data set is being read."""

    __slots__ = ("captions", "id", "path", "split")

    def __init__(self, id: str, path: str, split: str | None) -> None:
        self.id = id
        self.path = path
        self.split = split
        # (caption, prompt, the question's id or ''), in order, to the question.
        self.captions: dict[tuple[str, str, str], Question | None] = {}


class Gatherer:
    """Takes what a reader finds, in any order, and makes the DataSet of it.

    Attributes:
        problems: What the reader, too, adds its findings to.
        with_prompts: Set by a reader whose data has prompts.
        split_dev: Set where the data's dev split is to be halved into dev and test.
        labelled: Set where captions are names of classes.
    """

    def __init__(self) -> None:
        self.problems = Problems()
        self.with_prompts = False
        self.split_dev = False
        self.labelled = False
        self._images: dict[str, _Image] = {}

    def image(
        self, key: str, path: str | os.PathLike[str], *, id: str | None = None,
        split: str | None = None,
    ) -> _Image | None:  # fmt: skip
        """The image of this key, new or known, for `caption`.

        Args:
            key: What makes the image this one: its path relative to the data set's folder, or its
                number.
            path: Its file; whether it exists is looked up once, at the end.
            id: The id of its record. Defaults to the key without the file's ending.
            split: The split as the data names it; None or blank where the data doesn't say. An
                image named in two splits stays in the first one.

        Returns:
            The image, or None (counted) when its path or its split can't be used.
        """
        if not key.isascii() and _NOT_UTF8.search(key):
            self.problems.add("image names that are not UTF-8", key)
            return None
        named = None
        if split and split.strip():
            named = split_name(split)
            if named is None:
                self.problems.add(
                    "rows of unknown splits (known: train, dev, test)", f"{split.strip()}: {key}"
                )
                return None
        found = self._images.get(key)
        if found is None:
            found = _Image(os.path.splitext(key)[0] if id is None else id, os.fspath(path), named)
            self._images[key] = found
        elif named and found.split is None:
            found.split = named
        elif named and found.split != named:
            self.problems.add(
                "rows that put an image into a second split (kept in its first)",
                f"{key}: {found.split}, then {named}",
            )
        return found

    def caption(
        self, image: _Image, text: str, prompt: str = "", question: Question | None = None
    ) -> None:
        """Adds a caption as the file has it; empty, repeated and garbled ones are counted. Of a
        question without answers it may be empty."""
        text, prompt = fold(text), fold(prompt)
        key = (text, prompt, question.id if question else "")
        if not text and (question is None or question.answers):
            self.problems.add("empty captions", image.id)
            return
        # Bytes that weren't UTF-8 arrive here as lone surrogates (`surrogateescape`), which JSON
        # can spell as well; TensorFlow could not take either.
        if not text.isascii() and _NOT_UTF8.search(text):
            self.problems.add("captions that are not UTF-8", f"{image.id}: {text}")
        elif prompt and not prompt.isascii() and _NOT_UTF8.search(prompt):
            self.problems.add("prompts that are not UTF-8", f"{image.id}: {prompt}")
        elif key in image.captions:
            self.problems.add("repeated captions of one image", f"{image.id}: {text}")
        else:
            image.captions[key] = question

    def finish(self, name: str) -> DataSet:
        """Checks the files, settles splits and ids, and returns the data set.

        Where the data names splits, an image in none of them is left out; where it names none,
        splits are drawn.

        Raises:
            CaptionerError: no image is usable.
        """
        usable = self._usable()
        if not usable:
            why = self.problems.summary() or "its files list none"
            raise CaptionerError(f"{name}: no usable image: {why}")
        if all(image.split is None for image in usable.values()):
            drawn = draw_splits(image.id for image in usable.values())
            for image in usable.values():
                image.split = drawn[image.id]
        elif self.split_dev:
            dev = [image for image in usable.values() if image.split == "dev"]
            halves = draw_splits((image.id for image in dev), HALVED)
            for image in dev:
                image.split = halves[image.id]
        ids = _unique_ids(usable)
        records = (
            Record(
                id=ids[key],
                image=Path(image.path),
                captions=tuple(caption for caption, *_ in image.captions),
                split=image.split,
                prompts=tuple(p for _, p, _ in image.captions) if self.with_prompts else (),
                questions=tuple(q for q in image.captions.values() if q is not None),
            )
            for key, image in usable.items()
        )
        return DataSet(name, tuple(records), self.problems, self.labelled)

    def _usable(self) -> dict[str, _Image]:
        """The images with a file, a caption and, where the data names splits, a split."""
        named = any(image.split for image in self._images.values())
        usable = {}
        for key, image in self._images.items():
            if not image.captions:
                self.problems.add("images without captions", key)
            elif named and image.split is None:
                self.problems.add("images in no split", key)
            else:
                size = _file_size(image.path)
                if size is None:
                    n = len(image.captions)
                    self.problems.add("captions without an image file", image.path, n)
                elif size == 0:
                    self.problems.add("empty image files (0 bytes)", image.path)
                else:
                    usable[key] = image
        return usable


def _file_size(path: str) -> int | None:
    """Bytes of a regular file; None where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _unique_ids(images: Mapping[str, _Image]) -> dict[str, str]:
    """Each key's id: its image's own where no other has it, else the key, whatever the order."""
    shared = {i for i, n in Counter(image.id for image in images.values()).items() if n > 1}
    ids = {key: key if image.id in shared else image.id for key, image in images.items()}
    taken = Counter(ids.values())
    for key, id in ids.items():
        if taken[id] > 1 and id == key:  # a.jpg beside a.png and a.jpg.jpg
            while id in taken:
                id += "~"
            ids[key] = id
            taken[id] = 1
    return ids


def _printable(text: str, width: int = 100) -> str:
    """Text that prints anywhere: one line, lone surrogates escaped, the middle of long ones cut."""
    text = fold(text).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= width else f"{text[: width // 2]}…{text[-width // 2 :]}"


def check_unreadable(
    problems: Problems, unreadable: Sequence[str], total: int, limit: float
) -> None:
    """Counts images that decoding found unreadable, and refuses a data set with too many.

    Args:
        problems: The data set's; the images are added to it.
        unreadable: A path or id of each unreadable image.
        total: Images tried.
        limit: The share of `total` that is still let pass, 0 to 1.

    Raises:
        CaptionerError: more than `limit` of them are unreadable; says how to go on regardless.
    """
    kind = "unreadable images"
    for image in unreadable:
        problems.add(kind, image)
    if total and len(unreadable) / total > limit:
        some = ", ".join(map(_printable, unreadable[: Problems.EXAMPLES]))
        # Rounded up, so that the value proposed does let this data set pass.
        enough = min(1.0, (len(unreadable) * 100 // total + 1) / 100)
        raise CaptionerError(
            f"{len(unreadable):,} of {total:,} images are unreadable ({some}), more than "
            f"data.unreadable_limit={limit:g} allows: replace the files, or go on without them "
            f"with --set data.unreadable_limit={enough:g}"
        )
