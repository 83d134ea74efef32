"""Several objectives in one run: what is trained on, what is minimised, and how it is validated.

Legend: N images that captions belong to, M of them and wrong ones, B captions, R regions, D image
encoder width.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.joint import CAPTION, PAIR, JointBatches
from captioner.inputs.pairs import WrongImages
from captioner.inputs.pipeline import CachedImages, Examples, ReadImages
from captioner.learning import closed_form, contrastive, matching, pairs
from captioner.learning.closed_form import Retrieval
from captioner.learning.data import Images
from captioner.learning.loop import Stage
from captioner.learning.objectives import Losses, caption_loss
from captioner.learning.stages import read_prompts
from captioner.learning.validation import Validation
from captioner.models import towers
from captioner.models.joint import Built, Joint

# What the losses of the parts count, by the names of their tasks.
_UNITS = {"caption": "token", "contrastive": "caption", "matching": "pair"}

CURVES = ("joint", "CIDEr", "mean_recall", "mean_ROC_AUC")


class Objective:
    """The weighted sum of the parts' losses, each the mean over what it counts in the whole step:
    weights mean the same whatever the batch and the number of replicas.

    Parts without weight aren't computed. Labels are smoothed for captioning alone.

    Args:
        settings: the run's.
    """

    def __init__(self, settings: Settings):
        self._weights = {name: one for name, one in settings.joint.weights.items() if one}
        self._contrast = contrastive.objective(settings.contrastive)

    def __call__(
        self, model: Joint, batch, *, smoothing: float = 0.0, training: bool = True
    ) -> Losses:
        """On a batch of `inputs.joint.JointBatches`; every image and every caption goes through its
        encoder once."""
        features = model.see(batch["image"])  # [M, R, D]
        shown = tf.shape(batch["position"])[0]  # N
        about = {"image": features[:shown]}
        if "sentences" in batch:
            about["sentences"] = batch["sentences"][:shown]
        read = _named(batch, CAPTION)
        if "contrastive" in self._weights or "matching" in self._weights:
            read = model.read(read, training=training)
        found = {}
        if "caption" in self._weights:
            own = {
                name: one for name, one in batch.items() if not name.startswith((CAPTION, PAIR))
            }
            found["caption"] = caption_loss(
                model.captioner, own | about, smoothing=smoothing, training=training
            )
        if "contrastive" in self._weights:
            rows = {name: batch[name] for name in ("image_rows", "position")}
            compared = read | rows | {"image": about["image"]}
            found["contrastive"] = self._contrast(model.towers, compared, training=training)
        if "matching" in self._weights:
            told = {name: batch[name] for name in ("sentences",) if name in batch}
            judged = read | told | _named(batch, PAIR) | {"image": features}
            found["matching"] = matching.match_loss(model.matching, judged, training=training)
        examples = tf.cast(tf.shape(batch["tokens"])[0], tf.float32)
        return joined(found, self._weights, examples)


def _named(batch: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The columns whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): one for name, one in batch.items() if name.startswith(prefix)
    }


def joined(
    found: Mapping[str, Losses], weights: Mapping[str, float], examples: tf.Tensor
) -> Losses:
    """The weighted sum of means over the whole step.

    Args:
        found: of each part, the sums over a replica's share.
        weights: of each part.
        examples: captions of the share.

    Returns:
        Sums over a `count` of 1, to which the replicas' add up.
    """
    counts = {name: one.count for name, one in found.items()}
    context, replicas = tf.distribute.get_replica_context(), 1
    if context is not None and context.num_replicas_in_sync > 1:
        counts = context.all_reduce(tf.distribute.ReduceOp.SUM, counts)
        replicas = context.num_replicas_in_sync

    def mean(name: str, total: tf.Tensor) -> tf.Tensor:
        return tf.math.divide_no_nan(total, counts[name])

    nats = {name: mean(name, one.nats) for name, one in found.items()}
    return Losses(
        tf.add_n([weights[name] * mean(name, one.loss) for name, one in found.items()]),
        tf.constant(1 / replicas),
        tf.add_n([weights[name] * one for name, one in nats.items()]),
        examples,
        {_UNITS[name]: one for name, one in nats.items()},
    )


def fitted(
    settings: Settings,
    built: Built,
    train: Images,
    tell: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Retrieval | None:
    """Fits the retrieval model that heads begin with, and gives it to those two that compare; None
    where image features change in training and no head asks for it.

    Raises:
        CaptionerError: it is asked for, and image features change.
    """
    weights, own = settings.joint.weights, settings.matching
    wanted = {
        "model.sentence_head=true": settings.model.sentence_head,
        "contrastive.start=sentences": weights["contrastive"]
        and settings.contrastive.start == "sentences",
        "matching.start=sentences": weights["matching"] and own.start == "sentences",
        "matching.mined": weights["matching"] and own.mined,
    }
    asked = [name for name, one in wanted.items() if one]
    if not asked and not closed_form.stays(settings):
        return None
    instead = "contrastive.start=random, matching.start=random and matching.mined=0"
    how = (asked[0] if asked else "the similarity that matching is compared with", instead)
    found = closed_form.fitted(settings, built.caption, train, how, tell, progress)
    if settings.contrastive.start == "sentences":
        fit = found.fit
        towers.begin_with(built.contrastive.model, fit.kernel, fit.bias, fit.center)
    matching.begin(settings, built.matching, found, train.records)
    return found


def stages(
    settings: Settings,
    built: Built,
    train: Images,
    data: Examples,
    found: Retrieval | None,
    replicas: int,
) -> list[Stage]:
    """One: the training images with their captions, and with wrong ones.

    Args:
        settings: the run's.
        built: the model.
        train: the training images.
        data: their captions.
        found: what `fitted` gave.
        replicas: of the strategy.

    Raises:
        CaptionerError: there are no images, or one for pairs that need two.
    """
    weights = settings.joint.weights
    compares = weights["contrastive"] or weights["matching"]
    said = pairs.examples(train)  # the same captions, word for word
    read, wrong = None, None
    if compares:
        read = matching.reader(settings, built.matching, said)
    if weights["matching"]:
        if len(set(data.image)) < 2:
            raise CaptionerError(
                f"{settings.data.spec} has one readable training image: wrong pairs need two"
            )
        own = settings.matching
        nearest = None
        if own.mined:
            nearest = matching.hardest(found, said, own.hardest, settings.train.seed)
        wrong = WrongImages(said, own.negatives, own.mined, nearest)
    prompts = read_prompts(settings, built.caption, data) or built.caption.prompt_tokenizer
    made = JointBatches(
        data,
        _images(settings, built, train, found),
        batch_size=settings.train.batch_size,
        captions_per_image=settings.train.captions_per_image,
        replicas=replicas,
        prompt_share=settings.text.prompts,
        prompt_tokenizer=prompts if weights["caption"] else None,
        seed=settings.train.seed,
        texts=said.prompts,
        read=read,
        wrong=wrong,
    )
    return [Stage("epoch", made, settings.train.epochs, objective=Objective(settings))]


def _images(
    settings: Settings, built: Built, train: Images, found: Retrieval | None
) -> CachedImages | ReadImages:
    """The training images, with what sentence would describe each where a head is told: by the map
    of all the others."""
    if found is None:
        return train.source
    count, told, seen = len(train.records), None, train.source.cache
    if settings.model.sentence_head or settings.matching.start == "sentences":
        told = found.placed(found.fit.held_out, count)
    if not settings.joint.alpha and not built.matching.model.fusion.looks:
        seen = matching.Means(found.placed(found.features, count))
    return CachedImages(seen, told)


class JointValidation:
    """The dev images with the weights as they are, by every part that has weight in the loss.

    Args:
        settings: the run's.
        built: the model being trained.
        dev: the dev images.
    """

    def __init__(self, settings: Settings, built: Built, dev: Images):
        self._weights = {name: one for name, one in settings.joint.weights.items() if one}
        makers: dict[str, Callable[[], Any]] = {
            "caption": lambda: Validation(
                settings, built.caption, dev.records, dev.source, dev.unreadable
            ),
            "contrastive": lambda: pairs.Recall(built.contrastive, dev),
            "matching": lambda: matching.Validation(settings, built.matching, dev),
        }
        self._parts = {name: makers[name]() for name in self._weights}
        self.samples = self._parts["caption"].samples if "caption" in self._parts else None

    def scores(self) -> dict[str, float]:
        """`joint`, which training keeps the best of: the mean of what each part is validated by
        alone (CIDEr, mean recall, mean ROC AUC) by the weights of the losses; and their scores."""
        found = {name: part.scores() for name, part in self._parts.items()}
        firsts = {name: next(iter(scores.values())) for name, scores in found.items()}
        total = sum(weight * firsts[name] for name, weight in self._weights.items())
        joint = {"joint": total / sum(self._weights.values())}
        return joint | {key: one for scores in found.values() for key, one in scores.items()}
