"""From settings to a model: the one place that knows which parts make a captioner."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from captioner import pretrained
from captioner.config import Settings
from captioner.config.freezing import frozen_stages, stages
from captioner.errors import CaptionerError
from captioner.inputs.prompt_pieces import PromptTokenizer
from captioner.inputs.text import END, SPECIAL, UNK, CaptionTokenizer, load_vocabulary
from captioner.inputs.wordpiece import BertTokenizer
from captioner.models.answer_head import AnswerHead
from captioner.models.captioner import Captioner
from captioner.models.decoder import Decoder
from captioner.models.encoders import ImageEncoder, TextEncoder
from captioner.models.sentences import SentenceHead


@dataclass(frozen=True)
class Built:
    """A model with the tokenizers that belong to it."""

    model: Captioner
    tokenizer: CaptionTokenizer | None
    """None for a classifier, which has `answers`."""
    prompt_tokenizer: BertTokenizer | None
    answers: tuple[str, ...] = ()
    """What a classifier chooses among."""
    teacher: Any = None
    """`learning.distillation.Teacher`: the trained run that it learns from, while it does."""


def image_encoder(settings: Settings, load: bool = True) -> ImageEncoder:
    """The image encoder; `load=False` leaves its weights to a checkpoint."""
    kind, named = settings.model.image_encoder, settings.model.image_weights
    if kind == "vit":  # what it is like, its preset says
        weights = None if named == "none" else named
    else:
        weights = pretrained.image_weights(named, kind) if load else None
    # Of none that is frozen, nothing is kept.
    begun = frozen_stages(settings.train.freeze, kind) or len(stages(kind))
    side = settings.model.image_side
    levels = settings.model.levels
    return ImageEncoder(side, weights, begun, kind, load, levels, name="image_encoder")


def encoders(
    settings: Settings, load: bool = True, reads: bool = True
) -> tuple[ImageEncoder, TextEncoder | None]:
    """Both encoders, with which every model that has two begins; the seed is set before.

    Args:
        settings: the run's.
        load: as `build` takes it.
        reads: whether the model is none without a text encoder.

    Raises:
        CaptionerError: a pretrained part can't be had, or there is no text encoder.
    """
    if reads and settings.model.text_encoder == "none":
        raise CaptionerError(
            f"the task {settings.task} needs a text encoder to read sentences: "
            "model.text_encoder is none"
        )
    if load:  # nothing random is left where a checkpoint is restored
        keras.utils.set_random_seed(settings.train.seed)
    keras.config.set_dtype_policy("float32")
    images = image_encoder(settings, load)
    folder = pretrained.text_encoder(settings.model.text_encoder)
    if folder is None:
        return images, None
    frozen = "text_encoder" in settings.train.freeze
    return images, TextEncoder(folder, trainable=not frozen, name="text_encoder")


def text_tokenizer(settings: Settings, texts: TextEncoder) -> BertTokenizer:
    """What splits texts as a text encoder reads them."""
    vocabulary = load_bert_vocabulary(texts.vocabulary_file)
    return BertTokenizer(vocabulary, texts.lower_case, settings.text.max_prompt)


def build(settings: Settings, vocabulary: Sequence[str], load: bool = True) -> Built:
    """Builds the model that the settings describe.

    Args:
        settings: The run's.
        vocabulary: The decoder's pieces; with model.answers, the answers.
        load: bool. Whether to start from pretrained image weights and word embeddings; False
            where a checkpoint is about to be restored.

    Raises:
        CaptionerError: a pretrained part can't be had.
    """
    return over(settings, vocabulary, *encoders(settings, load, reads=False), load)


def over(
    settings: Settings,
    vocabulary: Sequence[str],
    images: ImageEncoder,
    words: TextEncoder | None,
    load: bool = True,
) -> Built:
    """As `build`, on encoders that are there."""
    chooses = settings.model.answers > 0
    tokenizer = None if chooses else CaptionTokenizer(vocabulary)
    # The encoders compute in float32 (a Hub model's variables are); the rest as asked.
    policy = "mixed_bfloat16" if settings.train.precision == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    try:
        prompts, table = None, None
        if words is not None:
            if settings.model.copying:
                prompts = PromptTokenizer(
                    tokenizer,
                    load_bert_vocabulary(words.vocabulary_file),
                    words.lower_case,
                    settings.text.max_prompt,
                )
            else:
                prompts = text_tokenizer(settings, words)
            if settings.model.embeddings == "encoder" and not chooses:
                table = pretrained.word_embeddings(words.folder)
        size = (len(vocabulary), settings.model.units, settings.model.heads)
        if chooses:
            decoder = AnswerHead(*size, dropout=settings.model.dropout, name="decoder")
        else:
            decoder = Decoder(
                *size,
                word_width=table[1].shape[1] if table else settings.model.units,
                dropout=settings.model.dropout,
                word_dropout=settings.model.word_dropout,
                unknown=UNK,
                continuing=_continuing(vocabulary) if settings.model.copying else None,
                end=END,
                name="decoder",
            )
        head = None
        if settings.model.sentence_head:
            head = SentenceHead(
                words.width, images.width, dtype="float32", name="sentence_head"
            )
        model = Captioner(
            images,
            words,
            decoder,
            settings.model.feature_dropout,
            sentence_head=head,
            places=settings.model.places,
            name="captioner",
        )
        if table and load:
            decoder.words.embeddings.assign(
                _start_words(vocabulary, *table, np.asarray(decoder.words.embeddings.numpy()))
            )
    finally:
        keras.config.set_dtype_policy("float32")
    return Built(model, tokenizer, prompts, tuple(vocabulary) if chooses else ())


def _continuing(vocabulary: Sequence[str]) -> list[int]:
    """The tokens that continue a word."""
    return [token for token, piece in enumerate(vocabulary) if piece.startswith("##")]


def load_bert_vocabulary(path: Path) -> list[str]:
    """A BERT's vocab.txt."""
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def _start_words(
    vocabulary: Sequence[str], known: Sequence[str], table: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """The decoder's word table [V, W]: the text encoder's rows for the pieces it knows, and random
    ones of the same size for the others."""
    places = {word: row for row, word in enumerate(known)}
    start = start * (table.std() / start.std())
    for row, piece in enumerate(vocabulary):
        if piece in places and piece not in SPECIAL:
            start[row] = table[places[piece]]
    return start


def load_run_vocabulary(run: Path) -> list[str]:
    """The vocabulary of a run folder."""
    return load_vocabulary(run / "vocabulary.txt")
