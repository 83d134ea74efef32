"""python -m captioner.ablate: what to train, going on, and the table."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from captioner import ablate, ablation, config
from captioner.ablation import Outcome, Variant, read_parts, row, variants
from captioner.errors import CaptionerError
from captioner.reporting.ablated import table

PARTS = """
[parts.average]
about = "averaging of the | weights"
set = ["train.average=0"]

[parts.beams]
about = "beam search"
set = ["decode.beams=1", "decode.no_repeat=0"]

[parts.text]
about = "text"
set = ["data.text=none"]
"""


@pytest.fixture
def parts(tmp_path) -> Path:
    path = tmp_path / "parts.toml"
    path.write_text(PARTS, encoding="utf-8")
    return path


class Trainer:
    """In place of the commands: notes what it is told, and leaves what they would leave."""

    def __init__(self):
        self.told: list[list[str]] = []
        self.fail: dict[str, int] = {}
        self.at = lambda words: None

    def __call__(self, lock: int, words, log: Path) -> int:
        self.told.append(list(words))
        self.at(words)
        given = self.given(words)
        folder = Path(given["--run"] if words[0] == "train" else given["--model"])
        with log.open("a") as file:
            file.write("\rtraining\rsomething\nerror: no room for it\n")
        if code := self.fail.get(f"{words[0]} {folder.name}"):
            return code
        if words[0] == "train":
            (folder / "export" / "1").mkdir(parents=True)
            made = config.settings(
                given["--recipe"], data=given["--data"], overrides=given["--set"]
            )
            (folder / "config.json").write_text(made.dump())
            (folder / "scores.json").write_text("{}")
        else:
            scores = {
                "CIDEr": 0.5 - 0.01 * len(self.told),
                "BLEU_4": 0.2,
                "settings": {
                    "data": given["--data"],
                    "split": given["--split"],
                    "decode": self.decode(folder, given["--set"]),
                },
            }
            path = Path(given["--scores"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(scores))
        return 0

    @staticmethod
    def given(words) -> dict:
        settings = words.index("--set")
        pairs = dict(zip(words[1:settings:2], words[2:settings:2], strict=True))
        return pairs | {"--set": words[settings + 1 :]}

    @staticmethod
    def decode(folder: Path, overrides) -> dict:
        """As evaluation tells it: the run's, with what was set."""
        words = [word for word in overrides if word.startswith("decode.")]
        run = config.load(folder / "config.json")
        changed = config.changed(run, words, sections=("decode",))
        return changed.model_dump(mode="json")["decode"]

    def names(self) -> list[str]:
        """What was asked, in short."""
        names = []
        for kind, given in ((words[0], self.given(words)) for words in self.told):
            path = Path(given["--run" if kind == "train" else "--scores"])
            name = path.name if kind == "train" else f"{path.parent.name}/{path.name}"
            names.append(f"{kind} {name}")
        return names


@pytest.fixture
def trainer(monkeypatch) -> Trainer:
    made = Trainer()
    monkeypatch.setattr(ablate, "run", made)
    return made


@pytest.fixture
def run(trainer, parts, tmp_path, capsys):
    """The command: (exit code, standard output, standard error)."""

    def command(*words):
        words = ("--recipe", "demo", "--parts", parts, "--out", tmp_path / "out", *words)
        code = ablate.main(ablate.parser().parse_args(list(map(str, words))))
        return code, *capsys.readouterr()

    return command


def test_every_variant_is_trained_and_scored_once_and_searches_need_no_training(run, trainer):
    code, out, err = run("--seeds", "2")
    assert code == 0
    assert trainer.names() == [
        "train full-0", "evaluate full-0/scores.dev+test.json",
        "train plain-0", "evaluate plain-0/scores.dev+test.json",
        "train average-0", "evaluate average-0/scores.dev+test.json",
        "evaluate full-0/scores.beams.dev+test.json",
        "train full-1", "evaluate full-1/scores.dev+test.json",
        "train plain-1", "evaluate plain-1/scores.dev+test.json",
    ]  # fmt: skip
    by_name = dict(zip(trainer.names(), map(trainer.given, trainer.told), strict=True))
    assert by_name["train full-1"]["--set"] == ["train.seed=1"]
    assert by_name["train average-0"]["--set"] == ["train.average=0", "train.seed=0"]
    assert by_name["train plain-0"]["--set"] == [
        "train.average=0", "decode.beams=1", "decode.no_repeat=0", "train.seed=0",
    ]  # fmt: skip
    search = by_name["evaluate full-0/scores.beams.dev+test.json"]
    assert search["--model"].endswith("full-0") and "decode.beams=1" in search["--set"]
    assert "decode.beams=5" in by_name["evaluate full-0/scores.dev+test.json"]["--set"]
    assert "text is not in use" in err and "| text |" not in out
    # Done is done.
    trainer.told.clear()
    assert run("--seeds", "2")[:2] == (0, out) and not trainer.told


