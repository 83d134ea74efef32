"""python -m captioner.ablate with processes: logs, interrupts, and real trainings."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captioner import ablate

PARTS = """
[parts.average]
about = "averaging of the weights"
set = ["train.average=0"]

[parts.beams]
about = "beam search"
set = ["decode.beams=1"]
"""


@pytest.fixture
def parts(tmp_path) -> Path:
    path = tmp_path / "parts.toml"
    path.write_text(PARTS, encoding="utf-8")
    return path


def test_output_goes_to_the_log_and_the_exit_code_comes_back(tmp_path):
    log = tmp_path / "log"
    with ablate.alone(tmp_path) as lock:
        assert ablate.run(lock, ["train", "--recipe", "nowhere"], log) == 2
    said = log.read_text().splitlines()
    assert said[1] == "$ python -m captioner.train --recipe nowhere"
    assert said[-1].startswith("error: ") and "nowhere" in said[-1]


def test_a_command_holds_the_folder_s_lock(tmp_path, monkeypatch):
    child = tmp_path / "python"
    real = sys.executable
    monkeypatch.setattr(sys, "executable", str(child))
    with ablate.alone(tmp_path / "out") as lock:
        child.write_text(f"#!{real}\nimport os; os.fstat({lock})\n")
        child.chmod(0o755)
        assert ablate.run(lock, ["train"], tmp_path / "log") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_passed_on_once_and_waited_for(tmp_path, parts, number):
    """The command is stopped while its training, which takes a while to save itself, runs."""
    child = tmp_path / "python"
    child.write_text(
        f"#!{sys.executable}\n"
        "import signal, sys, time\n"
        f"marks = open({str(tmp_path / 'marks')!r}, 'a', buffering=1)\n"
        "def stop(number, frame):\n"
        "    marks.write('asked\\n'); time.sleep(0.3); marks.write('saved\\n'); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "marks.write('started\\n')\n"
        "time.sleep(60)\n"
    )
    child.chmod(0o755)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from captioner import ablate, commandline\n"
        f"sys.executable = {str(child)!r}\n"
        "commandline.run(ablate.main, ablate.parser().parse_args())\n"
    )
    words = ["--recipe", "demo", "--parts", parts, "--out", tmp_path / "out"]
    root = str(Path(ablate.__file__).parent.parent)
    command = subprocess.Popen(
        [sys.executable, program, *map(str, words)], text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    marks = tmp_path / "marks"
    give_up = time.monotonic() + 60
    while not marks.is_file() or "started" not in marks.read_text():
        assert time.monotonic() < give_up and command.poll() is None
        time.sleep(0.05)
    os.killpg(command.pid, number)  # as a terminal does: the whole group
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert marks.read_text().split() == ["started", "asked", "saved"]
    assert "goes on from" in err and "| left out |" in out
    assert err.count("Traceback") == 0


@pytest.mark.slow
def test_a_real_ablation_killed_and_continued(tmp_path, drawn, tiny_overrides, parts):
    """Killed in the middle of its first training, then done, then there already."""
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "captioner.ablate", "--recipe", "demo", "--data", f"csv:{drawn}",
        "--parts", str(parts), "--out", str(out), "--seeds", "1", "--set", *tiny_overrides,
        "train.epochs=3",
    ]  # fmt: skip
    root = Path(ablate.__file__).parent.parent
    first = subprocess.Popen(command, cwd=root, start_new_session=True)
    checkpoints = out / "full-0" / "checkpoints"
    while not (checkpoints.is_dir() and any(checkpoints.iterdir())):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=120) == 130
    assert not (out / "full-0" / "scores.json").is_file()
    for trained in (True, False):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("average-0: training" in done.stderr) == trained
        rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
        assert rows[2][0] == "| –" and len(rows) == 2 + 4
        assert all(0 <= float(one[2]) < 10 for one in rows[2:])
    assert "continuing" in (out / "logs" / "full-0.log").read_text()
    assert not (out / "full-0" / "export").exists()
    scores = json.loads((out / "full-0" / "scores.beams.dev+test.json").read_text())
    assert scores["settings"]["decode"]["beams"] == 1 and scores["images"] == 6
