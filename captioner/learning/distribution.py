"""Where training runs: one device, all local devices, or several workers."""

import functools
import os

import tensorflow as tf

from captioner.errors import CaptionerError


def strategy(name: str) -> tf.distribute.Strategy:
    """The strategy that `train.distribution` names.

    Logical processors share TensorFlow's threads; where each has its part of them
    (TF_NUM_INTRAOP_THREADS, read when TensorFlow starts), they don't wait for each other.

    Raises:
        CaptionerError: `workers` without TF_CONFIG, or with one that is wrong.
    """
    several = bool(os.environ.get("TF_CONFIG"))
    if name == "workers" or (name == "auto" and several):
        if not several:
            raise CaptionerError(
                "train.distribution=workers needs the environment variable TF_CONFIG: "
                "a JSON object with cluster and task"
            )
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, TypeError, tf.errors.OpError) as error:
            reason = str(error).partition("\n")[0]
            raise CaptionerError(f"the workers of TF_CONFIG can't be joined: {reason}") from None
    if name == "none":
        return tf.distribute.get_strategy()
    # With no GPU it is the machine's processors, logical ones included, that are mirrored.
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return _mirrored(tuple(device.name for device in devices))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """One per process: a second one's reductions would be taken for the first one's, and fail
    where their shapes differ."""
    return tf.distribute.MirroredStrategy(devices)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )


def local_replicas(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """(first, end) of this process's replicas among all replicas."""
    workers = strategy.extended._num_workers if _several(strategy) else 1  # noqa: SLF001
    each = strategy.num_replicas_in_sync // workers
    index = _worker_index(strategy) if _several(strategy) else 0
    return index * each, (index + 1) * each


def _several(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _worker_index(strategy: tf.distribute.Strategy) -> int:
    resolver = strategy.cluster_resolver
    before = 1 if resolver.task_type == "worker" and "chief" in resolver.cluster_spec().jobs else 0
    return (resolver.task_id or 0) + before
