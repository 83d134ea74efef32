"""Two replicas, and two workers, give what one gives."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny

from captioner.errors import CaptionerError
from captioner.inputs.pipeline import CachedImages
from captioner.learning import distribution
from captioner.learning.loop import Interrupted

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def mirrored():
    made = distribution.strategy("mirrored")
    assert made.num_replicas_in_sync == 2
    return made


def one_view() -> CachedImages:
    """Views and prompts are drawn per replica, so one and two replicas draw others."""
    cache = tiny.Cache()
    cache.views = 1
    return CachedImages(cache)


def compare(strategy, tmp_path, images: int, encoder=None, **settings) -> list:
    """Trains on one replica and on two; everything that a step computes must agree."""
    data = tiny.captions(images)
    data = replace(data, prompts=["dog", "a red", "", "kite", ""] * 3)
    data = replace(data, prompts=data.prompts[: len(data)])
    trainers = []
    for where in (tf.distribute.get_strategy(), strategy):
        batches = tiny.batches(where, encoder, data=data, images=one_view())
        run = tmp_path / str(where.num_replicas_in_sync)
        made = tiny.trainer(
            run, strategy=where, encoder=encoder, data=batches, epochs=2, **settings
        )
        made.fit()
        trainers.append(made)
    one, two = (made._report.rows for made in trainers)
    for key in ("loss", "nats_per_token", "gradient_norm", "learning_rate"):
        np.testing.assert_allclose(
            [row[key] for row in one], [row[key] for row in two], rtol=2e-4, err_msg=key
        )
    one, two = (tiny.everything(made) for made in trainers)
    assert one.keys() == two.keys()
    groups = zip(*(made._optimisation.groups for made in trainers), strict=True)
    for (a, variables), (b, _) in groups:
        # Moments are sums of gradients: equal moments are equal gradients.
        for x, y in zip(a.variables, b.variables, strict=True):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=2e-3, atol=1e-6, err_msg=x.path)
        assert len(variables) > 10
    for name in one:
        if not name.startswith(("seed", "optimizer")):
            # Adam makes whole steps of gradients that are nothing but rounding.
            close = np.isclose(one[name], two[name], rtol=0, atol=1e-5)
            assert close.mean() > 0.9, name
            np.testing.assert_allclose(one[name], two[name], atol=0.005, err_msg=name)
    return trainers


def test_two_replicas_equal_one(mirrored, tmp_path):
    """Steps of 4 and 3 images: 2 + 2 and 2 + 1."""
    compare(mirrored, tmp_path, images=7)


@pytest.mark.slow
def test_a_replica_without_a_caption(mirrored, tmp_path, tiny_encoder):
    """Steps of 4 and 1 images, with prompts, some of which are empty."""
    one, two = compare(mirrored, tmp_path, images=5, encoder=tiny_encoder)
    shares = [[len(part["tokens"]) for part in parts] for parts in two._stages[0].batches.epoch(0)]
    assert shares == [[4, 4], [2, 0]]


@pytest.mark.slow
def test_dropout_under_replicas_resumes(mirrored, tmp_path):
    """On a plateau, whose lower rate is every replica's, too."""

    def trainer(name):
        plateau = {"schedule": "plateau", "schedule_patience": 1}
        made = tiny.trainer(
            tmp_path / name, strategy=mirrored, dropout=0.4, epochs=3, warmup=0.0,
            validate=lambda _: lambda: {"CIDEr": 0.5}, **plateau,
        )  # fmt: skip
        return made

    whole, broken = trainer("whole"), trainer("broken")
    whole.fit()
    broken._report.at_step = lambda step: step == 5 and os.kill(os.getpid(), 15)
    with pytest.raises(Interrupted):
        broken.fit()
    again = trainer("broken")
    again.fit()
    tiny.assert_same(tiny.everything(again), tiny.everything(whole))
    assert again.progress == whole.progress and whole.progress.level == pytest.approx(0.09)
    rates = [row["learning_rate"] for row in whole._report.rows]
    np.testing.assert_allclose(rates, [1e-3] * 4 + [3e-4] * 2, rtol=1e-5)
    # Each replica holds the same.
    learned = [variable.value for variable in whole._optimisation.variables]
    for variable in [*learned, *whole._optimisation.averages, *whole._optimisation._levels]:
        first, second = mirrored.experimental_local_results(variable)
        np.testing.assert_array_equal(first.numpy(), second.numpy())