def test_exports_are_removed_and_the_rest_stays(run, tmp_path):
    run("--only", "full", "--seeds", "1")
    folder = tmp_path / "out" / "full-0"
    assert sorted(one.name for one in folder.iterdir()) == [
        "config.json", "scores.dev+test.json", "scores.json"
    ]  # fmt: skip


def test_it_goes_on_where_it_was_stopped(run, trainer, tmp_path):
    def stop(words):
        folder = Path(trainer.given(words).get("--run", ""))
        if folder.name == "average-0":
            folder.mkdir()
            raise KeyboardInterrupt

    trainer.at = stop
    code, out, err = run("--seeds", "1")
    assert code == 130 and "| 0 of 1 |" in out
    assert "interrupted; the same command goes on from" in err
    seconds = json.loads((tmp_path / "out" / "notes" / "average-0.json").read_text())["seconds"]
    trainer.at = lambda words: None
    trainer.told.clear()
    code, out, _ = run("--seeds", "1")
    assert code == 0 and "| 0 of 1 |" not in out
    assert trainer.names() == [
        "train average-0", "evaluate average-0/scores.dev+test.json", "evaluate full-0/scores.beams.dev+test.json"
    ]  # fmt: skip
    more = json.loads((tmp_path / "out" / "notes" / "average-0.json").read_text())["seconds"]
    assert more > seconds > 0  # of both attempts


def test_a_command_that_was_stopped_stops_all(run, trainer):
    trainer.fail = {"train full-0": 130}
    code, _, err = run()
    assert code == 130 and len(trainer.told) == 1 and "interrupted" in err


def test_a_failure_is_reported_and_the_others_go_on(run, trainer):
    trainer.fail = {"train average-0": 2, "evaluate plain-0": 1}
    code, out, err = run("--seeds", "1")
    assert code == 1 and "average: train failed (2): no room for it" in out
    assert "plain: evaluate failed (1): no room for it" in out and "(failed, see below)" in out
    assert "evaluate full-0/scores.beams.dev+test.json" in trainer.names()
    assert "average-0: train failed (2): no room for it" in err
    # The same command tries again what failed, and nothing else.
    trainer.told.clear()
    trainer.fail = {}
    code, out, _ = run("--seeds", "1")
    assert code == 0 and "failed" not in out
    assert trainer.names() == [
        "evaluate plain-0/scores.dev+test.json",
        "train average-0", "evaluate average-0/scores.dev+test.json",
    ]  # fmt: skip


def test_a_search_without_its_full_run_is_a_failure(run, trainer):
    code, out, _ = run("--only", "beams")
    assert code == 1 and "beams: full-0 isn't trained" in out and not trainer.told


def test_the_table_alone_trains_nothing(run, trainer):
    code, out, _ = run("--table-only")
    assert code == 0 and not trainer.told and out.count("| 0 of ") == 4
    run("--seeds", "1", "--only", "full")
    trainer.told.clear()
    code, out, _ = run("--table-only", "--seeds", "1")
    assert not trainer.told and "| – | nothing: the full recipe | 0.480 |" in out


def test_other_settings_than_a_folder_s_are_an_error_before_anything_is_trained(run, trainer):
    run("--only", "full", "plain", "--seeds", "1")
    trainer.told.clear()
    for words in ((), ("--only", "beams")):
        with pytest.raises(CaptionerError, match=r"full-0 was trained with other.*epochs: 5"):
            run("--set", "train.epochs=7", *words)
    assert not trainer.told


def test_a_run_that_is_removed_is_trained_and_scored_again_and_what_searches_with_it(
    run, trainer, tmp_path
):
    run("--seeds", "1", "--only", "full", "beams")
    shutil.rmtree(tmp_path / "out" / "full-0")
    trainer.told.clear()
    code, _, _ = run("--seeds", "1", "--only", "full", "beams")
    assert code == 0 and trainer.names() == [
        "train full-0", "evaluate full-0/scores.dev+test.json",
        "evaluate full-0/scores.beams.dev+test.json",
    ]  # fmt: skip


