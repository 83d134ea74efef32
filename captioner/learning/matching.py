"""What a model of image-text matching trains on, what it minimises, and how it is validated.

Legend: N images, V views, M captions, P pairs, K nearest wrong images, S text encoder width.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.files import batches
from captioner.inputs.pairs import DRAWN, HARD, Pair, PairBatches, judged_pairs, owners
from captioner.inputs.pipeline import CachedImages, Examples
from captioner.inputs.prompt_batches import ReadPrompts, TokenizedPrompts
from captioner.inputs.records import Record
from captioner.learning import closed_form, pairs, sentences
from captioner.learning.closed_form import Retrieval
from captioner.learning.data import Images
from captioner.learning.loop import Stage
from captioner.learning.objectives import Losses
from captioner.learning.stages import read_prompts
from captioner.metrics import matching
from captioner.models.matching import Built, begin_with

_IMAGES = 16
_TEXTS = 1000

# The nearest are looked for among so many images; more would be found no harder.
_MOST = 20_000

# Images by which a baseline's thresholds are chosen.
_SAMPLE = 1000

# The arrays of a baseline.
BASELINE = ("kernel", "bias", "center", "thresholds")

CURVES = ("mean_ROC_AUC", "accuracy", "hard_accuracy")


def match_loss(model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
    """Binary cross-entropy of pairs, on a batch of `inputs.pairs.PairBatches`; the wrong ones of a
    caption count together as much as the right one. `count` and `examples` are what pairs count."""
    logits = model(batch, training=training)
    right, weight = batch["right"], batch["weight"]
    aim = right * (1 - smoothing) + smoothing / 2
    loss, nats = (
        tf.reduce_sum(weight * tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        for labels in (aim, right)
    )
    count = tf.reduce_sum(weight)
    return Losses(loss, count, nats, count)


def stages(
    settings: Settings,
    built: Built,
    train: Images,
    replicas: int,
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Stage]:
    """One: the training captions with right and wrong images.

    Fits the retrieval model, of which nothing is trained, wherever image features stay as they are:
    it is the start of the model where `matching.start` wants one, finds the hardest wrong images
    where any are mined, and is what the run is compared with (`built.baseline`).

    Raises:
        CaptionerError: there are no images, or settings that can't be met.
    """
    own = settings.matching
    data = pairs.examples(train)
    if not len(data):
        raise CaptionerError(f"{settings.data.spec} has no readable training image")
    if len(np.unique(data.image)) < 2:
        raise CaptionerError(
            f"{settings.data.spec} has one readable training image: wrong pairs need two"
        )
    images, nearest = train.source, None
    if own.start == "sentences" or own.mined or closed_form.stays(settings):
        wanted = "matching.start=sentences" if own.start == "sentences" else "matching.mined"
        how = (wanted, "matching.start=random with matching.mined=0")
        found = closed_form.fitted(settings, built, train, how, tell, progress)
        count, told = len(train.records), None
        begin(settings, built, found, train.records)
        if own.start == "sentences":
            told = found.placed(found.fit.held_out, count)
        seen = images.cache
        if not built.model.fusion.looks:
            seen = Means(found.placed(found.features, count))
        images = CachedImages(seen, told)
        if own.mined:
            nearest = hardest(found, data, own.hardest, settings.train.seed)
    made = PairBatches(
        data,
        images,
        reader(settings, built, data),
        batch_size=settings.train.batch_size,
        negatives=own.negatives,
        mined=own.mined,
        nearest=nearest,
        replicas=replicas,
        seed=settings.train.seed,
    )
    return [Stage("epoch", made, settings.train.epochs, objective=match_loss, unit="pair")]


def begin(
    settings: Settings, built: Built, found: Retrieval, records: Sequence[Record]
) -> None:
    """Gives the model the start that `matching.start=sentences` names, and the run its baseline.

    Args:
        settings: the run's.
        built: the model.
        found: the fitted retrieval model.
        records: the training images.
    """
    built.baseline.update(baseline(found, [records[at].captions for at in found.kept]))
    if settings.matching.start == "sentences":
        begin_with(built.model, found.fit.kernel, found.fit.bias, found.fit.center)


class Means:
    """The mean region of every image, in the place of a `FeatureCache` for models that look at no
    more: 49 times less to read and to hold.

    Args:
        means: float32 [N, V, D].
    """

    def __init__(self, means: np.ndarray):
        self._table = means.astype(np.float16)
        self.views = means.shape[1]

    def rows(self, images: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """float16 [n, 1, D] of n images, each in one of its views."""
        return self._table[images, views][:, None]


def reader(settings: Settings, built: Built, data: Examples) -> TokenizedPrompts | ReadPrompts:
    """Texts as the model takes them: read once by a text encoder that stays as it is."""
    read = read_prompts(settings, built, data)
    return TokenizedPrompts(built.prompt_tokenizer) if read is None else read


def similarities(found: Retrieval, captions: slice, images: np.ndarray) -> np.ndarray:
    """Of captions with images, each as the map of all the others sees it: float32 [m, n].

    Args:
        found: the fitted map.
        captions: which of M.
        images: which of the N that were fitted to.
    """
    texts = sentences.unit(found.vectors[captions] - found.fit.center)
    return texts @ found.fit.held_out[images, 0].T  # the plain view


def hardest(found: Retrieval, data: Examples, count: int, seed: int = 0) -> np.ndarray:
    """The nearest wrong images of each training caption: int64 [M, K], positions as in `data`, the
    nearest first, and -1 where there are no more."""
    rng = np.random.default_rng(seed)
    places = np.arange(len(found.kept))
    if len(places) > _MOST:
        places = np.sort(rng.choice(places, _MOST, replace=False))
    at = {int(image): column for column, image in enumerate(found.kept[places])}
    owned = owners(data.texts, data.image)
    nearest = np.full((len(data), min(count, len(places))), -1, np.int64)
    for part in batches(len(data), _TEXTS):
        similar = similarities(found, part, places)
        for row, own in enumerate(owned[part]):
            similar[row, [at[image] for image in own if image in at]] = -np.inf
        order = np.argsort(-similar, axis=1, kind="stable")[:, : nearest.shape[1]]
        there = np.isfinite(np.take_along_axis(similar, order, 1))
        nearest[part] = np.where(there, found.kept[places[order]], -1)
    return nearest


def baseline(found: Retrieval, captions: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The retrieval model as one that says yes or no, from the similarity on at which most training
    pairs are judged rightly, each image seen through the map of all the others.

    Args:
        found: the fitted map.
        captions: those of its N images.

    Returns:
        `kernel`, `bias` and `center` as `sentences.Fit` has them, and `thresholds` [2]: beside
        drawn wrong pairs and beside hard ones.
    """
    rng = np.random.default_rng(0)
    taken = np.sort(rng.permutation(len(captions))[:_SAMPLE])
    drawn = judged_pairs([captions[at] for at in taken])
    mine = np.isin(found.owner, taken)
    said = [text for at in taken for text in captions[at]]
    texts = dict(zip(said, sentences.unit(found.vectors[mine] - found.fit.center), strict=True))
    images = found.fit.held_out[taken, 0]  # the plain view
    similar = np.array([texts[one.text] @ images[one.image] for one in drawn])
    at = [matching.best_threshold(*against(drawn, similar, kind)) for kind in (DRAWN, HARD)]
    fit = found.fit
    return dict(zip(BASELINE, (fit.kernel, fit.bias, fit.center, np.array(at)), strict=True))