# Which strategy, and who writes.


@pytest.mark.parametrize("name", ["auto", "mirrored"])
def test_local_devices_are_mirrored(name, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    made = distribution.strategy(name)
    assert isinstance(made, tf.distribute.MirroredStrategy)
    assert distribution.is_chief(made) and distribution.local_replicas(made) == (0, 2)


def test_one_strategy_serves_the_whole_process():
    """TensorFlow mixes up the reductions of two."""
    assert distribution.strategy("mirrored") is distribution.strategy("auto")


def test_none_is_one_device():
    made = distribution.strategy("none")
    assert made.num_replicas_in_sync == 1
    assert distribution.is_chief(made) and distribution.local_replicas(made) == (0, 1)


def test_workers_need_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(CaptionerError, match="TF_CONFIG"):
        distribution.strategy("workers")


@pytest.mark.parametrize(
    "config",
    ["nonsense", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 7}}'],
)
def test_a_wrong_tf_config_is_one_clear_line(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(CaptionerError, match="TF_CONFIG") as raised:
        distribution.strategy("auto")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("cluster", "task", "chief"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 0), True),
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("chief", 0), True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("worker", 0), False),
        ({}, ("", None), True),
    ],
)
def test_only_one_is_chief(cluster, task, chief):
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
    )
    assert distribution.is_chief(SimpleNamespace(cluster_resolver=resolver)) == chief


# Two processes.


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def command(run: Path, data: Path, overrides: list[str]) -> list[str]:
    return [
        sys.executable, "-m", "captioner.train", "--debug", "--data", f"csv:{data}",
        "--run", str(run), "--set", *overrides,
    ]  # fmt: skip


@pytest.mark.slow
def test_two_workers_equal_one(drawn, tiny_overrides, tmp_path):
    """Two processes train together; the chief alone writes; the losses are those of one process."""
    more = ["model.dropout=0", "model.feature_dropout=0", "text.prompts=0",
            "train.distribution=auto", "train.epochs=1"]  # fmt: skip
    overrides = [*tiny_overrides, *more]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    base = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    base.pop("TF_CONFIG", None)
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        log = (tmp_path / f"{index}.log").open("w+")
        process = subprocess.Popen(
            command(tmp_path / "two", drawn, overrides),
            env=base | {"TF_CONFIG": json.dumps(task)},
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        processes.append((process, log))
    try:
        outputs = [process.communicate(timeout=500)[0] for process, _ in processes]
    finally:
        for process, log in processes:
            process.kill()
            log.close()
    logs = [(tmp_path / f"{index}.log").read_text() for index in range(2)]
    assert [process.returncode for process, _ in processes] == [0, 0], logs
    assert "CIDEr" in outputs[0] and outputs[1] == ""
    files = {path.name.partition(".")[0] for path in (tmp_path / "two").iterdir()}
    assert files == {
        "config", "vocabulary", "checkpoints", "metrics", "events", "curves", "scores", "export",
        "neighbours",
    }  # fmt: skip
    assert len(list((tmp_path / "two").glob("events*"))) == 1
    assert [path.name for path in (tmp_path / "two" / "export").iterdir()] == ["1"]
    alone = subprocess.run(
        command(tmp_path / "one", drawn, overrides), env=base, capture_output=True, check=False
    )
    assert alone.returncode == 0, alone.stderr.decode()[-3000:]
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").open()]
        for run in ("one", "two")
    ]
    np.testing.assert_allclose(*losses, rtol=1e-3)
