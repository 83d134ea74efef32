"""VQA as it is published: questions about COCO's images, with ten answers each.

Source: Goyal et al., Making the V in VQA Matter, CVPR 2017, arXiv:1612.00837 (v2); Antol et al.,
VQA: Visual Question Answering, ICCV 2015, arXiv:1505.00468 (v1).
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from captioner.config import near_misses
from captioner.errors import CaptionerError
from captioner.inputs.questions import Question, answer_kind
from captioner.inputs.readers_published import coco_images, load_json
from captioner.inputs.records import Gatherer

_QUESTIONS = re.compile(r"(v2_)?OpenEnded_(mscoco)_((train|val|test)[\w-]*)_questions\.json")

# The same photographs were published under two names.
_NAMES = ("COCO_{name}_{number:012d}.jpg", "{number:012d}.jpg")


def read_vqa(path: Path, images: Path | None, gather: Gatherer) -> None:
    """vqa:DIR: v2_OpenEnded_mscoco_*_questions.json with v2_mscoco_*_annotations.json beside it,
    and the image folders (train2014, val2014, test2015).

    train* is train. Questions of test* have no published answers, so where there are none of them,
    the images of val* are halved by hash into dev and test; else val* is dev. Files may lie in DIR,
    DIR/questions and DIR/annotations; those of the first version (without v2_) are read where
    there are none of the second. Image folders are looked for in DIR and DIR/images, or in
    data.images, where the images may also lie without a folder each. Ids are COCO's image numbers.
    """
    folders = (path, path / "questions", path / "annotations")
    known = [(found, file) for file in _json_files(folders)
             if (found := _QUESTIONS.fullmatch(file.name))]  # fmt: skip
    if not known:
        expected = path / "v2_OpenEnded_mscoco_*_questions.json"
        raise CaptionerError(f"vqa:{path}: no questions; expected {expected}{_seen(folders)}")
    if any(found[1] for found, _ in known):
        known = [(found, file) for found, file in known if found[1]]
    gather.with_prompts = True
    tests = [file for found, file in known if found[4] == "test"]
    gather.split_dev = not tests
    for found, file in known:
        if len(tests) > 1 and "-" in found[3]:
            continue  # test-dev's questions are among test's
        version, what, name, split = found.groups()
        annotations = None
        if split != "test":
            annotations = _beside(folders, f"{version or ''}{what}_{name}_annotations.json", file)
        folder_name = re.sub(r"-dev|-std", "", name)
        place = coco_images(path, images, folder_name)
        if place is None:
            raise CaptionerError(
                f"vqa:{path}: no image folder {folder_name} for {file.name}; "
                "--set data.images=DIR names it"
            )
        _read_split(file, annotations, split, place, folder_name, gather)


def _json_files(folders: Iterable[Path]) -> list[Path]:
    return [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.json"))]


def _seen(folders: Iterable[Path]) -> str:
    names = [file.name for file in _json_files(folders)]
    return f"; found {', '.join(names[:5])}" if names else ""


def _beside(folders: Iterable[Path], name: str, questions: Path) -> Path:
    """The annotations of a file of questions."""
    found = {file.name: file for file in _json_files(folders) if file != questions}
    if name not in found:
        hint = near_misses(name, found) if found else ""
        raise CaptionerError(
            f"{questions}: its answers are missing; expected {name} beside it{hint}"
        )
    return found[name]


def _read_split(
    questions: Path, annotations: Path | None, split: str, folder: Path, name: str, gather: Gatherer
) -> None:
    answers = _answers(annotations, gather) if annotations else {}
    form: str | None = None
    for entry in load_json(questions, ("questions",))["questions"]:
        try:
            id, image_id, text = entry["question_id"], int(entry["image_id"]), entry["question"]
            if not isinstance(text, str) or not text.strip():
                raise ValueError
        except (TypeError, KeyError, ValueError):
            gather.problems.add(
                "questions without question_id, image_id and question", f"{questions.name}: {entry}"
            )
            continue
        if annotations and id not in answers:
            gather.problems.add(
                f"questions without answers in {annotations.name}", f"question {id}: {text}"
            )
            continue
        if form is None:
            form = _form(folder, name, image_id)
        file = os.path.join(folder, form.format(name=name, number=image_id))
        image = gather.image(str(image_id), file, split=split)
        if image is None:
            continue
        answer, known = answers.pop(id, ("", Question(str(id), _kind(text), "", ())))
        # The prompt of a question is known by its mark.
        text = text.strip()
        gather.caption(image, answer, text if text.endswith("?") else f"{text}?", known)
    for id in answers:
        gather.problems.add(f"answers to no question of {questions.name}", f"question {id}")


def _form(folder: Path, name: str, number: int) -> str:
    """How the images' files are called; as the first image's is, if that is there."""
    for form in _NAMES:
        if (folder / form.format(name=name, number=number)).is_file():
            return form
    return _NAMES[0]


def _answers(path: Path, gather: Gatherer) -> dict[Any, tuple[str, Question]]:
    """By question: the answer to train on and what people answered."""
    found: dict[Any, tuple[str, Question]] = {}
    kept: dict[str, str] = {}  # a few thousand different answers, millions of times
    for entry in load_json(path, ("annotations",))["annotations"]:
        try:
            id, common = entry["question_id"], entry["multiple_choice_answer"]
            people = [one["answer"] for one in entry["answers"]]
            if not people or not all(isinstance(one, str) for one in (common, *people)):
                raise TypeError
        except (TypeError, KeyError):
            gather.problems.add(
                "answers without question_id, multiple_choice_answer and answers",
                f"{path.name}: {entry}",
            )
            continue
        people = tuple(kept.setdefault(one, one) for one in people)
        kinds = (entry.get("question_type"), entry.get("answer_type"))
        kind, sort = (kept.setdefault(str(one), str(one)) if one else "" for one in kinds)
        known = Question(str(id), kind, sort or answer_kind(people), people)
        found[id] = (kept.setdefault(common, common), known)
    return found


def _kind(text: str) -> str:
    return " ".join(text.lower().split()[:2])
