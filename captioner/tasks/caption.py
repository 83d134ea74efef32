"""Captioning: an image, and a prompt if there is one, to a sentence."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from captioner import confidence, config, evaluation
from captioner.captioning import Captioner
from captioner.config import Settings
from captioner.decoding.captions import check
from captioner.errors import CaptionerError
from captioner.inputs.pipeline import CachedImages, Examples, examples
from captioner.inputs.records import DataSet, Record
from captioner.inputs.text import learn_vocabulary, load_vocabulary, save_vocabulary
from captioner.inputs.texts import Texts, read_texts
from captioner.learning import closed_form
from captioner.learning.data import (
    Images,
    check_training,
    counting,
    prepare_images,
    read_data,
    tell,
)
from captioner.learning.distillation import Teacher
from captioner.learning.stages import learn_sentences, make_stages
from captioner.learning.validation import Validation
from captioner.models import neighbours
from captioner.models.build import Built, build, load_run_vocabulary
from captioner.models.neighbours import Neighbours
from captioner.serving import card_caption, signatures
from captioner.serving.contract import SIGNATURES
from captioner.tasks import Plan, Task, teaching
from captioner.tasks.calling import caller

_VOCABULARY = "vocabulary.txt"

HOW = ("model.sentence_head=true", "model.sentence_head=false with model.neighbours=0")
"""The setting that has a sentence head fitted, and what does without, for messages."""


class Begun(NamedTuple):
    """What is known of the data before there is a model.

    Attributes:
        vocabulary: the decoder's pieces.
        texts: captions without images, or None.
    """

    vocabulary: list[str]
    texts: Texts | None


class Opening(NamedTuple):
    """A run or an export, on its way to what `captioner.load` gives.

    Attributes:
        folder: the run's, or the version's.
        functions: the signatures.
        settings, keep, calibration, weights: as `Captioner` takes them.
        about: what an export says about itself; None of a run.
    """

    folder: Path
    functions: Mapping[str, Callable]
    settings: dict[str, Any]
    keep: Any
    calibration: confidence.Calibration | None
    weights: str | None = None
    about: Mapping[str, Any] | None = None


class Captioning(Task):
    """See `captioner.tasks.Task`."""

    name = "caption"
    distils = True
    signatures = SIGNATURES
    evaluate_options = frozenset(
        ("prompts", "against", "deletion", "predictions", "report", "rows", "seed")
    )
    predict_options = frozenset(("prompt", "beams", "overrides", "min_confidence", "attention"))

    # A run.

    def begin(self, settings: Settings, run: Path, data: DataSet) -> Begun:
        teaching.check(settings)
        texts = _read_texts(settings)
        # The decoder has the words that it learns to say.
        read = texts.captions if texts and settings.data.text_epochs else []
        return Begun(_vocabulary(run, settings, data.split("train"), read), texts)

    def build(self, settings: Settings, begun: Begun) -> Built:
        built = build(settings, begun.vocabulary)
        return dataclasses.replace(built, teacher=teaching.load(settings))

    def plan(
        self, settings: Settings, built: Built, begun: Begun, data: DataSet, replicas: int
    ) -> Plan:
        if built.tokenizer is not None:
            check(settings.decode, built.tokenizer)
        train, dev = prepare_images(
            settings, built.model.image_encoder, data, built.teacher
        )
        made = self.examples(settings, built, train)
        if not len(made):
            raise CaptionerError(f"{settings.data.spec} has no readable training image")
        images, told = train.source, None
        if built.model.sentence_head is not None:
            # Outside the strategy's scope, in which a Hub's encoder can't be run.
            with counting("embedding captions", "caption") as progress:
                found = closed_form.fitted(settings, built, train, HOW, tell, progress)
                known = learn_sentences(
                    settings, built, found, train.records, begun.texts, progress
                )
            images = CachedImages(images.cache, known.images, images.teacher)
            told = known.texts
        if built.teacher is not None and isinstance(images, CachedImages):
            images = _taught(settings, built.teacher, images, train)
        stages = make_stages(
            settings, built, train.records, made, images, begun.texts, told, replicas
        )
        if not dev.readable:
            return Plan(stages)
        validation = self.validation(settings, built, dev)
        return Plan(stages, validation.scores, validation.samples, validation.curves)

    def examples(self, settings: Settings, built: Built, train: Images) -> Examples:
        """What there is to train on about the training images."""
        return examples(
            train.records, built.tokenizer, settings.decode.max_tokens, train.unreadable
        )

    def validation(self, settings: Settings, built: Built, dev: Images) -> Any:
        """What scores the dev images: `scores` and `samples` as `Plan` has them, and `curves`."""
        return Validation(settings, built, dev.records, dev.source, dev.unreadable)

    def files(self, built: Built, begun: Begun) -> Mapping[str, Callable[[Path], None]]:
        made = {_VOCABULARY: lambda path: save_vocabulary(begun.vocabulary, path)}
        if built.model.neighbours is not None:
            made[neighbours.FILE] = built.model.neighbours.save
        return made

    def restore(self, settings: Settings, run: Path) -> Built:
        built = build(settings, load_run_vocabulary(run), load=False)
        self.find_neighbours(settings, run, built)
        return built

    def find_neighbours(self, settings: Settings, run: Path, built: Built) -> None:
        """Gives a model the near captions of its run folder, if it has any."""
        if settings.model.neighbours:
            built.model.neighbours = Neighbours.load(
                run / neighbours.FILE, built.model.decoder.vocabulary, settings.model.neighbours
            )

    def score(
        self, settings: Settings, run: Path, data: DataSet, split: str
    ) -> tuple[dict[str, Any], Any]:
        tell(f"captioning {len(data.split(split))} {split} images")
        model = self.open_run(settings, run)
        outcome = evaluation.evaluate(
            model,
            data.split(split),
            settings.data.unreadable_limit,
            training=[text for record in data.split("train") for text in record.captions],
        )
        conditions = evaluation.conditions(model, settings.data.spec, split)
        return outcome.scores | {"settings": conditions}, outcome.captioned

    def show(self, scores: dict[str, Any], seen: Any) -> str:
        from captioner.tasks.caption_commands import summary

        return summary(scores, seen)

    # An export.

    def serve(
        self, settings: Settings, built: Built, storage: str = "float32", precision: str = "float32"
    ) -> tf.Module:
        return signatures.ServedCaptioner(
            built, settings.decode, settings.model.image_side, storage, precision
        )

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        return card_caption.parts(facts)

    # Use.

    def open_run(
        self,
        settings: Settings,
        folder: Path,
        beams: int | None = None,
        overrides: Sequence[str] = (),
    ) -> Captioner:
        from captioner.serving.trained import load_trained

        if beams is not None:
            overrides = [*overrides, f"decode.beams={beams}"]
        if overrides:
            settings = config.changed(settings, overrides, sections=("decode",))
        decode = settings.decode
        served = self.serve(settings, load_trained(folder))
        calibration = confidence.read(folder / confidence.FILE)
        weights = confidence.fingerprint(folder) if calibration else None
        dumped = decode.model_dump(mode="json")  # as an export's come out of its file
        return self.opened(
            Opening(folder, served.functions, dumped, served, calibration, weights)
        )

    def open_export(
        self, folder: Path, saved: Any, about: dict[str, Any], beams: int | None = None
    ) -> Captioner:
        functions = dict(saved.signatures)
        _, most, tokens = functions["caption_beams"].structured_outputs["tokens"].shape
        if beams is not None and not 1 <= beams <= most:
            raise CaptionerError(
                f"{folder} searches {most} beams, which is part of its graph; ask for 1 to "
                f"{most}, or export the run with --set decode.beams={beams}"
            )
        settings = {**about.get("decode", {}), "beams": most, "max_tokens": tokens}
        try:
            known = about.get("calibration")
            calibration = None if known is None else confidence.parse(known)
        except ValueError:  # damaged, or another version's: captioning goes without
            calibration = None
        return self.opened(
            Opening(folder, functions, settings, saved, calibration, about=about)
        )

    def opened(self, found: Opening, kind: type[Captioner] = Captioner, **more: Any) -> Captioner:
        """What `captioner.load` gives, over the signatures of a run or an export.

        Args:
            found: all that is known of it.
            kind: what is made of it.
            **more: what `kind` takes besides.
        """
        return kind(
            found.folder, caller(found.functions), found.settings, calibration=found.calibration,
            weights=found.weights, keep=found.keep, **more,
        )  # fmt: skip

    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        from captioner.tasks import caption_commands as commands

        commands.prepare(arguments)
        model, data = commands.opened(arguments), read_data(settings)
        scores = commands.evaluate(arguments, settings, model, data)
        if arguments.scores:
            evaluation.write_json(arguments.scores, scores)

    def predict(self, arguments: argparse.Namespace, images: Sequence[str]) -> int:
        from captioner.predicting import predict

        return predict(arguments, images)


def _taught(
    settings: Settings, teacher: Teacher, images: CachedImages, train: Images
) -> CachedImages:
    """The same images, of which a teacher with a sentence head is told what it was told when it
    was trained."""
    if teacher.built.model.sentence_head is None:
        return images
    theirs = teacher.settings.model_copy(update={"data": settings.data})
    seen = images.teacher
    with counting("embedding captions", "caption") as progress:
        shown = train._replace(source=seen)
        found = closed_form.fitted(theirs, teacher.built, shown, HOW, progress=progress)
    told = found.placed(found.fit.held_out, len(train.records))
    return images.with_teacher(CachedImages(seen.cache, told))


def _read_texts(settings: Settings) -> Texts | None:
    """The captions of `data.text`, with one line about what had to be left out."""
    if settings.data.text is None:
        return None
    texts = read_texts(settings.data.text)
    if texts.problems:
        tell(f"left out of {settings.data.text}: {texts.problems.summary()}")
    return texts


def _vocabulary(
    run: Path, settings: Settings, records: Sequence[Record], texts: Sequence[str]
) -> list[str]:
    """The run's vocabulary, learned where it has none yet."""
    path, taught = run / _VOCABULARY, teaching.file(settings, _VOCABULARY)
    theirs = None if taught is None else load_vocabulary(taught)
    if path.is_file():
        own = load_vocabulary(path)
        return own if theirs is None else teaching.same(settings, path, own, theirs)
    if theirs is not None:
        return theirs
    check_training(settings, records)
    captions = [caption for record in records for caption in record.captions]
    vocabulary = learn_vocabulary([*captions, *texts], settings.text.vocabulary)
    tell(f"vocabulary: {len(vocabulary)} WordPieces from {len(captions) + len(texts)} captions")
    return vocabulary


TASK = Captioning()
