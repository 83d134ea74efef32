"""Captioning, contrastive learning and matching in one run, on the same encoders.

It is the captioner's task, with two more heads: what these do, their own tasks say.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner import confidence, evaluation
from captioner.config import Settings
from captioner.decoding.captions import check
from captioner.errors import CaptionerError
from captioner.inputs.records import DataSet, Record
from captioner.joint import JointModel
from captioner.learning import joint
from captioner.learning.data import counting, prepare_images, read_data, tell
from captioner.learning.stages import learn_sentences
from captioner.models.build import load_run_vocabulary
from captioner.models.joint import Built, build
from captioner.serving import card_joint
from captioner.serving.contract import JOINT_SIGNATURES
from captioner.serving.joint import ServedJoint
from captioner.tasks import (
    Plan,
    caption_commands,
    contrastive,
    matching,
    matching_scores,
    zero_shot,
)
from captioner.tasks.caption import Begun, Captioning, Opening

# Options of `captioner.predict` that are about captions, and those that ask for something else.
_CAPTIONS = ("prompt", "beams", "overrides", "min_confidence", "attention")
_OTHERWISE = ("match", "classes")


class JointTraining(Captioning):
    """See `captioner.tasks.Task`."""

    name = "joint"
    distils = False
    signatures = JOINT_SIGNATURES
    evaluate_options = frozenset(
        ("prompts", "against", "predictions", "report", "rows", "seed", "zero_shot", "confusion")
    )
    predict_options = frozenset((*_CAPTIONS, *_OTHERWISE))
    exports = "joint"
    compared = (
        "CIDEr", "BLEU_4", "text_to_image_R@10", "image_to_text_R@10", "ROC_AUC", "accuracy",
    )  # fmt: skip

    # A run.

    def begin(self, settings: Settings, run: Path, data: DataSet) -> Begun:
        if settings.model.sentence_head and "text_encoder" not in settings.train.freeze:
            raise CaptionerError(
                "model.sentence_head=true needs the text encoder frozen (train.freeze with "
                "text_encoder), by which sentences are embedded before training and after; set it, "
                "and model.neighbours, to false and 0 to train the text encoder"
            )
        if settings.train.reward_epochs:
            raise CaptionerError(
                "train.reward_epochs is for captioning alone: set it to 0 for several tasks at once"
            )
        if settings.data.text and settings.data.text_epochs:
            raise CaptionerError(
                f"data.text_epochs={settings.data.text_epochs} is for captioning alone: with 0, "
                "several tasks at once keep data.text for near captions"
            )
        return super().begin(settings, run, data)

    def build(self, settings: Settings, begun: Begun) -> Built:
        return build(settings, begun.vocabulary)

    def plan(
        self, settings: Settings, built: Built, begun: Begun, data: DataSet, replicas: int
    ) -> Plan:
        check(settings.decode, built.caption.tokenizer)
        train, dev = prepare_images(settings, built.model.image_encoder, data)
        made = self.examples(settings, built.caption, train)
        if not len(made):
            raise CaptionerError(f"{settings.data.spec} has no readable training image")
        # Outside the strategy's scope, in which a Hub's encoder can't be run.
        with counting("embedding captions", "caption") as progress:
            found = joint.fitted(settings, built, train, tell, progress)
            if settings.model.sentence_head:
                learn_sentences(
                    settings, built.caption, found, train.records, begun.texts, progress
                )
        stages = joint.stages(settings, built, train, made, found, replicas)
        if not dev.readable:
            return Plan(stages)
        validation = joint.JointValidation(settings, built, dev)
        return Plan(stages, validation.scores, validation.samples, joint.CURVES)

    def files(self, built: Built, begun: Begun) -> Mapping[str, Callable[[Path], None]]:
        return {**super().files(built.caption, begun), **matching.TASK.files(built.matching, None)}

    def restore(self, settings: Settings, run: Path) -> Built:
        built = build(settings, load_run_vocabulary(run), load=False)
        self.find_neighbours(settings, run, built.caption)
        return built

    def score(
        self, settings: Settings, run: Path, data: DataSet, split: str
    ) -> tuple[dict[str, Any], Any]:
        records, limit = data.split(split), settings.data.unreadable_limit
        tell(f"captioning {len(records)} {split} images, finding and judging their captions")
        model = self.open_run(settings, run)
        training = [text for record in data.split("train") for text in record.captions]
        outcome = evaluation.evaluate(model, records, limit, training=training)
        conditions = evaluation.conditions(model, settings.data.spec, split)
        scores = outcome.scores | {"settings": conditions}
        compared = _compared(model, records, settings, split, run)
        return _together(scores, *compared), outcome.captioned

    def show(self, scores: dict[str, Any], seen: Any) -> str:
        return f"{super().show(scores, seen)}\n\n{_tables(scores)}"

    # An export.

    def serve(
        self, settings: Settings, built: Built, storage: str = "float32", precision: str = "float32"
    ) -> tf.Module:
        return ServedJoint(
            built, settings.decode, settings.model.image_side, storage, precision
        )

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        return card_joint.parts(facts)

    # Use.

    def opened(self, found: Opening, **_: Any) -> JointModel:
        if found.about is None:
            identity = confidence.fingerprint(found.folder)
        else:
            identity = contrastive.identity_of(found.folder, found.about)
        return super().opened(found, kind=JointModel, identity=identity)

    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        caption_commands.prepare(arguments)
        data = read_data(settings, "classes" if arguments.zero_shot else "")
        if not data.labelled:
            contrastive.refuse(arguments, ("confusion", "zero_shot"), settings.data.spec)
        model = caption_commands.opened(arguments)
        if data.labelled:
            zero_shot.evaluate(arguments, settings, model, data)
            return
        scores = caption_commands.evaluate(arguments, settings, model, data)
        split, seed = arguments.split, arguments.seed
        compared = _compared(model, data.split(split), settings, split, arguments.model, seed)
        scores = _together(scores, *compared)
        print(f"\n{_tables(scores)}")
        if arguments.scores:
            evaluation.write_json(arguments.scores, scores)

    def predict(self, arguments: argparse.Namespace, images: Sequence[str]) -> int:
        asked = [name for name in _OTHERWISE if getattr(arguments, name)]
        if not asked:
            return super().predict(arguments, images)
        about_captions = [name for name in _CAPTIONS if getattr(arguments, name)]
        if arguments.classes and arguments.overrides:  # classes have a setting of their own
            about_captions.remove("overrides")
        if others := [*asked[1:], *about_captions]:
            words = (f"--{name.replace('_', '-').replace('overrides', 'set')}" for name in others)
            raise CaptionerError(
                f"--{asked[0]} says something else of an image than {' and '.join(words)}: give "
                "one of them"
            )
        if arguments.classes:
            return contrastive.TASK.predict(arguments, images)
        # Of models that only judge, the sentence is the prompt.
        return matching.TASK.predict(
            argparse.Namespace(**vars(arguments) | {"prompt": arguments.match}), images
        )


def _compared(
    model: JointModel,
    records: Sequence[Record],
    settings: Settings,
    split: str,
    folder: Path,
    seed: int = 0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores of retrieval and of matching, with the `settings` of each."""
    limit = settings.data.unreadable_limit
    with counting("embedding") as progress:
        found, _ = contrastive.scored(model, records, limit, progress)
    with counting("judging", "pair") as progress:
        judged = matching_scores.judge(model, records, limit, seed, progress)
    spec = settings.data.spec
    return (
        found | {"settings": contrastive.conditions(model, spec, split)},
        matching_scores.scores_of(judged, folder)
        | {"settings": matching_scores.conditions(judged, spec, split)},
    )


def _together(*parts: dict[str, Any]) -> dict[str, Any]:
    """The scores of all parts, which have names of their own, and what a reader must know of
    each."""
    conditions = [part["settings"] for part in parts]
    scores = {name: one for part in reversed(parts) for name, one in part.items()}
    told = {name: one for part in reversed(conditions) for name, one in part.items()}
    scorers = "; ".join(part["scorers"] for part in conditions)
    return scores | {"settings": told | {"scorers": scorers}}


def _tables(scores: Mapping[str, Any]) -> str:
    """What is printed of retrieval and of matching."""
    found = {
        name: one for name, one in scores.items() if name in ("images", "texts") or "_to_" in name
    }
    return f"{contrastive.table(found)}\n\n{matching_scores.table(scores)}"


TASK = JointTraining()