def against(
    drawn: Sequence[Pair], scored: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the right pairs and of one kind of wrong ones, and which are right."""
    kinds = np.array([one.kind for one in drawn])
    other = HARD if kind == DRAWN else DRAWN
    kept = kinds != other
    return np.asarray(scored)[kept], kinds[kept] != kind


def figures(
    drawn: Sequence[Pair], scored: np.ndarray, thresholds: tuple[float, float] = (0.5, 0.5)
) -> dict:
    """Scores against drawn wrong pairs, and under `hard` those against the hardest.

    Args:
        drawn: what was judged.
        scored: probabilities or similarities [P].
        thresholds: from where on it is a yes, beside drawn wrong pairs and beside hard ones.
    """
    found = {}
    for kind, at in zip((DRAWN, HARD), thresholds, strict=True):
        made = matching.scores(*against(drawn, scored, kind), at)
        found |= made if kind == DRAWN else {HARD: made}
    return found


class Validation:
    """The judged pairs of the dev images with the weights as they are.

    Args:
        settings: the run's.
        built: the model being trained.
        dev: the dev images.
    """

    def __init__(self, settings: Settings, built: Built, dev: Images):
        self._rows = np.array([at for at in range(len(dev.records)) if at not in dev.unreadable])
        self._source = dev.source
        self._pairs = judged_pairs([dev.records[at].captions for at in self._rows])
        self._prompts = reader(settings, built, pairs.examples(dev))
        model = built.model

        def judged(images, texts, image_rows, text_rows):
            return model.judge(model.see(images), model.read(texts), image_rows, text_rows)

        rows = tf.TensorSpec([None], tf.int32)
        spec = [dev.source.spec["image"], self._prompts.spec, rows, rows]
        self._judge = tf.function(judged, input_signature=spec, autograph=False)

    def scores(self) -> dict[str, float]:
        """The mean of both areas under the ROC curve, which training keeps the best of, and some
        of what it is the mean of."""
        rng = np.random.default_rng(0)  # dev images have one view: it decides nothing
        logits = np.zeros(len(self._pairs), np.float32)
        image = np.array([one.image for one in self._pairs])
        for part in batches(len(self._rows), _IMAGES):
            rows = np.flatnonzero((image >= part.start) & (image < part.stop))
            texts = sorted({self._pairs[row].text for row in rows})
            place = {text: at for at, text in enumerate(texts)}
            logits[rows] = self._judge(
                self._source(self._rows[part], rng)["image"],
                {name: tf.constant(one) for name, one in self._prompts(texts).items()},
                tf.constant(image[rows] - part.start, tf.int32),
                tf.constant([place[self._pairs[row].text] for row in rows], tf.int32),
            ).numpy()
        found = figures(self._pairs, logits, (0.0, 0.0))
        hard = found[HARD]
        return {
            "mean_ROC_AUC": (found["ROC_AUC"] + hard["ROC_AUC"]) / 2,
            "ROC_AUC": found["ROC_AUC"],
            "accuracy": found["accuracy"],
            "hard_ROC_AUC": hard["ROC_AUC"],
            "hard_accuracy": hard["accuracy"],
        }
