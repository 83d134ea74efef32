"""Which of TensorFlow's kernels compute: oneDNN's, or its own.

On x86, TensorFlow takes oneDNN's by itself where the processor has the instructions named below,
and its own on older ones. On those (two cores with AVX2 and nothing newer) oneDNN's take 0.6 of the
time for a step of training and 0.8 for a ResNet50 of 32 images, but 1.3 times as long for a single
image, whose weights they rearrange at every call. So commands that work on batches ask for them.
TensorFlow reads the variable once, when it is loaded.
"""

import os
import platform

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"

# TensorFlow 2.21's DefaultOneDnnPolicy, in the flags that Linux has for them.
_TAKEN_BY_ITSELF = {
    "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"
}  # fmt: skip


def for_batches() -> None:
    """Asks for oneDNN's kernels, where the environment leaves that open. Before TensorFlow."""
    if _x86():
        os.environ.setdefault(VARIABLE, "1")


def batches_differ(flags: set[str]) -> bool:
    """Whether work on batches has other kernels than what isn't asked for.

    Args:
        flags: the processor's, as Linux spells them.
    """
    return _x86() and VARIABLE not in os.environ and flags.isdisjoint(_TAKEN_BY_ITSELF)


def _x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")
