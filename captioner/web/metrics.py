"""What the server tells of itself at /metrics, in Prometheus' text format."""

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client import generate_latest as _text

# Upper ends of latency buckets, in seconds: from a lone photo to a full queue.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The figures of one server, in a registry of their own, so that tests can have several.

    Attributes:
        requests: counter by `outcome`: ok, unreadable, bad_request, too_large, busy, too_slow,
            gone, failed.
        requested: histogram of the seconds that answered requests took, upload included.
        images: counter by `outcome`: captioned, unreadable.
        batch: histogram of the images in a batch.
        queued, model: histograms of seconds, from an image's arrival to its batch, and of a
            batch's call by `signature`.
        waiting: gauge of the images in the queue.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "captioner_requests", "Requests of captions, answers or photos.", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.images = Counter(
            "captioner_images", "Images that were answered.", ["outcome"], registry=self.registry
        )
        self.requested = Histogram(
            "captioner_request_seconds",
            "Requests that were answered, upload included.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "captioner_batch_images",
            "Images in a batch.",
            buckets=(1, 2, 4, 8, 16, 24, 32, 64, 128),
            registry=self.registry,
        )
        self.queued = Histogram(
            "captioner_queue_seconds",
            "From an image's arrival to its batch.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.model = Histogram(
            "captioner_model_seconds",
            "One call of the model.",
            ["signature"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "captioner_queue_images", "Images in the queue.", registry=self.registry
        )
        self._about = Info("captioner_model", "What is served.", registry=self.registry)

    def describe(self, **labels: object) -> None:
        """Sets the labels of `captioner_model_info`."""
        self._about.info({name: str(value) for name, value in labels.items()})

    def text(self) -> bytes:
        """Everything, as /metrics answers."""
        return _text(self.registry)