def test_a_part_s_settings_beat_those_of_the_command(run, trainer, tmp_path):
    text = tmp_path / "text.txt"
    run("--set", "train.average=0.5", f"data.text={text}", "--only", "average", "text", "plain")
    by_name = dict(zip(trainer.names(), map(trainer.given, trainer.told), strict=True))
    common = ["train.average=0.5", f"data.text={text}"]
    assert by_name["train average-0"]["--set"] == [*common, "train.average=0", "train.seed=0"]
    assert by_name["train text-0"]["--set"] == [*common, "data.text=none", "train.seed=0"]


def test_figures_of_another_search_or_split_are_made_again(run, trainer, parts):
    run("--seeds", "1")
    trainer.told.clear()
    parts.write_text(PARTS.replace("beams=1", "beams=2"), encoding="utf-8")
    run("--seeds", "1", "--only", "beams")
    assert trainer.names() == ["evaluate full-0/scores.beams.dev+test.json"]
    assert "decode.beams=2" in trainer.told[0]
    trainer.told.clear()
    run("--seeds", "1", "--only", "full", "--split", "dev")
    assert trainer.names() == ["evaluate full-0/scores.dev.json"]


# The parts.


def test_the_package_s_parts_leave_something_out_of_their_recipe():
    folder = Path(ablation.__file__).parent / "recipes" / "parts"
    files = sorted(folder.glob("*.toml"))
    assert files
    for path in files:
        parts, told = read_parts(path.stem), []
        found = variants(path.stem, None, [], parts, told.append)
        whole = ["full"] if all(one.instead for one in parts) else ["full", "plain"]
        assert [one.name for one in found[:2] if one.name in ("full", "plain")] == whole
        # What is about text needs a file of it; of alternatives one is what the recipe has.
        over = {one.split()[0] for one in told}
        assert over == {"text"} or over < {one.name for one in parts if one.instead}
        file = [f"data.text={path}"]
        names = [one.name for one in variants(path.stem, None, file, parts)]
        assert len(set(names)) == len(names) == len(parts) + len(whole) - len(over - {"text"})
    assert "parts" not in config.recipes()


def test_searched_variants_are_those_of_decode_alone(parts):
    found = {one.name: one for one in variants("demo", None, [], read_parts("demo", parts))}
    assert [name for name, one in found.items() if one.searched] == ["beams"]
    assert found["plain"].settings.decode.beams == 1 and not found["plain"].searched
    assert found["average"].settings.train.average == 0


def test_alternatives_are_trained_and_are_no_part_of_the_plain_model(parts):
    text = PARTS.replace('set = ["train.average=0"]', 'set = ["train.average=0"]\ninstead = true')
    parts.write_text(text, encoding="utf-8")
    found = {one.name: one for one in variants("demo", None, [], read_parts("demo", parts))}
    assert found["average"].instead and found["average"].settings.train.average == 0
    assert found["plain"].overrides == ("decode.beams=1", "decode.no_repeat=0")
    # Of alternatives alone nothing is plain.
    parts.write_text(text.split("[parts.beams]")[0], encoding="utf-8")
    names = [one.name for one in variants("demo", None, [], read_parts("demo", parts))]
    assert names == ["full", "average"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[parts.a", "parts.toml"),
        ("[parts.a]\nabout = 'b'\nset = ['train.average=0']\ninstead = 1", "true or false"),
        ("", "expected tables"),
        ("parts = 3", "expected tables"),
        ("[parts]", "expected tables"),
        ("x = 1\n" + PARTS, "expected tables"),
        ("[parts.a]\nset = ['train.average=0']", "expected about and set"),
        ("[parts.a]\nabout = 'b'\nset = []", "set must be a list"),
        ("[parts.a]\nabout = 'b'\nset = [1]", "set must be a list"),
        ("[parts.a]\nabout = 'b'\nset = 'train.average=0'", "set must be a list"),
        ("[parts.a]\nabout = ' '\nset = ['train.average=0']", "about must say"),
        ("[parts.a]\nabout = 1\nset = ['train.average=0']", "about must say"),
        ("[parts.full]\nabout = 'b'\nset = ['train.average=0']", "is not full or plain"),
        ("[parts.'../a']\nabout = 'b'\nset = ['train.average=0']", "letters, digits"),
        ("[parts.a]\nabout = 'b'\nset = ['train.averag=0']", "without a: .*train.average"),
        ("[parts.a]\nabout = 'b'\nset = ['train.average=2']", "without a: train.average"),
    ],
)
def test_files_that_are_no_parts_are_an_error(run, parts, text, reason):
    parts.write_text(text, encoding="utf-8")
    with pytest.raises(CaptionerError, match=reason):
        run()


