"""What Ctrl-C leaves of a benchmark: what was measured so far, printed and written."""

import os
import signal
import threading

import pytest
from tiny_benchmark import measured, shrink, table

from captioner import benchmark, kernels
from captioner.measuring import captioning, training
from captioner.measuring.comparison import RATE, Comparison, Contender


@pytest.fixture
def small(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture
def interrupted(monkeypatch):
    """A part of two comparisons, in the second of which the user presses Ctrl-C."""

    def part(bench):
        def press():
            raise KeyboardInterrupt

        yield Comparison("whole", "the whole one", RATE, [Contender("a", lambda: 1.0)], warm=0)
        turns = iter([1.0, 1.0])
        yield Comparison(
            "broken", "the broken one", RATE,
            [Contender("a", lambda: 2.0), Contender("b", lambda: next(turns, None) or press())],
            warm=0,
        )  # fmt: skip
        raise AssertionError("it went on")

    monkeypatch.setattr(captioning, "captioning", part)


def test_an_interrupt_prints_and_writes_what_there_is(
    exports, tmp_path, small, interrupted, capsys
):
    words = ["--rounds", "3", "--model", exports["float32"], "--only", "captioning"]
    code, report = measured(tmp_path, *words)
    assert code == 130 and not report["complete"]
    out = capsys.readouterr().out
    assert out.index("the whole one") < out.index("the broken one")
    rows = table(report, "broken")
    assert rows["a"]["samples"] == 3 and rows["b"]["samples"] == 2
    assert rows["b"]["ratio"] == 2


@pytest.mark.slow
def test_an_interrupted_training_is_an_interrupt(tiny_run, tmp_path, small, monkeypatch):
    """The training loop saves itself when it is interrupted, and says so in its own way."""
    steps = []

    def step(self, row):
        steps.append(row["step"])
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training._Watch, "step", step)
    code, report = measured(tmp_path, "--model", tiny_run, "--only", "training")
    assert code == 130 and steps == [1]
    assert not report["complete"] and report["measurements"] == []


def test_an_interrupt_elsewhere_is_one_here(tmp_path, monkeypatch):
    asked = []

    def measure(parts, rounds, **_):
        asked.append(parts)
        return {"complete": True, "measurements": [{"rows": parts}]}

    def elsewhere(parts, arguments):
        asked.append((parts, arguments.rounds))
        kernel = {"environment": {kernels.VARIABLE: "1"}}
        return {"complete": False, "measurements": [{"rows": parts}], "machine": kernel}

    monkeypatch.setattr(kernels, "batches_differ", lambda flags: True)
    monkeypatch.setattr(benchmark.session, "measure", measure)
    monkeypatch.setattr(benchmark, "elsewhere", elsewhere)
    code, report = measured(tmp_path, "--only", "start", "caching", "captioning", "training")
    assert asked == [["captioning", "start"], (["caching", "training"], 2)]
    assert code == 130 and [one["rows"] for one in report["measurements"]] == [
        ["captioning", "start"], ["caching", "training"]
    ]  # fmt: skip
    assert report["environment_of"]["training"] == {kernels.VARIABLE: "1"}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3, 60])  # while it is loaded, and while it measures
def test_an_interrupt_is_passed_on_to_the_process_elsewhere(exports, tmp_path, capfd, seconds):
    words = ["--rounds", "100000", "--model", str(exports["float32"])]
    press = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    press.start()
    try:
        report = benchmark.elsewhere(["caching"], benchmark.parser().parse_args(words))
    finally:
        press.cancel()
    assert not report["complete"]
    assert ("write the cache" in capfd.readouterr().out) == bool(report["measurements"])


def test_json_that_cannot_be_written_is_known_before(tmp_path, interrupted):
    words = ["--json", str(tmp_path / "none" / "figures.json")]
    with pytest.raises(FileNotFoundError):
        benchmark.main(benchmark.parser().parse_args(words))
