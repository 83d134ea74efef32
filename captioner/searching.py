"""What searching photographs starts from: the towers that embed, and an index that they made."""

from pathlib import Path

from captioner import tasks
from captioner.embedding import Embedder
from captioner.errors import CaptionerError
from captioner.photo_index import PhotoIndex
from captioner.serving.contract import EMBEDDING_SIGNATURES

# The task that is search and nothing else; others may embed, too.
TASK = "contrastive"


def open_index(folder: Path, model: Path | None = None) -> tuple[PhotoIndex, Embedder]:
    """An index to be searched, and the model that made it.

    Args:
        folder: the index's.
        model: a run folder or an export. Defaults to what made the index, where it was then.

    Raises:
        CaptionerError: there is no such index or model, or the model isn't the one that made it.
    """
    index = PhotoIndex.open(folder)
    towers = load_towers(model or Path(index.model))
    index.check(towers.identity)
    return index, towers


def load_towers(folder: Path) -> Embedder:
    """A model with vectors to search by.

    Raises:
        CaptionerError: it is another task's.
    """
    task = tasks.of_folder(folder)
    if folder.is_dir() and not set(EMBEDDING_SIGNATURES) <= set(task.signatures):
        raise CaptionerError(
            f"{folder} is a model of the task {task.name}; searching takes one that embeds, as "
            "`captioner.train --recipe lit` makes them"
        )
    from captioner.loading import load

    return load(folder)
