"""What several test files share: small real data, a tiny real encoder, and one trained run."""

import ctypes
import gc
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

# A shell's background jobs ignore Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CAPTIONER_SHARED", ROOT.parent / "shared"))

ENOUGH = 2 * 2**30  # bytes that a process may keep from one file of tests to the next


def pytest_configure(config):
    """Two replicas on any machine: TensorFlow must be told before it starts. What only hands tests
    to other processes does without it."""
    if config.option.dist != "no":
        return
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )


def _blocks():
    """The module with ResNet50, and its function that makes a stage's blocks."""
    import keras

    module = sys.modules[keras.applications.ResNet50.__module__]
    return module, module.stack_residual_blocks_v1


@pytest.fixture(scope="session", autouse=True)
def narrow_resnet50():
    """ResNet50 has all its layers and an eighth of its channels: a model is one of 2 MB instead of
    100, which are otherwise drawn, saved, summed up and folded in every run. Gives the function
    that makes it as it is."""
    module, wide = _blocks()

    def narrow(x, filters, blocks, **options):
        return wide(x, filters // 8, blocks, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, wide.__name__, narrow)
        yield wide


@pytest.fixture
def full_resnet50(narrow_resnet50, monkeypatch):
    """ResNet50 as it is."""
    module, _ = _blocks()
    monkeypatch.setattr(module, narrow_resnet50.__name__, narrow_resnet50)


def pytest_xdist_auto_num_workers(config):
    """The whole fast suite is shared by two processes; what is picked out runs in one, which
    has begun sooner. The slow tests run one after the other, as they start processes themselves."""
    files = [one for one in config.option.file_or_dir if not Path(one).is_dir()]
    some = files or config.option.keyword
    return 0 if some or config.option.markexpr != "not slow" else 2


def pytest_collection_finish(session):
    """What is there by now stays: the collector of cycles needn't look at it again and again. And
    graphs are run as they are: to make a tiny model's quicker takes longer than to run it. The slow
    tests, and all processes that tests start, have TensorFlow's optimiser of graphs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    if session.config.option.markexpr == "not slow" and "tensorflow" in sys.modules:
        import tensorflow as tf
        from tiny_training import AS_THEY_ARE

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        os.environ[AS_THEY_ARE] = "1"


@pytest.fixture(scope="module", autouse=True)
def memory_given_back():
    """Models are cycles of objects, which Python would keep until it has many more of them, and
    the C library keeps what they leave. TensorFlow registers the gradient of each sum over replicas
    for good, and with it all of the graph around it. Where that isn't enough, what it has prepared
    to run goes, too; models that are still used are prepared again."""
    yield
    import keras
    from clients import loaded
    from tensorflow.python.framework import ops

    gradients = ops._gradient_registry._registry
    for name in [name for name in gradients if name.startswith("CustomGradient-")]:
        del gradients[name]
    gc.collect()
    if _resident() > ENOUGH:
        loaded.cache_clear()
        keras.backend.clear_session()
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:  # glibc's
        trim(0)


def _resident() -> int:
    """The process's memory in bytes; 0 where that isn't known."""
    known = Path("/proc/self/statm")
    return int(known.read_text().split()[1]) * resource.getpagesize() if known.is_file() else 0


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
        "decode.bigrams=0.3",
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
