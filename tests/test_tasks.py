"""The registry of tasks: found by name, by folder, by what an export serves."""

import json
import shutil

import pytest

from captioner import commandline, config, evaluate, tasks
from captioner.errors import CaptionerError

ALL = sorted(tasks._MODULES)


@pytest.mark.parametrize("name", ALL)
def test_a_task_answers_everything(name):
    task = tasks.get(name)
    assert task.name == name and task.signatures
    asked = {key for key, one in vars(tasks.Task).items() if callable(one)}
    classes = type(task).__mro__[: -len(tasks.Task.__mro__)]  # a task may be another one's, changed
    given = set().union(*(vars(one) for one in classes))
    assert asked and asked <= given, "it leaves methods to the base class"
    known = vars(evaluate.parser().parse_args(["--model", "x", "--data", "demo"]))
    assert task.evaluate_options <= set(known)


def test_an_unknown_task_names_near_misses():
    with pytest.raises(CaptionerError, match="unknown task 'captions'; did you mean caption?"):
        tasks.of(config.settings(overrides=["task=captions"]))


def test_runs_and_exports_of_before_there_were_tasks(tmp_path):
    (tmp_path / "config.json").write_text('{"train": {}}')
    assert tasks.of_folder(tmp_path).name == "caption"
    assert config.load(tmp_path / "config.json").task == "caption"
    assert tasks.of_facts({"settings": {"model": {}}}).name == "caption"


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_folder_that_says_nothing_is_left_to_load(tmp_path, text):
    assert tasks.of_folder(tmp_path / "none").name == "caption"
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert tasks.of_folder(tmp_path).name == "caption"


def test_a_folder_of_versions_goes_by_the_newest(tmp_path):
    for number, name in (("2", "caption"), ("10", "nonsense")):
        extra = tmp_path / number / "assets.extra"
        extra.mkdir(parents=True)
        (extra / "captioner.json").write_text(json.dumps({"settings": {"task": name}}))
    with pytest.raises(CaptionerError, match="unknown task 'nonsense'"):
        tasks.of_folder(tmp_path)
    shutil.rmtree(tmp_path / "10")
    assert tasks.of_folder(tmp_path).name == "caption"


@pytest.mark.parametrize("name", ALL)
def test_an_export_is_known_by_what_it_serves(name):
    served = [*tasks.get(name).signatures, "another"]
    # Those that serve alike can be used alike.
    assert tasks.of_facts({}, served).signatures == tasks.get(name).signatures
    assert tasks.of_facts({}, ["another"]).name == "caption"


def test_options_that_a_task_makes_nothing_of_are_refused():
    made = evaluate.parser()
    arguments = made.parse_args(
        ["--model", "x", "--data", "demo", "--report", "y", "--prompts", "none"]
    )
    known = {"debug", "model", "data", "split", "scores", "overrides"}
    with pytest.raises(CaptionerError, match="--prompts, --report: not an option for x"):
        commandline.check_options(arguments, made, known, "x")
    commandline.check_options(arguments, made, known | {"report", "prompts"}, "x")


def test_tasks_of_other_kinds_export_to_other_folders():
    """What a model server takes for the next version must answer as the one before it."""
    kinds = {}
    for name in tasks._MODULES:
        task = tasks.get(name)
        kinds.setdefault(task.exports, set()).add(task.signatures)
    assert all(len(signatures) == 1 for signatures in kinds.values())
    assert [name for name in tasks._MODULES if tasks.get(name).exports == "captioner"] == [
        "caption"
    ]
