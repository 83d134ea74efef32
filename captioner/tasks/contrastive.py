"""Two towers, for retrieval: images and texts as points of one space."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner import confidence, config
from captioner.config import Settings
from captioner.embedding import Embedder
from captioner.errors import CaptionerError
from captioner.evaluation import circumstances, write_json
from captioner.inputs.records import DataSet, Problems, Record, check_unreadable
from captioner.learning import closed_form, linear_towers, pairs
from captioner.learning.data import check_training, counting, prepare_images, read_data, tell
from captioner.metrics import retrieval
from captioner.models.towers import Built, build
from captioner.serving import card_towers
from captioner.serving.contract import EMBEDDING_SIGNATURES
from captioner.serving.towers import ServedTowers
from captioner.tasks import Plan, Task, class_scores, take_no_options, zero_shot
from captioner.tasks.calling import caller
from captioner.tasks.printing import Said, show

_DOES = "embeds images and texts"
# Of the baseline's space; wider scored no better.
_BASELINE_WIDTH = 256


class Contrastive(Task):
    """See `captioner.tasks.Task`."""

    name = "contrastive"
    signatures = EMBEDDING_SIGNATURES
    evaluate_options = frozenset(("confusion", "rows", "zero_shot"))
    predict_options = frozenset(("prompt", "classes", "overrides"))
    example = "--prompt 'a dog in the snow' IMAGE..."
    exports = "towers"

    # A run.

    def begin(self, settings: Settings, run: Path, data: DataSet) -> None:
        check_training(settings, data.split("train"))

    def build(self, settings: Settings, begun: None) -> Built:
        return build(settings)

    def plan(
        self, settings: Settings, built: Built, begun: None, data: DataSet, replicas: int
    ) -> Plan:
        train, dev = prepare_images(settings, built.model.image_encoder, data)
        if settings.contrastive.start == "sentences":
            with counting("embedding captions", "caption") as progress:
                pairs.start(settings, built, train, tell, progress)
        stages = pairs.stages(settings, built, train, replicas)
        if not dev.readable:
            return Plan(stages)
        curves = ("mean_recall", "text_to_image_R@10", "image_to_text_R@10")
        return Plan(stages, pairs.Recall(built, dev).scores, curves=curves)

    def files(self, built: Built, begun: None) -> Mapping[str, Callable[[Path], None]]:
        return {}

    def restore(self, settings: Settings, run: Path) -> Built:
        return build(settings, load=False)

    def score(
        self, settings: Settings, run: Path, data: DataSet, split: str
    ) -> tuple[dict[str, Any], None]:
        path = run / linear_towers.FILE
        if settings.data.cache_features and not path.is_file():
            tell("training the baseline: two linear layers on the frozen encoders")
            _fit_baseline(settings, data, path)
        records = data.split(split)
        tell(f"embedding {len(records)} {split} images and their captions")
        model = self.open_run(settings, run)
        scores, _ = scored(model, records, settings.data.unreadable_limit)
        if path.is_file():
            scores["baseline"] = _baseline_scores(settings, path, records)
        return scores | {"settings": conditions(model, settings.data.spec, split)}, None

    def show(self, scores: dict[str, Any], seen: Any) -> str:
        return table(scores)

    # An export.

    def serve(
        self, settings: Settings, built: Built, storage: str = "float32", precision: str = "float32"
    ) -> tf.Module:
        return ServedTowers(built, settings.model.image_side, storage, precision)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        return card_towers.parts(facts)

    # Use.

    def open_run(self, settings: Settings, folder: Path, **options: Any) -> Embedder:
        from captioner.serving.trained import load_trained

        take_no_options(folder, _DOES, options)
        served = ServedTowers(load_trained(folder), settings.model.image_side)
        return _embedder(folder, served.functions, confidence.fingerprint(folder), served)

    def open_export(
        self, folder: Path, saved: Any, about: dict[str, Any], **options: Any
    ) -> Embedder:
        take_no_options(folder, _DOES, options)
        return _embedder(folder, dict(saved.signatures), identity_of(folder, about), saved)

    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        from captioner.loading import load

        model = load(arguments.model)
        data = read_data(settings, "classes" if arguments.zero_shot else "")
        if data.labelled:
            zero_shot.evaluate(arguments, settings, model, data)
            return
        refuse(arguments, ("confusion", "rows", "zero_shot"), settings.data.spec)
        records = data.split(arguments.split)
        with counting("embedding") as progress:
            scores, problems = scored(
                model, records, settings.data.unreadable_limit, progress
            )
        if problems:
            tell(f"left out: {problems.summary()}")
        path = arguments.model / linear_towers.FILE
        if path.is_file():
            mine = config.load(arguments.model / "config.json")
            scores["baseline"] = _baseline_scores(mine, path, records)
        scores["settings"] = conditions(model, settings.data.spec, arguments.split)
        print(table(scores))
        if arguments.scores:
            write_json(arguments.scores, scores)

    def predict(self, arguments: argparse.Namespace, images: Sequence[str]) -> int:
        from captioner.loading import load

        if arguments.prompt.strip() and arguments.classes:
            raise CaptionerError("--prompt and --classes: give one of them")
        if arguments.overrides and not arguments.classes:
            raise CaptionerError("--set classify.templates=… goes with --classes")
        chosen = config.changed(Settings(), arguments.overrides, sections=("classify",)).classify
        if not arguments.prompt.strip() and not arguments.classes:
            raise CaptionerError(
                f"{arguments.model} compares images with a text: add --prompt TEXT, or --classes "
                "a,b,c for the nearest of several (or search a folder of photos: "
                "python -m captioner.search)"
            )
        model = load(arguments.model)
        if arguments.classes:
            vectors = zero_shot.embedded(model, arguments.classes, chosen.templates)
        else:
            vectors = model.texts([arguments.prompt])
        # A text is compared as a class whose name nobody asks for.
        names = arguments.classes or [arguments.prompt]

        def say(chunk: Sequence[str]) -> Iterator[Said]:
            for found in zero_shot.ranked(model, chunk, names, vectors, len(names)):
                if arguments.classes:
                    yield class_scores.said(found, "similarity")
                elif found.error:
                    yield Said({"similarity": None}, "", found.error)
                else:
                    similarity = found.probabilities[0]
                    yield Said({"similarity": similarity}, f"{similarity:.4f}", None)

        return show(images, say, arguments.json)


def refuse(arguments: argparse.Namespace, names: Sequence[str], spec: str) -> None:
    """Raises `CaptionerError` where options are given that are about classes."""
    for name in names:
        if getattr(arguments, name):
            raise CaptionerError(
                f"--{name.replace('_', '-')} is about classes, and {spec} has captions: name "
                "classes:DIR"
            )


def identity_of(folder: Path, about: Mapping[str, Any]) -> str:
    """What tells an export's vectors from those of other weights; of a run that is known it is the
    run's, as their vectors are the same to rounding."""
    identity = about.get("weights")
    if isinstance(identity, str):
        return identity
    return confidence.digest(sorted((folder / "variables").iterdir()))


