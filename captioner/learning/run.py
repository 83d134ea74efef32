"""A run from beginning to end: data, features, model, training, scores, export."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from captioner import about, config, evaluation, pretrained
from captioner.config import Settings
from captioner.config.freezing import STAGES
from captioner.decoding.captions import check
from captioner.errors import CaptionerError
from captioner.inputs import readers
from captioner.inputs.features import find_unreadable, open_features
from captioner.inputs.pipeline import CachedImages, ReadImages, examples
from captioner.inputs.records import DataSet, Record, check_unreadable
from captioner.inputs.text import learn_vocabulary, load_vocabulary, save_vocabulary
from captioner.inputs.texts import Texts, read_texts
from captioner.learning.distribution import is_chief, strategy
from captioner.learning.loop import Stage, Trainer
from captioner.learning.reports import Report
from captioner.learning.stages import learn_sentences, make_stages
from captioner.learning.validation import Validation
from captioner.loading import load, newest_version
from captioner.models import neighbours
from captioner.models.build import Built, build
from captioner.models.folded import FoldedResNet50
from captioner.serving.exporting import export
from captioner.serving.trained import load_trained

# The name of config.json and vocabulary.txt while they are written.
_BEGINNING = ".beginning"


def tell(text: str) -> None:
    """Progress goes to standard error."""
    tqdm.write(text, file=sys.stderr)


@contextlib.contextmanager
def counting(label: str, unit: str = "image") -> Iterator[Callable[[int, int], None]]:
    """Gives a function (done, total) that shows a bar from its first call on, a new one for each
    total."""
    with contextlib.ExitStack() as stack:
        bars: list[tqdm] = []

        def progress(done: int, total: int) -> None:
            if not bars or bars[-1].total != total:  # of something else
                bars.append(stack.enter_context(tqdm(total=total, desc=label, unit=unit)))
            bars[-1].update(done - bars[-1].n)

        yield progress


def train(settings: Settings, run: Path, exports: Path) -> dict[str, Any]:
    """Trains a run, or continues it; evaluates and exports it at the end.

    Args:
        settings: all of them; the same for a run that is continued.
        run: the run folder.
        exports: where the next numbered version goes.

    Returns:
        {"scores": …, "export": path, "examples": [(record, caption), …], "finished_before": bool}.

    Raises:
        CaptionerError: other settings than the run was begun with, or bad data.
        Interrupted: stopped by the user, after saving.
    """
    fresh = _check_run(run, settings)
    scores = _finished(run)
    if scores is not None:
        return {"scores": scores, "export": newest_version_of(exports), "finished_before": True}
    if not fresh:
        tell(f"continuing {run}")
    where = strategy(settings.train.distribution)
    chief = is_chief(where)
    data = read_data(settings)
    tell(data.describe())
    texts = _read_texts(settings)
    # The decoder has the words that it learns to say.
    read = texts.captions if texts and settings.data.text_epochs else []
    vocabulary = _vocabulary(run, settings, data.split("train"), read)
    with where.scope():
        built = build(settings, vocabulary)
    check(settings.decode, built.tokenizer)
    stages, validation = _prepare(settings, where, built, data, texts)
    # Only now, so that data that can't be trained on leaves no run folder in the way.
    if chief:
        _begin_run(run, settings, vocabulary)
        if built.model.neighbours is not None and not (run / neighbours.FILE).is_file():
            temporary = run / _BEGINNING
            built.model.neighbours.save(temporary)
            temporary.rename(run / neighbours.FILE)
    report = Report(run, validation.samples if validation else None) if chief else None
    trainer = Trainer(
        built.model,
        settings.train,
        where,
        stages,
        run,
        validation.scores if validation else None,
        report,
        tell,
    )
    progress = trainer.fit()
    if not chief:
        return {"scores": None, "export": None, "finished_before": False}
    report.close(progress.validations)
    return finish(run, settings, data, exports)


def finish(run: Path, settings: Settings, data: DataSet, exports: Path) -> dict[str, Any]:
    """Scores the best weights on images that training never saw, and exports them."""
    split = next((name for name in ("test", "dev", "train") if data.split(name)), "train")
    if split != "test":
        tell(f"no test images: the scores are those of {split}, which flatters them")
    tell(f"captioning {len(data.split(split))} {split} images")
    model = load(run)
    outcome = evaluation.evaluate(
        model,
        data.split(split),
        settings.data.unreadable_limit,
        training=[text for record in data.split("train") for text in record.captions],
    )
    conditions = evaluation.conditions(model, settings.data.spec, split)
    conditions["trained_on"] = about.trained_on(data)
    scores = outcome.scores | {"settings": conditions}
    facts = about.of_run(run, settings, scores)
    version = export(load_trained(run), settings, exports, facts)
    # Last, because it is what says that the run is finished.
    evaluation.write_json(run / "scores.json", scores)
    return {
        "scores": scores,
        "export": version,
        "examples": outcome.captioned,
        "finished_before": False,
    }


def newest_version_of(exports: Path) -> Path | None:
    """The newest export, None where there is none."""
    return newest_version(exports) if exports.is_dir() else None


# The run folder.


def _check_run(run: Path, settings: Settings) -> bool:
    """Whether the run is to be begun; False where it is there already.

    Raises:
        CaptionerError: another run's folder, or a folder with other things in it.
    """
    path = run / "config.json"
    if path.is_file():
        found = config.differences(config.load(path), settings)
        if found:
            raise CaptionerError(
                f"{run} is a run with other settings ({'; '.join(found[:5])}): "
                "name another --run, or give the settings it was begun with"
            )
        return False
    # Half a beginning is none: another worker may be at it, or one was killed.
    if run.is_file() or (run.is_dir() and any(p for p in run.iterdir() if p.name != _BEGINNING)):
        raise CaptionerError(f"{run} exists and is no run folder: name another --run")
    return True


def _begin_run(run: Path, settings: Settings, vocabulary: Sequence[str]) -> None:
    """Makes the run folder with its settings and vocabulary, those that aren't there."""
    run.mkdir(parents=True, exist_ok=True)
    temporary = run / _BEGINNING
    if not (run / "config.json").is_file():
        temporary.write_text(settings.dump(), encoding="utf-8")
        temporary.rename(run / "config.json")
    if not (run / "vocabulary.txt").is_file():
        save_vocabulary(vocabulary, temporary)
        temporary.rename(run / "vocabulary.txt")


