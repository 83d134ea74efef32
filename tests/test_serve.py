"""`python -m captioner.serve` as a shell calls it, and under load (slow)."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from clients import jpeg, loaded
from load_server import load_run

from captioner import config, serve
from captioner.errors import CaptionerError
from captioner.serving.exporting import export
from captioner.serving.trained import load_trained

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def started(*words, seconds: float = 120):
    """A server's process, which is killed after so many seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "captioner.serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    )
    watch = threading.Timer(seconds, process.kill)
    watch.start()
    try:
        yield process
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


def url_of(process) -> str:
    """The address in the one line that says that it is ready."""
    line = process.stdout.readline()
    assert line.startswith("serving on http://127.0.0.1:"), process.communicate()
    return line.split()[-1]


def post(url: str, photo: bytes, query: str = "") -> dict:
    request = urllib.request.Request(
        f"{url}/api/caption{query}", photo, {"content-type": "image/jpeg"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def refused(*words) -> str:
    """The one line on standard error of a command that was called wrongly."""
    with started(*words) as process:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 2, err
        assert out == "" and err.count("\n") == 1, err
        return err


def test_a_model_is_served_until_it_is_told_to_end(tiny_run):
    model = loaded(tiny_run / "export" / "1")
    photo = jpeg(1)
    with started("--model", tiny_run / "export", "--port", "0") as process:
        url = url_of(process)
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
            assert answer.status == 200
        expected = model.caption(photo)
        (caption,) = post(url, photo)["captions"]
        assert caption["text"] == expected.text
        assert caption["log_prob"] == pytest.approx(expected.log_prob, abs=1e-3)

        expected = model.caption(photo, "a red car", captions=2, attention=True)
        answer = post(url, photo, "?prompt=a+red+car&captions=2&attention=1")
        for caption, wanted in zip(answer["captions"], expected.captions, strict=True):
            assert caption["text"] == wanted.text
            assert caption["tokens"] == list(wanted.tokens)
            assert caption["attention"] == pytest.approx(wanted.attention, abs=1e-4)

        with pytest.raises(urllib.error.HTTPError) as refused:
            post(url, b"no picture")
        assert refused.value.code == 422
        assert "not an image" in json.load(refused.value)["error"]

        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_it_can_be_told_to_end_while_it_loads(tiny_run):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with started("--model", tiny_run / "export", "--port", port) as process:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60).close()
                break
            threading.Event().wait(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_what_can_not_be_served_costs_one_line(tmp_path):
    assert "holds no captioner" in refused("--model", tmp_path, "--port", "0")


def test_what_is_wrong_before_a_model_is_loaded(tmp_path, capsys):
    def said(*words) -> str:
        try:
            serve.main(serve.parser().parse_args([*map(str, words)]))
        except CaptionerError as error:
            return str(error)
        except SystemExit:
            return capsys.readouterr().err

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = said("--model", tmp_path, "--port", port)
        assert f"port {port}: address already in use; --port 0" in line
    assert "no such host" in said("--model", tmp_path, "--host", "no.such.host.invalid")
    assert "one of --model, --server and --search is needed" in said("--port", "0")
    assert "must be 0 to 65535" in said("--model", tmp_path, "--port", "70000")
    assert "goes with --server" in said("--model", tmp_path, "--model-name", "x")
    assert "not allowed with" in said("--model", tmp_path, "--server", "http://localhost")
    silent = ("--model", tmp_path, "--port", "0", "--min-confidence", "1.5")
    assert "must be from 0 to 1" in said(*silent)


def test_silence_needs_a_calibration(tiny_run):
    words = ("--model", tiny_run / "export", "--port", "0", "--min-confidence")
    assert "no confidence: " in (line := refused(*words, "0.7")) and "captioner.calibrate" in line


def test_other_hosts_than_the_loopback_are_warned_of(tmp_path):
    with started("--model", tmp_path, "--host", "0.0.0.0", "--port", "0") as process:
        assert process.stderr.readline().startswith("note: 0.0.0.0 can be reached from other")
        assert process.stderr.readline().startswith("error: ")  # there is no model


def test_the_options_have_their_defaults():
    given = serve.parser().parse_args(["--model", "x"])
    assert (given.host, given.port, given.batch, given.queue) == ("127.0.0.1", 8080, 32, 256)
    assert (given.server, given.allow_host, given.min_confidence) == (None, [], None)


@pytest.mark.slow
def test_it_may_stand_in_front_of_a_model_server(tiny_run):
    from model_server import serve as serve_model

    model = loaded(tiny_run / "export" / "1")
    photo = jpeg(2)
    with serve_model(tiny_run / "export") as server:
        for address in (server.http_url, server.grpc_url):
            with started("--server", address, "--port", "0") as process:
                url = url_of(process)
                (caption,) = post(url, photo)["captions"]
                assert caption["text"] == model.caption(photo).text
                (caption,) = post(url, photo, "?attention=1")["captions"]
                assert caption["tokens"]


@pytest.mark.slow
def test_under_load_nothing_fails_and_memory_is_bounded(tiny_run, tmp_path):
    for seed in range(40):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed, 300 + 10 * seed, 250))
    # Of a model of a few steps, the likeliest caption may well be the empty one.
    settings = config.changed(
        config.load(tiny_run / "config.json"), ["decode.min_tokens=2"], sections=["decode"]
    )
    version = export(load_trained(tiny_run), settings, tmp_path / "exports", {})
    found = load_run(version, tmp_path, seconds=10, clients=32)
    assert found["requests"] > 32 and found["failed"] == 0, found
    assert found["batch"] > 1
    memory = found["memory"]
    assert memory["end"] < memory["middle"] + 100, memory  # MiB
    assert memory["peak"] < memory["start"] + 1000, memory
    assert found["answered_after_signal"] > 0
    assert (found["exit"], found["stderr"]) == (0, "")
