"""What several test files share: small real data, a tiny real encoder, and one trained run."""

import ctypes
import gc
import os
import signal
from pathlib import Path

import pytest

# A shell's background jobs ignore Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CAPTIONER_SHARED", ROOT.parent / "shared"))

# Two replicas on any machine: TensorFlow must be told before it starts.
import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="module", autouse=True)
def memory_given_back():
    """Models are cycles of objects, which Python would keep until it has many more of them, and
    the C library keeps what they leave."""
    yield
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:  # glibc's
        trim(0)


@pytest.fixture(scope="session")
def flickr8k() -> Path:
    """The folder of real photographs; the test skips where it isn't there."""
    folder = SHARED / "data" / "flickr8k"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder} (set CAPTIONER_SHARED)")
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A CSV data set of 40 drawn pictures with five captions each."""
    from captioner.inputs import demo

    folder = tmp_path_factory.mktemp("data") / "drawn"
    demo.write(folder, images=40, seed=3, side=64)
    return folder / "captions.csv"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A random BERT of width 8 in the Hub's format."""
    from captioner import pretrained

    return pretrained.tiny_text_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="session")
def tiny_overrides(tiny_encoder, tmp_path_factory) -> list[str]:
    """`--set` words for a real captioner that trains in seconds."""
    return [
        "model.image_side=64",
        "model.image_weights=none",
        f"model.text_encoder={tiny_encoder}",
        "model.units=16",
        "model.heads=2",
        "model.sentence_head=true",
        "model.neighbours=4",
        "model.copying=true",
        "train.epochs=2",
        "train.batch_size=40",
        "train.distribution=none",
        "decode.beams=3",
        "decode.max_tokens=10",
        f"data.folder={tmp_path_factory.mktemp('cache')}",
    ]


@pytest.fixture(scope="session")
def tiny_run(drawn, tiny_overrides, tmp_path_factory) -> Path:
    """A finished run folder with one export in `export/1`."""
    from captioner import config
    from captioner.learning.run import train

    run = tmp_path_factory.mktemp("runs") / "tiny"
    settings = config.settings("demo", data=f"csv:{drawn}", overrides=tiny_overrides)
    train(settings, run, run / "export")
    return run


@pytest.fixture(scope="session")
def exports(tiny_run, tmp_path_factory) -> dict[str, Path]:
    """Version folders of the tiny run, by what their weights are stored in."""
    from captioner import config
    from captioner.serving.exporting import export
    from captioner.serving.trained import load_trained

    folder = tmp_path_factory.mktemp("exports")
    settings = config.load(tiny_run / "config.json")
    half = export(load_trained(tiny_run), settings, folder, {}, storage="float16")
    return {"float32": tiny_run / "export" / "1", "float16": half}


@pytest.fixture(scope="session")
def tiny_towers(drawn, tiny_encoder, tmp_path_factory) -> Path:
    """A finished run of two towers with one export in `export/1`."""
    from captioner import config
    from captioner.learning.run import train

    run = tmp_path_factory.mktemp("towers") / "tiny"
    overrides = [
        "model.image_side=64",
        "model.image_weights=none",
        f"model.text_encoder={tiny_encoder}",
        "train.epochs=2",
        "train.batch_size=40",
        "train.distribution=none",
        f"data.folder={tmp_path_factory.mktemp('cache')}",
    ]
    settings = config.settings("lit", data=f"csv:{drawn}", overrides=overrides)
    train(settings, run, run / "export")
    return run
