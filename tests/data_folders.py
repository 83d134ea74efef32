"""Data sets as files, for tests of what reads them."""

from pathlib import Path

from captioner.inputs.records import DataSet


def put(folder: Path, *names: str) -> None:
    """Files that stand for images: readers don't decode them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"image")


def write(path: Path, content: str | bytes) -> Path:
    """A file, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def by_id(data: DataSet) -> dict:
    """The records by their ids."""
    return {record.id: record for record in data.records}


def splits(data: DataSet) -> dict[str, str]:
    """The split of each record."""
    return {record.id: record.split for record in data.records}
