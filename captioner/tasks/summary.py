"""Summaries: an image and the text around it, the prompt, to one short sentence that uses both."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from captioner.captioning import Captioner
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import circumstances, write_json, write_rows
from captioner.inputs.images import blank_file
from captioner.inputs.questions import Asked, asked
from captioner.inputs.records import DataSet, Problems, Record, check_unreadable
from captioner.learning.data import Images, counting, read_data, tell
from captioner.learning.prompted import PromptedValidation, answer_by_search
from captioner.learning.summaries import CURVES, shares
from captioner.metrics import Scorer
from captioner.models.build import Built
from captioner.serving.answer_signatures import SharedImages
from captioner.serving.signatures import ServedCaptioner
from captioner.tasks import caption_commands, prompted
from captioner.tasks.caption import Begun, Captioning

_SHOWN = 6

# The sentence, and what becomes of it with only one of its sources.
_WAYS = {"both": "both", "text_alone": "text, no image", "image_alone": "image, no text"}

Row = tuple[Record, Asked]


class Summarising(Captioning):
    """See `captioner.tasks.Task`."""

    name = "summary"
    evaluate_options = frozenset(("rows",))
    prompts = "contexts"
    exports = "summaries"
    example = "IMAGE --prompt 'the text around it'"

    def begin(self, settings: Settings, run: Any, data: DataSet) -> Begun:
        kinds = (
            "demo, or csv:FILE and jsonl:FILE with the columns image, prompt (the text) and caption "
            "(the sentence)"
        )
        prompted.check(settings, data, "texts around its images", kinds)
        return super().begin(settings, run, data)

    def validation(self, settings: Settings, built: Built, dev: Images) -> PromptedValidation:
        texts = [list(asked(record)) for record in dev.records]
        answer = answer_by_search(settings, built)
        return PromptedValidation(answer, shares, CURVES, texts, dev.source, dev.unreadable)

    def serve(
        self, settings: Settings, built: Built, storage: str = "float32", precision: str = "float32"
    ) -> ServedCaptioner:
        side = settings.model.image_side
        return ServedCaptioner(built, settings.decode, side, storage, precision, SharedImages)

    def score(
        self, settings: Settings, run: Any, data: DataSet, split: str
    ) -> tuple[dict[str, Any], Any]:
        tell(f"summarising {len(data.split(split))} {split} images with their texts")
        model = self.open_run(settings, run)
        scores, found = _scores(model, data.split(split), settings)
        return scores | {"settings": _conditions(model, settings.data.spec, split)}, found

    def show(self, scores: dict[str, Any], seen: Any) -> str:
        lines = []
        if seen:
            lines.append("Sentences on images that training never saw, with their texts:\n")
            rows, said = seen
            for row in range(0, len(rows), max(1, len(rows) // _SHOWN)):
                record, one = rows[row]
                lines.append(f"{record.image}\n  text:      {one.text}")
                lines += [
                    f"  {f'{title}:':16} {said[name][row]}" for name, title in _WAYS.items()
                ]
            lines.append("")
        return "\n".join([*lines, _table(scores)])

    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        model = caption_commands.opened(arguments)
        data = read_data(settings, self.prompts)
        scores, (rows, said) = _scores(model, data.split(arguments.split), settings)
        print(_table(scores))
        spec = settings.data.spec
        scores = scores | {"settings": _conditions(model, spec, arguments.split)}
        if arguments.scores:
            write_json(arguments.scores, scores)
        if arguments.rows:
            write_rows(
                arguments.rows,
                [
                    {"image_id": record.id, "image": str(record.image), "prompt": one.text,
                     "reference": one.answer, **{name: texts[at] for name, texts in said.items()}}
                    for at, (record, one) in enumerate(rows)
                ],
            )  # fmt: skip


def _scores(
    model: Captioner, records: Sequence[Record], settings: Settings
) -> tuple[dict[str, Any], tuple[list[Row], dict[str, list[str]]]]:
    """Scores, and what was said of each (image, text), in each of the ways."""
    rows = [(record, one) for record in records for one in asked(record)]
    if not rows:
        raise CaptionerError(
            "nothing to summarise: the data set has no images with a text (prompts) in this split"
        )
    with counting("summarising", "sentence") as progress:
        total = len(_WAYS) * len(rows)
        both = _said(model, rows, lambda done: progress(done, total))
        bad = {rows[at][0].id: error for at, (_, error) in enumerate(both) if error}
        kept = [at for at, (_, error) in enumerate(both) if not error]
        if not kept:
            raise CaptionerError("none of the images could be read")
        problems = Problems()
        check_unreadable(
            problems, [f"{id}: {why}" for id, why in bad.items()],
            len({record.id for record, _ in rows}), settings.data.unreadable_limit,
        )  # fmt: skip
        if problems:
            tell(f"left out: {problems.summary()}")
        rows = [rows[at] for at in kept]
        said = {"both": [both[at][0] for at in kept]}
        blank = blank_file()
        ways = {
            "text_alone": [(record, one, blank) for record, one in rows],
            "image_alone": [(record, one._replace(text=""), None) for record, one in rows],
        }
        for number, (name, asking) in enumerate(ways.items(), 1):
            before = number * len(rows)
            found = _said(model, asking, lambda done, before=before: progress(before + done, total))
            said[name] = [text for text, _ in found]
    scorer = Scorer({str(at): [one.answer] for at, (_, one) in enumerate(rows)})
    scores: dict[str, Any] = {
        "images": len({record.id for record, _ in rows}), "sentences": len(rows)
    }  # fmt: skip
    for name in _WAYS:
        figures = shares([one for _, one in rows], said[name])
        judged = scorer.score(dict(zip(map(str, range(len(rows))), said[name])), java=False)
        figures |= {measure: judged[measure] for measure in ("CIDEr", "BLEU_4")}
        scores |= figures if name == "both" else {name: figures}
    return scores, (rows, said)


def _said(
    model: Captioner, rows: Sequence[tuple], progress: Callable[[int], None]
) -> list[tuple[str, str | None]]:
    """Sentence and error of each (record, what is asked, an image file's contents or None for the
    record's own)."""
    found = []
    for start in range(0, len(rows), 32):
        part = rows[start : start + 32]
        images = [(rest[0] if rest and rest[0] else record.image) for record, _, *rest in part]
        results = model.caption(images, [one.text for _, one, *_ in part])
        found += [(result.text, result.error) for result in results]
        progress(start + len(part))
    return found


def _conditions(model: Captioner, spec: str, split: str) -> dict[str, Any]:
    return {
        **circumstances(model, spec, split),
        "decode": model.settings,
        "scorers": "captioner.learning.summaries: the share of the references' content words that "
        "the text has (from_text) and has not (from_image); captioner.metrics as coco-caption, with "
        "one reference a sentence",
    }


def _table(scores: dict[str, Any]) -> str:
    names = ("from_text", "from_image", "CIDEr", "BLEU_4")
    lines = [f"{scores['sentences']:,} sentences on {scores['images']:,} images"]
    lines.append(f"{'':16}" + "".join(f"{name:>12}" for name in names))
    for way, title in _WAYS.items():
        row = scores if way == "both" else scores[way]
        lines.append(f"{title:16}" + "".join(f"{row[name]:>12.3f}" for name in names))
    return "\n".join(lines)


TASK = Summarising()
