"""What loads what: quick commands, and imports that go down the road and never back up."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "captioner"
COMMANDS = {
    "ablate", "calibrate", "train", "evaluate", "predict", "export", "search", "serve", "benchmark",
}

# A part may import itself and what is named here. The top-level modules stand above the parts,
# but for these, which everything may use; of the tasks, only what they are found by.
GROUND = {"children", "config", "errors", "kernels", "tasks"}
BELOW = {
    "metrics": set(),
    "pretrained": {"commandline"},
    "inputs": {"pretrained"},
    "decoding": {"inputs"},
    "models": {"inputs", "pretrained"},
    "learning": {"inputs", "models", "decoding", "metrics", "pretrained", "drawing"},
    # The client of model servers gives what `captioner.load` gives.
    "serving": {"inputs", "models", "decoding", "learning", "captioning", "confidence"},
    "web": {
        "inputs", "serving", "captioning", "reporting", "embedding", "photo_index", "searching",
    },
    "reporting": {"inputs", "metrics", "drawing", "captioning"},
    # A task is all that belongs to it, from the data to what commands print.
    "tasks": {
        "inputs", "models", "decoding", "learning", "metrics", "pretrained", "serving", "reporting",
        "captioning", "classifying", "confidence", "deletion", "embedding", "evaluation", "joint",
        "loading", "matching", "predicting",
    },
    # What is measured is all the rest.
    "measuring": {
        "inputs", "models", "decoding", "learning", "serving", "pretrained", "loading", "captioning",
        "photo_index",
    },
}
# A run from beginning to end calls what serves it, too.
RUN = PACKAGE / "learning" / "run.py"


def modules(path: Path) -> set[str]:
    """The modules of captioner that a file imports, wherever in the file the imports stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name for name in map(existing, names) if name}
    return found


def existing(name: str) -> str | None:
    """A module's own name for `captioner.inputs.text.PAD`; None outside captioner."""
    parts = name.split(".")
    if parts[0] != "captioner" or len(parts) == 1:
        return None
    path = PACKAGE.joinpath(*parts[1:])
    if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
        return name
    return existing(".".join(parts[:-1]))


def imported(path: Path) -> set[str]:
    """The part, or top-level module, of captioner behind each import of a file."""
    return {name.split(".")[1] for name in modules(path)}


def python(code: str) -> str:
    root = str(PACKAGE.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("part", BELOW)
def test_parts_import_down_the_road_only(part):
    files = sorted({*(PACKAGE / part).rglob("*.py")} - {RUN})
    assert files
    for path in files:
        wrong = imported(path) - BELOW[part] - GROUND - {part}
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(wrong))}"


def test_every_part_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {*BELOW, "config"}


def test_nothing_imports_the_commands():
    for path in PACKAGE.rglob("*.py"):
        mine = {path.stem} if path.parent == PACKAGE else set()
        wrong = imported(path) & COMMANDS - mine
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(wrong))}"


def test_tasks_are_imported_by_the_registry_alone():
    for path in {*PACKAGE.rglob("*.py")} - {*(PACKAGE / "tasks").rglob("*.py")}:
        wrong = {name for name in modules(path) if name.startswith("captioner.tasks.")}
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize(
    "module",
    ["tasks/__init__.py", "config/__init__.py", "config/sections.py", "config/reading.py", "errors.py",
     "commandline.py", "kernels.py"],
)
def test_the_ground_stands_on_nothing(module):
    assert imported(PACKAGE / module) <= {"config", "errors", "kernels"}


def test_no_module_imports_itself_by_a_detour():
    graph = {}
    # captioner itself loads `captioner.load` only when it is asked for.
    for path in {*PACKAGE.rglob("*.py")} - {PACKAGE / "__init__.py"}:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        graph[".".join(parts).removesuffix(".__init__")] = modules(path)
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_reader_of_imports_sees_them_all(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import captioner.inputs.text\nfrom captioner import config, models\n"
        "def f():\n    from captioner.learning.run import train\n"
    )
    assert imported(path) == {"inputs", "config", "models", "learning"}


HEAVY = ("tensorflow", "keras", "tensorflow_text", "tensorflow_hub", "keras_nlp", "keras_cv")


@pytest.mark.parametrize(
    "code",
    [
        "import captioner; captioner.__version__; dir(captioner)",
        "from captioner import CaptionerError, config; config.settings('flickr8k')",
        "import captioner.inputs.records, captioner.inputs.readers",
        "import captioner.metrics",
        "import captioner.serving.client, captioner.inputs.convert",
        *(f"import captioner.{name}; captioner.{name}.parser()" for name in
          ("train", "evaluate", "predict", "export", "search", "serve", "benchmark")),
        "import captioner.web.server",
        "import captioner.reporting.page, captioner.evaluation",
        "import captioner.pretrained",
        "import captioner.tasks, captioner.predicting",
    ],
)  # fmt: skip
def test_no_tensorflow_before_it_is_needed(code):
    loaded = python(f"import sys; {code}; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_load_is_there_when_asked_for():
    code = "import captioner; print('load' in dir(captioner), callable(captioner.load))"
    assert python(code) == "True True"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        import captioner

        captioner.lode  # noqa: B018
