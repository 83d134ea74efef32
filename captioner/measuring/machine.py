"""What a benchmark ran on: figures are of a machine, and mean nothing without it."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from captioner import kernels

# What sets the number of threads and chooses kernels, if anything does.
_CHOICES = (
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", kernels.VARIABLE
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Processor, cores, memory, versions, threads, kernels and load; nothing about the user.

    Loads TensorFlow, for the accelerators there are.
    """
    import tensorflow as tf

    devices = [
        tf.config.experimental.get_device_details(one).get("device_name", one.device_type)
        for one in tf.config.list_physical_devices()
        if one.device_type != "CPU"
    ]
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": _memory(),
        "accelerators": devices,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": version("keras"),
        "environment": {name: os.environ[name] for name in _CHOICES if name in os.environ},
        "load": round(os.getloadavg()[0], 2),
    }


def lines(known: dict[str, Any]) -> list[str]:
    """The facts, for people."""
    size = known["memory_bytes"]
    memory = "" if size is None else f", {size / 2**30:.1f} GiB"
    choices = [f"{name}={value}" for name, value in known["environment"].items()]
    if not known["environment"].keys() - {kernels.VARIABLE}:
        choices.insert(0, "as many threads as cores")
    return [
        f"{known['processor']}, {known['cores']} cores{memory}, "
        f"{', '.join(known['accelerators']) or 'no accelerator'}",
        f"TensorFlow {known['tensorflow']}, Keras {known['keras']}, Python {known['python']}, "
        f"{', '.join(choices)}; load average {known['load']} before the start",
    ]


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16, as far as the system says so."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags())


def flags() -> set[str]:
    """The processor's abilities as Linux spells them; none where another system keeps them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((one for one in lines if one.startswith(("flags", "Features"))), "").split())


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not `getrusage`: what it says begins with the memory of the process that started us.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:  # another system
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
