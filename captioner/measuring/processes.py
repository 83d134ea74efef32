"""What only a process of its own can show: how long it takes to start, and how much memory.

`child.py` is what these processes run.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from captioner import children
from captioner.errors import CaptionerError
from captioner.measuring.bench import BARE, Bench
from captioner.measuring.comparison import MEBIBYTES, SECONDS, Comparison, Contender

BATCH = 32
_MOST = 3  # rounds: a process takes seconds


def starting(bench: Bench) -> Iterator[Comparison]:
    """From the start of a process to its first caption."""
    subject = bench.subject
    export, photo = str(subject.export(subject.own)), str(bench.files[0])
    yield Comparison(
        "start",
        "from the start of a process to its end",
        SECONDS,
        [
            Contender("import tensorflow", _ended(["-c", "import tensorflow"])),
            Contender(
                "first caption, TensorFlow alone", _ended(["-c", _plain(export, photo)])
            ),
            Contender(
                "first caption, captioner.predict",
                _ended(["-m", "captioner.predict", "--model", export, photo]),
            ),
        ],
        most=_MOST,
    )


def _plain(export: str, photo: str) -> str:
    """A program that captions a photograph with nothing but TensorFlow."""
    return (
        "import tensorflow as tf\n"
        f"model = tf.saved_model.load({export!r})\n"
        f"with open({photo!r}, 'rb') as file:\n"
        "    found = model.signatures['serving_default'](tf.constant([file.read()]))\n"
        "print(found['caption'].numpy())\n"
    )


def memory(bench: Bench) -> Iterator[Comparison]:
    """The most memory that processes hold."""
    subject = bench.subject
    export = str(subject.export(subject.own))
    photo = str(bench.files[0])
    served = {"export": export, "photo": photo}
    bare = {"side": bench.side}
    contenders = [
        Contender(f"{BARE}, float32", _peak("bare", {**bare, "batch": BATCH})),
        Contender("import tensorflow", _peak("nothing", {})),
        Contender("model loaded, one caption", _peak("serve", {**served, "batch": 1})),
        Contender("model serving", _peak("serve", {**served, "batch": BATCH})),
    ]
    notes = []
    if made := _program(bench):
        words = [str(made), export, *[photo] * BATCH]
        contenders.append(
            Contender("model serving, C++ program", _peak("program", {"words": words}))
        )
    else:
        notes.append("  a C++ program needs Linux, g++ or clang++, and a checkout of captioner")
    yield Comparison(
        "memory",
        f"the most memory of a process, {BATCH} photographs at once",
        MEBIBYTES,
        contenders,
        notes=notes,
        most=_MOST,
        warm=0,
    )


def _program(bench: Bench) -> Path | None:
    """The C++ program that captions files with an export, compiled against TensorFlow's package;
    None where that can't be done."""
    source = Path(__file__).resolve().parents[2] / "tests" / "caption.cc"
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not source.is_file() or not sys.platform.startswith("linux"):
        return None
    import tensorflow as tf

    bench.tell("compiling a C++ program")
    made, libraries = bench.folder / "caption", tf.sysconfig.get_lib()
    done = subprocess.run(
        [
            compiler, *tf.sysconfig.get_compile_flags(), "-w", str(source), "-o", str(made),
            # The session registers itself in a library that no symbol is asked of.
            "-Wl,--no-as-needed", f"-L{libraries}", f"-Wl,-rpath,{libraries}",
            "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2",
        ],
        capture_output=True,
    )  # fmt: skip
    return made if done.returncode == 0 else None


def _ended(words: list[str]) -> Callable[[], float]:
    def sample() -> float:
        started = time.perf_counter()
        _run(words)
        return time.perf_counter() - started

    return sample


def _peak(what: str, options: dict[str, Any]) -> Callable[[], float]:
    return lambda: child(what, options)["peak_bytes"]


def child(
    what: str, options: dict[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Runs a function of `child.py` in a process of its own; what it gives.

    Args:
        what: the function.
        options: its arguments.
        environment: variables beside those that we have.

    Raises:
        CaptionerError: the process failed.
    """
    said = _run(["-m", "captioner.measuring.child", what, json.dumps(options)], environment)
    return json.loads(said.splitlines()[-1])


def _run(words: list[str], environment: Mapping[str, str] | None = None) -> str:
    """What a Python process prints."""
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**children.environment(), **(environment or {})},
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise CaptionerError(f"a process of the benchmark failed ({done.returncode}): {last}")
    return done.stdout
