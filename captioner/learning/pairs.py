"""What two towers train on and are validated with: images, and the captions that belong to them.

Legend: N images, M captions.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.files import batches
from captioner.inputs.pipeline import Batches, Examples
from captioner.learning import closed_form
from captioner.learning.contrastive import objective
from captioner.learning.data import Images
from captioner.learning.loop import Stage
from captioner.metrics import retrieval
from captioner.models.towers import Built, begin_with, trimmed

_BATCH = 64


def stages(settings: Settings, built: Built, train: Images, replicas: int) -> list[Stage]:
    """One: the training images and their captions.

    Raises:
        CaptionerError: there are none, or a step would have a single image.
    """
    data = examples(train)
    if not len(data):
        raise CaptionerError(f"{settings.data.spec} has no readable training image")
    made = Batches(
        data,
        train.source,
        batch_size=settings.train.batch_size,
        captions_per_image=settings.train.captions_per_image,
        replicas=replicas,
        prompt_tokenizer=built.prompt_tokenizer,
        positions=True,
        seed=settings.train.seed,
    )
    return [
        Stage(
            "epoch",
            made,
            settings.train.epochs,
            objective=objective(settings.contrastive),
            unit="caption",
        )
    ]


def examples(train: Images) -> Examples:
    """Captions as what the text encoder reads; there is no decoder that would write them."""
    kept = [(at, one) for at, one in enumerate(train.records) if at not in train.unreadable]
    captions = [caption for _, record in kept for caption in record.captions]
    return Examples(
        image=np.array([at for at, record in kept for _ in record.captions], np.int64),
        tokens=np.zeros((len(captions), 1), np.int32),
        texts=captions,
        prompts=captions,
    )


def start(
    settings: Settings,
    built: Built,
    train: Images,
    tell: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> None:
    """Gives the projections the start that `contrastive.start=sentences` names: a map of images to
    their captions' embeddings in closed form (`learning.sentences`).

    Raises:
        CaptionerError: the image encoder changes in training, or there are fewer than two images.
    """
    how = ("contrastive.start=sentences", "contrastive.start=random")
    fit = closed_form.fitted(settings, built, train, how, tell, progress).fit
    begin_with(built.model, fit.kernel, fit.bias, fit.center)


class Recall:
    """Retrieval among the dev images with the weights as they are.

    Args:
        built: the towers being trained.
        dev: the dev images.
    """

    def __init__(self, built: Built, dev: Images):
        self._rows = np.array([at for at in range(len(dev.records)) if at not in dev.unreadable])
        self._source = dev.source
        kept = [dev.records[at] for at in self._rows]
        self._captions, self._owner = closed_form.captions_of(kept)
        model, tokenizer = built.model, built.prompt_tokenizer

        def texts(given):
            return model.embed_texts(trimmed(tokenizer(given)))

        spec = [tf.TensorSpec([None], tf.string)]
        self._texts = tf.function(texts, input_signature=spec, autograph=False)
        self._images = tf.function(
            model.embed_images, input_signature=[dev.source.spec["image"]], autograph=False
        )

    def scores(self) -> dict[str, float]:
        """The mean of the six recalls, which training keeps the best of, and some of them."""
        rng = np.random.default_rng(0)  # dev images have one view: it decides nothing
        images = [
            self._images(self._source(self._rows[part], rng)["image"]).numpy()
            for part in batches(len(self._rows), _BATCH)
        ]
        texts = [
            self._texts(tf.constant(self._captions[part])).numpy()
            for part in batches(len(self._captions), _BATCH)
        ]
        found = retrieval.scores(np.concatenate(images), np.concatenate(texts), self._owner)
        names = ("text_to_image_R@1", "text_to_image_R@10", "image_to_text_R@10")
        return {"mean_recall": retrieval.mean_recall(found)} | {one: found[one] for one in names}