def embedder_of(settings: Settings, built: Built, folder: Path) -> Embedder:
    """What towers embed that were never trained, for a baseline of the run in a folder."""
    served = ServedTowers(built, settings.model.image_side)
    return _embedder(folder, served.functions, "baseline", served)


def _embedder(
    folder: Path, functions: dict[str, Callable], identity: str, keep: Any
) -> Embedder:
    return Embedder(folder, caller(functions), identity, keep)


# Scores.


def scored(
    model: Embedder,
    records: Sequence[Record],
    unreadable_limit: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Any], Problems]:
    """Retrieval among some images, from their files; those that can't be read are left out."""
    if not records:
        raise CaptionerError("no images to evaluate on: the data set has none in this split")
    vectors, errors = model.images([record.image for record in records], progress)
    problems = Problems()
    bad = [f"{one.image}: {why}" for one, why in zip(records, errors, strict=True) if why]
    check_unreadable(problems, bad, len(records), unreadable_limit)
    kept = [at for at, why in enumerate(errors) if not why]
    if not kept:
        raise CaptionerError(f"none of the images could be read ({bad[0]})")
    captions, owner = closed_form.captions_of([records[at] for at in kept])
    found = retrieval.scores(vectors[kept], model.texts(captions), owner)
    return {"images": len(kept), "texts": len(captions), **found}, problems


def _fit_baseline(settings: Settings, data: DataSet, path: Path) -> None:
    built = build(settings)
    encoder = built.model.image_encoder
    train, _ = prepare_images(settings, encoder, data)
    if encoder.begun_shape != (encoder.regions, encoder.width):
        return  # what is cached are earlier stages: the encoder wasn't frozen
    with counting("embedding captions", "caption") as progress:
        _, features, vectors, owner = closed_form.frozen(settings, built, train, progress)
    layers = linear_towers.fit(features, vectors, owner, _BASELINE_WIDTH, settings.train.seed)
    linear_towers.write(path, layers)


def _baseline_scores(settings: Settings, path: Path, records: Sequence[Record]) -> dict[str, Any]:
    """The baseline's, with the encoders as they were before training."""
    random = {"start": "random", "width": _BASELINE_WIDTH}
    own = settings.contrastive.model_copy(update=random)
    built = build(settings.model_copy(update={"contrastive": own}))
    linear_towers.put(path, built.model)
    scores, _ = scored(embedder_of(settings, built, path.parent), records, 1.0)
    return {name: scores[name] for name in scores if name not in ("images", "texts")}


def conditions(model: Embedder, spec: str, split: str) -> dict[str, Any]:
    """What a reader must know to compare figures."""
    return {
        **circumstances(model, spec, split),
        "scorers": "captioner.metrics.retrieval: a caption's image among all; an image's first "
        "caption among all, each of its own counted as right; ties count as wrong",
    }


def table(scores: Mapping[str, Any]) -> str:
    """Both directions, and the baseline beside."""
    lines = [f"{scores['images']} images, {scores['texts']} captions"]
    baseline = scores.get("baseline", {})
    head = f"{'':26}{'model':>8}"
    lines.append(head + f"{'linear layers':>16}" if baseline else head)
    for name, value in scores.items():
        if "_to_" in name:
            form = ".1f" if name.endswith("rank") else ".3f"
            line = f"{name:26}{format(value, form):>8}"
            lines.append(line + f"{format(baseline[name], form):>16}" if baseline else line)
    return "\n".join(lines)


TASK = Contrastive()