def _finished(run: Path) -> dict[str, Any] | None:
    """A finished run's scores."""
    path = run / "scores.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CaptionerError(
            f"{path} is damaged ({error}); remove it to have the run scored and exported again"
        ) from None


def _vocabulary(
    run: Path, settings: Settings, records: Sequence[Record], texts: Sequence[str]
) -> list[str]:
    """The run's vocabulary, learned where it has none yet."""
    path = run / "vocabulary.txt"
    if path.is_file():
        return load_vocabulary(path)
    if not records:
        raise CaptionerError(
            f"{settings.data.spec} has no training images: its split column or lists must name "
            "some `train`"
        )
    captions = [caption for record in records for caption in record.captions]
    vocabulary = learn_vocabulary([*captions, *texts], settings.text.vocabulary)
    tell(f"vocabulary: {len(vocabulary)} WordPieces from {len(captions) + len(texts)} captions")
    return vocabulary


# Data.


def read_data(settings: Settings) -> DataSet:
    """The data set, with one line on standard error about what had to be left out."""
    with counting("drawing pictures") as progress:
        data = readers.read(
            settings.data.spec,
            images=settings.data.images,
            cache=settings.data.folder,
            progress=progress,
        )
    if data.problems:
        tell(f"left out: {data.problems.summary()}")
    return data


