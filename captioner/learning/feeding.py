"""From batches to the replicas that train on them, made ready while others are trained on.

The replicas' iterators are plain ones, one for each, and tf.data's tuner is off. A distributed
iterator has a tuner of its own, with nothing to tune here, and whoever lets go of it waits for the
tuner's thread: it looks whether it is to end when a time is up that grows with the iterator's age
(TensorFlow 2.21; what should wake it comes before what it then looks for). After every epoch
that took up to as long as the epoch again.
"""

import itertools
import threading
from collections.abc import Iterator

import tensorflow as tf

from captioner.inputs.pipeline import Batch, Batches

# Batches of a replica that are ready before they are asked for.
_AHEAD = 2


def feed(
    batches: Batches, epoch: int, first: int, replicas: tuple[int, int]
) -> list[Iterator[dict[str, tf.Tensor]]]:
    """An epoch's batches from step `first` on.

    Args:
        batches: what to train on.
        epoch: which.
        first: the step of the epoch to begin with.
        replicas: (first, end) of this process's.

    Returns:
        an iterator for each replica of this process. Each step must ask all of them.
    """
    signature = batches.signature()
    options = tf.data.Options()
    options.autotune.enabled = False
    made = []
    start, end = replicas
    shared = _Shared(batches.epoch(epoch, first), end - start)
    for local in range(end - start):

        def generate(local=local):
            for step in shared.of(local):
                yield step[start + local]

        dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
        made.append(iter(dataset.prefetch(_AHEAD).with_options(options)))
    return made


class _Shared:
    """One iterator for several threads, each of which is given all of it."""

    def __init__(self, items: Iterator[list[Batch]], count: int):
        self._lock = threading.Lock()
        self._all = itertools.tee(items, count)

    def of(self, reader: int) -> Iterator[list[Batch]]:
        """What one of them is given."""
        while True:
            with self._lock:
                try:
                    item = next(self._all[reader])
                except StopIteration:
                    return
            yield item
