"""The export in a C++ program (slow): built against the headers and libraries of the tensorflow
package, it prints the captions that Python gives."""

import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
from clients import UNREADABLE, jpeg, loaded

SOURCE = Path(__file__).parent / "caption.cc"


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The compiled program."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++)")
    made = tmp_path_factory.mktemp("cpp") / "caption"
    libraries = tf.sysconfig.get_lib()
    command = [
        compiler,
        *tf.sysconfig.get_compile_flags(),
        "-w",  # TensorFlow's headers warn of one another
        str(SOURCE),
        "-o",
        str(made),
        # The session registers itself in a library that no symbol is asked of.
        "-Wl,--no-as-needed",
        f"-L{libraries}",
        f"-Wl,-rpath,{libraries}",
        "-l:libtensorflow_cc.so.2",
        "-l:libtensorflow_framework.so.2",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


def lines(program: Path, export: Path, files: list[Path]) -> list[str]:
    command = [program, export, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "optimizer" not in done.stderr, done.stderr  # a graph that its optimiser stumbles over
    return done.stdout.splitlines()


def test_the_program_is_short():
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) <= 80


@pytest.mark.slow
def test_a_program_in_cpp_prints_the_same_captions(program, exports, drawn, tmp_path):
    files = sorted(drawn.parent.rglob("*.jpg"))[:4]
    bad = {**UNREADABLE, "good": jpeg(5)}
    for name, contents in bad.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(contents)
    files.append(tmp_path / "nowhere")
    for export in exports.values():
        found = lines(program, export, files)
        expected = loaded(export).caption([file.read_bytes() for file in files[:-1]] + [b""])
        assert len(found) == len(expected)
        for line, one in zip(found, expected, strict=True):
            if one.error:
                assert line == f"error: {one.error}"
            else:
                text, log_prob = line.split("\t")
                assert text == one.text
                assert float(log_prob) == pytest.approx(one.log_prob, abs=1e-3)


@pytest.mark.slow
def test_a_folder_without_a_model_is_an_error(program, tmp_path):
    done = subprocess.run([program, tmp_path, "x.jpg"], capture_output=True, text=True)
    assert done.returncode == 1 and "SavedModel" in done.stderr and not done.stdout