def _read_texts(settings: Settings) -> Texts | None:
    """The captions of `data.text`, with one line about what had to be left out."""
    if settings.data.text is None:
        return None
    texts = read_texts(settings.data.text)
    if texts.problems:
        tell(f"left out of {settings.data.text}: {texts.problems.summary()}")
    return texts


def _dev_records(settings: Settings, data: DataSet) -> list[Record]:
    """The dev images that validations caption: the first by hash, so that adding images to a data
    set changes few of them."""
    records = data.split("dev")
    ordered = sorted(records, key=lambda one: hashlib.sha256(one.id.encode()).digest())
    return ordered[: settings.train.validation_images]


def _features(settings: Settings, built: Built, records: Sequence[Record], views: int, what: str):
    """The feature cache of these records."""
    encoder = built.model.image_encoder
    side = settings.model.image_side
    fingerprint = pretrained.fingerprint(pretrained.image_weights(settings.model.image_weights))
    if fingerprint == "none":  # random weights are those of the seed
        fingerprint = f"random {settings.train.seed}"
    if encoder.begun < len(STAGES):
        fingerprint += f", {encoder.begun} stages"
    encode = tf.function(
        FoldedResNet50(encoder.net, encoder.begun),
        input_signature=[tf.TensorSpec([None, side, side, 3], tf.uint8)],
        autograph=False,
    )
    with counting(f"{what} features") as progress:
        return open_features(
            records,
            encode,
            folder=settings.data.folder / "cache" / "features",
            shape=encoder.begun_shape,
            side=side,
            fingerprint=fingerprint,
            views=views,
            seed=settings.train.seed,
            progress=progress,
        )


def _prepare(
    settings: Settings,
    where: tf.distribute.Strategy,
    built: Built,
    data: DataSet,
    texts: Texts | None,
) -> tuple[list[Stage], Validation | None]:
    """What to train on, and what to validate with, where there are dev images."""
    records, dev = data.split("train"), _dev_records(settings, data)
    images, unreadable = _images(settings, built, records, settings.data.views, "train")
    dev_images, dev_unreadable = _images(settings, built, dev, 1, "dev")
    bad = [
        f"{some[row].image.name}: {why}"
        for some, found in ((records, unreadable), (dev, dev_unreadable))
        for row, why in found.items()
    ]
    check_unreadable(data.problems, bad, len(records) + len(dev), settings.data.unreadable_limit)
    if bad:
        tell(f"left out: {data.problems.summary()}")
    train_data = examples(records, built.tokenizer, settings.decode.max_tokens, set(unreadable))
    if not len(train_data):
        raise CaptionerError(f"{settings.data.spec} has no readable training image")
    replicas = where.num_replicas_in_sync
    told = None
    if built.model.sentence_head is not None:
        # Outside the strategy's scope, in which a Hub's encoder can't be run.
        with counting("embedding captions", "caption") as progress:
            known = learn_sentences(
                settings, built, images.cache, records, set(unreadable), texts, tell, progress
            )
        images, told = CachedImages(images.cache, known.images), known.texts
    stages = make_stages(settings, built, records, train_data, images, texts, told, replicas)
    if len(dev_unreadable) == len(dev):
        tell("no dev images: the last weights are kept, not the best")
        return stages, None
    return stages, Validation(settings, built, dev, dev_images, set(dev_unreadable))


def _images(
    settings: Settings, built: Built, records: Sequence[Record], views: int, what: str
) -> tuple[CachedImages | ReadImages, dict[int, str]]:
    """Images as the settings want them, and those that can't be read: position and reason."""
    if settings.data.cache_features:
        cache = _features(settings, built, records, views, what)
        return CachedImages(cache), cache.unreadable
    with counting(f"checking {what} images") as progress:
        unreadable = find_unreadable(records, settings.model.image_side, progress)
    augment = settings.data.augment and what == "train"
    return ReadImages(records, settings.model.image_side, augment), unreadable
