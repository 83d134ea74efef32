"""What a run trains on, stage by stage."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from captioner.config import Settings
from captioner.inputs.pipeline import (
    Batches,
    CachedImages,
    Examples,
    NoImages,
    ReadImages,
    text_examples,
)
from captioner.inputs.prompt_batches import ReadPrompts
from captioner.inputs.records import Record
from captioner.inputs.text import normalised
from captioner.inputs.texts import Texts
from captioner.learning import closed_form, sentences
from captioner.learning.closed_form import Retrieval
from captioner.learning.data import counting
from captioner.learning.embeddings import embeddings
from captioner.learning.loop import Stage
from captioner.learning.rewards import Reward
from captioner.learning.self_critical import SelfCritical
from captioner.models.build import Built
from captioner.models.neighbours import Neighbours, leading_first

Told = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# Bytes of what the text encoder gives of prompts; more is read in every step.
_MOST_READ = 2**30

# 80 MB of embeddings; more would be found no quicker and say little that is new.
_MOST_NEIGHBOURS = 50_000


def make_stages(
    settings: Settings,
    built: Built,
    records: Sequence[Record],
    train_data: Examples,
    images: CachedImages | ReadImages,
    texts: Texts | None,
    told: Told | None,
    replicas: int,
) -> list[Stage]:
    """First the captions without images, if there are any, then those with, then, if wanted, the
    captions that the model itself draws.

    Args:
        settings: the run's.
        built: the model.
        records: the training images.
        train_data: their captions.
        images: gives them by position.
        texts: captions without images, or None.
        told: gives what the decoder is told of `texts`, where the model has a sentence head.
        replicas: of the strategy.
    """
    options = {
        "batch_size": settings.train.batch_size,
        "replicas": replicas,
        "seed": settings.train.seed,
    }
    prompts = {"prompt_tokenizer": built.prompt_tokenizer}
    several = {"captions_per_image": settings.train.captions_per_image}
    stages = []
    if texts is not None and settings.data.text_epochs:
        alone = text_examples(texts.captions, built.tokenizer, settings.decode.max_tokens)
        share = settings.data.text_prompts
        made = Batches(
            alone, NoImages(told), captions_per_image=1, prompt_share=share, **prompts, **options
        )
        stages.append(Stage("text", made, settings.data.text_epochs, validate=False))
    share = settings.text.prompts
    read = read_prompts(settings, built, train_data)
    if read is not None:
        prompts = {"prompt_tokenizer": read}
    made = Batches(train_data, images, prompt_share=share, **prompts, **several, **options)
    stages.append(Stage("epoch", made, settings.train.epochs))
    if settings.train.reward_epochs:
        made = Batches(train_data, images, positions=True, **several, **options)
        objective = SelfCritical(
            built.tokenizer,
            Reward([record.captions for record in records], settings.train.reward_bleu),
            settings.train.reward_samples,
            settings.train.reward_baseline,
            settings.decode.max_tokens,
        )
        stages.append(
            Stage(
                "reward",
                made,
                settings.train.reward_epochs,
                objective=objective,
                rate=settings.train.reward_rate,
            )
        )
    return stages


def read_prompts(settings: Settings, built: Built, data: Examples) -> ReadPrompts | None:
    """The data set's own prompts as a frozen text encoder reads them; None where there are none,
    too many, or where it is trained. Outside the strategy's scope."""
    encoder = built.model.text_encoder
    if data.prompts is None or encoder is None or encoder.trainable:
        return None
    different = len(set(data.prompts))
    if different * settings.text.max_prompt * encoder.width * 2 > _MOST_READ:
        return None
    with counting("reading prompts", "prompt") as progress:
        return ReadPrompts(data.prompts, built.prompt_tokenizer, encoder, progress)


class Sentences(NamedTuple):
    """What the decoder is told in training.

    Attributes:
        images: float32 [N, V, S]. Of each training image, in each view.
        texts: function (positions [B], rng) -> float32 [B, S], of captions without images; None
            without any.
    """

    images: np.ndarray
    texts: Told | None


def learn_sentences(
    settings: Settings,
    built: Built,
    found: Retrieval,
    records: Sequence[Record],
    texts: Texts | None,
    progress: Callable[[int, int], None],
) -> Sentences:
    """Gives the model's sentence head what was fitted to the training images, and the model its
    neighbours.

    Args:
        settings: the run's.
        built: the model.
        found: what was fitted.
        records: the training images.
        texts: captions without images, or None.
        progress: told how many captions are embedded, and of how many.
    """
    fit, vectors = found.fit, found.vectors
    captions, _ = closed_form.captions_of([records[at] for at in found.kept])
    built.model.sentence_head.kernel.assign(fit.kernel)
    built.model.sentence_head.bias.assign(fit.bias)
    told = None
    if texts is not None:
        alone = embeddings(settings, built, texts.captions, progress)
        exact = sentences.of_others(alone, texts.images, fit.center)
        amount = settings.data.text_noise

        def told(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return sentences.noisy(exact[positions], amount, rng)

        captions, vectors = captions + texts.captions, np.concatenate([vectors, alone])
    if settings.model.neighbours:
        asked = sentences.unit(found.features @ fit.kernel + fit.bias)
        asked = asked.reshape(-1, vectors.shape[1])
        vectors = vectors - fit.center
        built.model.neighbours = _neighbours(settings, built, captions, vectors, asked)
    return Sentences(found.placed(fit.held_out, len(records)), told)


def _neighbours(
    settings: Settings,
    built: Built,
    captions: Sequence[str],
    vectors: np.ndarray,
    asked: np.ndarray,
) -> Neighbours:
    """A bank of these captions, each once; of too many, some; quick for the like of `asked`."""
    rows = np.array(sorted({text: row for row, text in enumerate(normalised(captions))}.values()))
    if len(rows) > _MOST_NEIGHBOURS:
        rng = np.random.default_rng(settings.train.seed)
        rows = np.sort(rng.choice(rows, _MOST_NEIGHBOURS, replace=False))
    tokens = built.tokenizer.encode([captions[row] for row in rows], settings.decode.max_tokens)
    nearest = settings.model.neighbours
    known = sentences.whitened(sentences.unit(vectors[rows]), settings.model.whitening)
    turn = leading_first(known, asked, nearest)
    return Neighbours(known, tokens[:, 1:], built.model.decoder.vocabulary, nearest, turn)
