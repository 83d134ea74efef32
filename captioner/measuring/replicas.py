"""Training on several replicas beside one, on the same processors.

What several replicas cost beside one is their agreement: gradients that are summed, variables that
each of them steps. On one machine's processors they can't gain anything; on several machines, or
graphics cards, the same share is lost of what these bring.
"""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from captioner.measuring import made_up
from captioner.measuring.bench import Bench
from captioner.measuring.comparison import RATE, Comparison, Contender
from captioner.measuring.processes import child

_STEPS = 12  # that are timed, of a sample
_MOST = 3  # rounds: a process takes seconds to get to its first step
_REPLICAS = 2
# Threads for one operation: a replica's part of the machine. Logical processors share TensorFlow's
# threads, and two that both divide their operations among all of them get in each other's way: two
# on two cores train 0.88 times as fast as one, and 0.92 times with a thread for each.
_THREADS = str(max(1, (os.cpu_count() or 1) // _REPLICAS))
_SHARE = {"TF_NUM_INTRAOP_THREADS": _THREADS, "OMP_NUM_THREADS": _THREADS}


def replicas(bench: Bench) -> Iterator[Comparison]:
    """Steps of one replica, of two logical processors and of two processes."""
    options = {"side": bench.side, "steps": _STEPS}
    one = {**options, "distribution": "none", "processors": 1}
    mirrored = {**options, "distribution": "mirrored", "processors": _REPLICAS}
    workers = {**options, "distribution": "workers", "processors": 1}
    captions = made_up.CAPTIONS * _STEPS
    yield Comparison(
        "replicas",
        f"training on cached features, {made_up.CAPTIONS} captions a step in all",
        RATE,
        [
            Contender("one replica", _one(bench.folder, one), captions),
            Contender(
                "two logical processors, mirrored", _one(bench.folder, mirrored, _SHARE), captions
            ),
            Contender("two processes, workers", _several(bench.folder, workers), captions),
        ],
        warm=0,
        most=_MOST,
    )


def _one(folder: Path, options: dict, environment: dict | None = None) -> Callable[[], float]:
    """Seconds of a training in a process of its own."""

    def sample() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            return child("train", {**options, "folder": own}, environment)["seconds"]

    return sample


def _several(folder: Path, options: dict) -> Callable[[], float]:
    """Seconds of a training of two processes."""

    def sample() -> float:
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(_REPLICAS)]
        with tempfile.TemporaryDirectory(dir=folder) as own, ThreadPoolExecutor(_REPLICAS) as pool:

            def work(index: int) -> dict:
                mine = Path(own) / str(index)
                mine.mkdir()
                task = {"type": "worker", "index": index}
                cluster = {"cluster": {"worker": addresses}, "task": task}
                environment = {**_SHARE, "TF_CONFIG": json.dumps(cluster)}
                return child("train", {**options, "folder": str(mine)}, environment)

            chief, *_ = pool.map(work, range(_REPLICAS))
            return chief["seconds"]

    return sample


def _free_ports(count: int) -> list[int]:
    """Ports of this machine's loopback that nobody listens at."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
