"""Which kernels TensorFlow is asked for."""

import os
import platform
import subprocess
import sys

import pytest

from captioner import kernels

PROBE = f"""
import os
from captioner import commandline
commandline.run(
    lambda _: print(os.environ.get("{kernels.VARIABLE}")),
    commandline.parser("probe", "").parse_args(),
    batches=BATCHES,
)
"""


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.delenv(kernels.VARIABLE, raising=False)

    def be(name):
        monkeypatch.setattr(platform, "machine", lambda: name)

    yield be
    os.environ.pop(kernels.VARIABLE, None)


@pytest.mark.parametrize("name, chosen", [("x86_64", "1"), ("AMD64", "1"), ("arm64", None)])
def test_batches_are_computed_by_onednn_on_x86(machine, name, chosen):
    machine(name)
    kernels.for_batches()
    assert os.environ.get(kernels.VARIABLE) == chosen


def test_what_the_environment_says_stays(machine, monkeypatch):
    machine("x86_64")
    monkeypatch.setenv(kernels.VARIABLE, "0")
    kernels.for_batches()
    assert os.environ[kernels.VARIABLE] == "0"
    assert not kernels.batches_differ(set())


@pytest.mark.parametrize(
    "name, flags, differ",
    [
        ("x86_64", {"avx2", "fma"}, True),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, False),  # taken by itself
        ("x86_64", {"avx2", "avx_vnni"}, False),
        ("aarch64", {"asimd"}, False),
    ],
)
def test_where_batches_have_kernels_of_their_own(machine, name, flags, differ):
    machine(name)
    assert kernels.batches_differ(flags) == differ


@pytest.mark.parametrize("batches", [True, False])
def test_a_command_asks_before_tensorflow_is_there(batches):
    kept = {name: one for name, one in os.environ.items() if name != kernels.VARIABLE}
    words = [sys.executable, "-c", PROBE.replace("BATCHES", str(batches))]
    done = subprocess.run(words, capture_output=True, text=True, env=kept)
    x86 = platform.machine() in ("x86_64", "AMD64")
    assert done.stdout.split() == ["1" if batches and x86 else "None"], done.stderr
