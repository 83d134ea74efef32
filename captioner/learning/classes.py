"""What a classifier trains on and is validated with: images, and the names of their classes.

Legend: N images, C classes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.files import batches
from captioner.inputs.pipeline import Batches, Examples
from captioner.inputs.records import DataSet, Problems, Record
from captioner.learning.data import Images, tell
from captioner.learning.loop import Stage
from captioner.learning.objectives import Likelihood, Predicted
from captioner.metrics import classification
from captioner.models.classifier import Built

_BATCH = 64

# Those of `Accuracy.scores`, to draw.
CURVES = ("accuracy", "macro_F1")


def class_logits(model, batch, training: bool) -> Predicted:
    """The choice of a class, on a batch whose `tokens` [N, 1] are classes; a term an image."""
    logits, targets = model(batch["image"], training=training), batch["tokens"][:, 0]
    return Predicted(logits, targets, tf.cast(tf.shape(targets)[0], tf.float32))


class_loss = Likelihood(class_logits)


def of_one_class(records: Sequence[Record], problems: Problems) -> list[Record]:
    """The records with one caption, a class's name; the others are counted."""
    for record in records:
        if len(record.captions) != 1:
            problems.add("images of several classes, or with several captions", record.id)
    return [record for record in records if len(record.captions) == 1]


def names(data: DataSet) -> list[str]:
    """The names of the classes that training has images of, in the alphabet's order.

    Raises:
        CaptionerError: there are fewer than two, or no more classes than images.
    """
    train = data.split("train")
    found = Counter(record.captions[0] for record in of_one_class(train, Problems()))
    where = data.name
    if len(found) < 2:
        some = f"one class ({next(iter(found))})" if found else "no images of one class"
        raise CaptionerError(
            f"{where} has {some} in training: classification reads classes:DIR (a folder for each "
            "of two classes or more), tfds:NAME with labels, demo, or csv:FILE and jsonl:FILE with "
            "names of classes for captions, one an image"
        )
    if len(found) == found.total():
        raise CaptionerError(
            f"{where} has {len(found)} classes for as many training images, {next(iter(found))!r} "
            "among them: these are captions, and no classes"
        )
    return sorted(found)


def labels(records: Sequence[Record], classes: Sequence[str]) -> np.ndarray:
    """int64 [N]: each record's class, -1 where it has another than these."""
    places = {name: place for place, name in enumerate(classes)}
    known = [
        places.get(record.captions[0], -1) if len(record.captions) == 1 else -1
        for record in records
    ]
    return np.array(known, np.int64)


def stages(settings: Settings, built: Built, train: Images, replicas: int) -> list[Stage]:
    """One: the training images.

    Raises:
        CaptionerError: none can be read.
    """
    truth = labels(train.records, built.classes)
    kept = [at for at, one in enumerate(truth) if one >= 0 and at not in train.unreadable]
    if not kept:
        raise CaptionerError(f"{settings.data.spec} has no readable training image")
    lost = set(built.classes) - {built.classes[truth[at]] for at in kept}
    if lost:
        tell(f"without a readable training image: {', '.join(sorted(lost))}")
    texts = [built.classes[truth[at]] for at in kept]
    data = Examples(
        image=np.array(kept, np.int64),
        tokens=truth[kept].astype(np.int32)[:, None],
        texts=texts,
        prompts=[""] * len(texts),
    )
    made = Batches(
        data,
        train.source,
        batch_size=settings.train.batch_size,
        captions_per_image=1,
        replicas=replicas,
        seed=settings.train.seed,
    )
    return [Stage("epoch", made, settings.train.epochs, objective=class_loss, unit="image")]


class Accuracy:
    """Scores of the dev images with the weights as they are.

    Args:
        built: the classifier being trained.
        dev: the dev images; those of classes that training doesn't have are passed over.
    """

    def __init__(self, built: Built, dev: Images):
        truth = labels(dev.records, built.classes)
        rows = [at for at, one in enumerate(truth) if one >= 0 and at not in dev.unreadable]
        self._rows = np.array(rows, np.int64)
        self._truth = truth[self._rows]
        self._names = built.classes
        self._source = dev.source
        self._choose = tf.function(
            lambda images: tf.argmax(built.model(images), -1),
            input_signature=[dev.source.spec["image"]],
            autograph=False,
        )

    def __bool__(self) -> bool:
        return len(self._rows) > 0

    def scores(self) -> dict[str, float]:
        """Accuracy, which training keeps the best of, and macro F1."""
        rng = np.random.default_rng(0)  # dev images have one view: it decides nothing
        found = [
            self._choose(self._source(self._rows[part], rng)["image"]).numpy()
            for part in batches(len(self._rows), _BATCH)
        ]
        matrix = classification.confusion(self._truth, np.concatenate(found), len(self._names))
        made = classification.scores(matrix, self._names)
        return {name: made[name] for name in CURVES}
