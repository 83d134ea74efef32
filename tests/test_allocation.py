"""What a process frees is kept for what it makes next."""

import platform
import subprocess
import sys

import pytest

from captioner import allocation

_AGAIN_AND_AGAIN = """
import resource, threading
import numpy as np
from captioner import allocation
if {kept}:
    assert allocation.keep_freed()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    for _ in range(10):
        begun = faults()
        made = [np.ones(5 << 20, np.uint8) for _ in range(8)]
        del made
    print(faults() - begun)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(kept: bool) -> int:
    """Page faults of making and freeing 40 MiB for the tenth time."""
    command = [sys.executable, "-c", _AGAIN_AND_AGAIN.format(kept=kept)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of other C libraries nothing is set")
def test_what_is_freed_is_not_asked_for_again():
    assert faults(kept=True) < faults(kept=False) / 10


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(allocation.sys, "platform", "darwin")
    assert allocation.keep_freed() is False
