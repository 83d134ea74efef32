"""What the benchmark's processes run: `python -m captioner.measuring.child WHAT OPTIONS`.

OPTIONS are JSON, and so is the last line that is printed.

Legend: B captions, T tokens, R regions, D encoder width.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from captioner.measuring.machine import peak_memory

_CALLS = 3  # the first of them has graphs to optimise


def nothing() -> dict[str, Any]:
    """Imports TensorFlow."""
    import tensorflow  # noqa: F401

    return {}


def bare(side: int, batch: int) -> dict[str, Any]:
    """Runs a ResNet50 and nothing else."""
    import tensorflow as tf

    from captioner.measuring.bench import resnet

    net, pixels = resnet(side), tf.random.normal([batch, side, side, 3])
    for _ in range(_CALLS):
        net(pixels).numpy()
    return {}


def serve(export: str, photo: str, batch: int) -> dict[str, Any]:
    """Captions with an export and nothing but TensorFlow."""
    import tensorflow as tf

    call = tf.saved_model.load(export).signatures["serving_default"]
    files = tf.constant([Path(photo).read_bytes()] * batch)
    for _ in range(_CALLS):
        call(files)["caption"].numpy()
    return {}


def program(words: list[str]) -> dict[str, Any]:
    """Runs another program: the memory is its own, as this process is smaller."""
    import resource
    import subprocess

    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"peak_bytes": most if sys.platform == "darwin" else most * 1024}


def caption(batch: int, beams: int, tokens: int, vocabulary: int, side: int) -> dict[str, Any]:
    """Captions with a random model of these sizes: seconds of a call, and memory without it."""
    import tensorflow as tf

    from captioner import config
    from captioner.measuring import photos
    from captioner.measuring.subjects import random_model
    from captioner.serving.signatures import ServedCaptioner

    overrides = [
        "model.image_weights=none",
        "model.text_encoder=none",
        "model.sentence_head=false",
        "model.neighbours=0",
        "model.copying=false",
        f"model.image_side={side}",
        f"text.vocabulary={vocabulary}",
        f"decode.beams={beams}",
        f"decode.max_tokens={tokens}",
        f"decode.min_tokens={tokens}",  # as long as can be, whatever the weights
    ]
    settings = config.settings("flickr8k", overrides=overrides)
    served = ServedCaptioner(random_model(settings, vocabulary), settings.decode, side)
    files = tf.constant(photos.cycled(photos.made(photos.WEB, 4), batch))
    call = served.functions["serving_default"]
    before = peak_memory()
    seconds = []
    for _ in range(1 + _CALLS):
        started = time.perf_counter()
        call(files)["caption"].numpy()
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds[1:]), "before_bytes": before}


def records(count: int) -> dict[str, Any]:
    """Goes through batches of so many synthetic records with a caption each: what the records
    take, their captions as tokens, and making batches of them."""
    import numpy as np
    import tensorflow as tf

    from captioner.inputs.pipeline import Batches, examples
    from captioner.inputs.records import Record
    from captioner.inputs.text import CaptionTokenizer
    from captioner.measuring.subjects import vocabulary

    class Zeros:
        """Images that take no memory."""

        spec = {"image": tf.TensorSpec([None, None, None], tf.float16)}

        def __call__(self, images, rng):
            return {"image": np.zeros((len(images), 1, 1), np.float16)}

    tokenizer = CaptionTokenizer(vocabulary(2600))
    known = np.array(tokenizer.vocabulary[4:], object)
    tokenizer.encode(["warm"], 21)
    before = peak_memory()
    rng = np.random.default_rng(0)
    data = [
        Record(str(at), Path(f"{at}.jpg"), (" ".join(known[rng.integers(len(known), size=10)]),),
               "train")
        for at in range(count)
    ]  # fmt: skip
    held = {"records_bytes": peak_memory() - before}
    started, before = time.perf_counter(), peak_memory()
    captions = examples(data, tokenizer, 21, set())
    made = Batches(captions, Zeros(), batch_size=128, captions_per_image=5)
    held |= {"read_seconds": time.perf_counter() - started, "held_bytes": peak_memory() - before}
    started, before = time.perf_counter(), peak_memory()
    steps = made.epoch(0)
    next(steps)
    first = time.perf_counter() - started
    started, done = time.perf_counter(), 0
    for _ in zip(range(200), steps, strict=False):
        done += 1
    step = (time.perf_counter() - started) / max(1, done)
    return held | {
        "first_seconds": first,
        "step_seconds": step,
        "batches_bytes": peak_memory() - before,
    }


def train(folder: str, side: int, distribution: str, processors: int, steps: int) -> dict[str, Any]:
    """Trains on cached features: seconds of `steps` steps, the first few not counted; nothing of a
    worker that isn't the chief.

    Args:
        folder: for what training reads and writes, this process's own.
        side: pixels.
        distribution: as `train.distribution` has it; workers as TF_CONFIG says.
        processors: logical ones to make of the machine's.
        steps: to be timed.
    """
    import contextlib
    import io

    import tensorflow as tf

    device = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * processors
    tf.config.set_logical_device_configuration(device, logical)

    from captioner.inputs.pipeline import CachedImages
    from captioner.learning.distribution import strategy
    from captioner.learning.loop import Stage, Trainer
    from captioner.measuring import made_up
    from captioner.measuring.subjects import WORDS, random_model
    from captioner.measuring.training import WARM

    where = strategy(distribution)  # before anything else is made: workers must find each other
    place = Path(folder)
    settings = made_up.settings_in(place, side)
    with where.scope():
        built = random_model(settings, WORDS)
    cache = made_up.random_cache(place, side, built)
    replicas = where.num_replicas_in_sync
    made = made_up.random_batches(
        CachedImages(cache), built, WARM + steps, replicas=replicas
    )
    run = place / "run"
    run.mkdir()
    times = []

    class Watch:
        """Told by the loop of every step."""

        def step(self, row) -> None:
            times.append(time.perf_counter())

        def validation(self, row) -> None:
            """There is none."""

    stage = Stage("benchmark", made, 1, validate=False)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        Trainer(built.model, settings.train, where, [stage], run, None, Watch()).fit()
    return {"seconds": times[-1] - times[WARM - 1]} if times else {}


def index(folder: str, count: int) -> dict[str, Any]:
    """Makes an index of so many synthetic vectors: seconds, and bytes on the disk. What of them is
    truly the nearest to what `find` asks is kept beside it."""
    import numpy as np

    from captioner.measuring import vectors
    from captioner.photo_index import PhotoIndex

    place, queries = Path(folder), vectors.queries()
    made = PhotoIndex.begin(place / "index", "synthetic", "synthetic", queries.shape[1])
    near = np.full([len(queries), vectors.NEAREST], -2.0, np.float32)
    keys = np.zeros(near.shape, np.int64)
    seconds, done = 0.0, 0
    for some in vectors.drawn(count):
        names = [f"{at}.jpg" for at in range(done, done + len(some))]
        started = time.perf_counter()
        made.add(names, ["0"] * len(names), some)
        seconds += time.perf_counter() - started
        fresh = np.tile(np.arange(done, done + len(some)), (len(queries), 1))
        both = np.concatenate([near, queries @ some.T], 1), np.concatenate([keys, fresh], 1)
        best = np.argpartition(-both[0], vectors.NEAREST - 1)[:, : vectors.NEAREST]
        near, keys = (np.take_along_axis(one, best, 1) for one in both)
        done += len(some)
    started = time.perf_counter()
    made.save()
    seconds += time.perf_counter() - started
    np.save(place / "nearest.npy", keys)
    size = sum(path.stat().st_size for path in (place / "index").iterdir())
    return {"build_seconds": seconds, "disk_bytes": size}


def find(folder: str) -> dict[str, Any]:
    """Searches what `index` made: seconds of a search, the share of the truly nearest that is
    found, and the memory that it took, with what of the files is mapped and was looked at."""
    import numpy as np

    from captioner.measuring import vectors
    from captioner.photo_index import PhotoIndex

    place, queries = Path(folder), vectors.queries()
    true = np.load(place / "nearest.npy")
    before = peak_memory()
    opened = PhotoIndex.open(place / "index")
    seconds, right = [], 0
    for query, nearest in zip(queries, true, strict=True):
        started = time.perf_counter()
        hits = opened.search(query, vectors.NEAREST)
        seconds.append(time.perf_counter() - started)
        right += len({hit.key for hit in hits} & set(nearest.tolist()))
    return {
        "search_seconds": statistics.median(seconds),
        "recall": right / true.size,
        "search_bytes": peak_memory() - before,
    }


_MEASURED = (nothing, bare, serve, program, caption, records, train, index, find)
_WHAT = {one.__name__: one for one in _MEASURED}

if __name__ == "__main__":
    found = _WHAT[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps({"peak_bytes": peak_memory()} | found))