def test_missing_parts_and_names(run, tmp_path):
    with pytest.raises(CaptionerError, match="no file of parts"):
        read_parts("demo", tmp_path / "nowhere.toml")
    with pytest.raises(CaptionerError, match="no parts are known of the recipe mine.toml"):
        read_parts("mine.toml")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(CaptionerError, match="isn't UTF-8"):
        read_parts("demo", tmp_path / "latin")
    with pytest.raises(CaptionerError, match="--only averag: no such part; did you mean average"):
        run("--only", "averag")
    with pytest.raises(CaptionerError, match="unknown split 'tset'"):
        run("--split", "tset")


# The table.


def variant(name: str, searched: bool = False) -> Variant:
    return Variant(name, f"about {name}", (), config.settings("demo"), searched)


def scored(cider: float, seconds: float | None = 90.0) -> Outcome:
    return Outcome({"CIDEr": cider, "BLEU_4": cider / 2}, seconds)


def test_the_table_by_hand():
    rows = [
        row(variant("full"), [scored(0.4), scored(0.5), scored(0.6, 30.0)]),
        row(variant("plain"), [scored(0.1), Outcome()]),
        row(variant("b|ig"), [scored(0.45)]),
        row(variant("small"), [scored(0.35)]),
        row(variant("late"), [Outcome()]),
        row(variant("beams", searched=True), [scored(0.3, None)]),
        row(variant("bad"), [Outcome(error="train failed (2): no disk")]),
    ]
    lines = table(rows, "dev+test").splitlines()
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines if line[:1] == "|"]
    assert [one[0].lstrip("| ") for one in cells[2:]] == [
        "–", "beams", "small", "b|ig", "late", "bad", "everything"
    ]  # fmt: skip
    assert cells[2][2:] == ["0.500", "0.100", "0.250", "–", "3", "1.2 |"]
    assert cells[3][2:] == ["0.300", "–", "0.150", "-0.200", "1", "none |"]
    assert cells[5][1] == r"about b\|ig"
    assert cells[6][2:] == ["–", "–", "–", "–", "0 of 1", "– |"]
    assert cells[8][2:] == ["0.100", "–", "0.050", "-0.400", "1 of 2", "1.5 |"]
    assert "bad: train failed (2): no disk" in lines
    # 0.1 * sqrt(1 + 1/3)
    assert any("deviation of 0.115" in line for line in lines)
    alone = table([row(variant("full"), [scored(0.4)])], "dev")
    assert "tells nothing of its spread" in alone
    assert "0.400" in table([row(variant("small"), [scored(0.4)])], "dev")  # without the full one


def test_the_table_of_another_task_has_its_scores():
    settings = config.settings("matching")
    scores = {"ROC_AUC": 0.9, "accuracy": 0.8, "hard": {"ROC_AUC": 0.7, "accuracy": 0.6}}
    full = Variant("full", "nothing", (), settings)
    other = Variant("sum", "the sum", (), settings, instead=True)
    low = scores | {"ROC_AUC": 0.85}
    lines = table([row(full, [Outcome(scores)]), row(other, [Outcome(low)])], "dev").splitlines()
    assert lines[0].startswith("| changed |  | ROC AUC | spread | accuracy | hard ROC AUC |")
    assert lines[2].split(" | ")[2:7] == ["0.900", "–", "0.800", "0.700", "0.600"]
    assert lines[3].split(" | ")[7] == "-0.050"
    assert "ROC AUC, accuracy, hard ROC AUC and hard accuracy on dev" in "\n".join(lines)


def test_a_folder_is_one_ablation_s_at_a_time_and_its_last_training_s(tmp_path, run):
    with ablate.alone(tmp_path / "out") as lock:
        left = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    try:
        with pytest.raises(CaptionerError, match="another ablation, or a training .* in .*out"):
            run()
        assert run("--table-only")[0] == 0
    finally:
        left.kill()
        left.wait()
    assert run("--only", "full")[0] == 0
