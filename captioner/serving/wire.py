"""What the two ways to a model server, REST and gRPC, have in common."""

import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

MIB = 2**20
# Bytes that an answer may have in any case: what the server says of the model takes some.
LEAST_ANSWER = MIB
_LONGEST = 300  # characters of a server's words that are shown


@dataclass(frozen=True)
class Which:
    """The model that is meant."""

    url: str
    name: str
    version: int | None
    label: str | None

    def __str__(self):
        return f"the model {self.name} at {self.url}"


class Output(NamedTuple):
    """An output of a signature, as the server describes it."""

    text: bool
    """Whether it is a string rather than a float32."""
    shape: tuple[int, ...]
    """The first dimension, B, is -1."""


class Refused(Exception):
    """No answer, or one that is an error; the message is for the user.

    again: whether asking again may help. after: seconds that the server asks to wait.
    missing: whether the model, version or label isn't there.
    """

    def __init__(self, message: str, *, again=False, after=0.0, missing=False):
        super().__init__(message)
        self.again, self.after, self.missing = again, after, missing


class Way(Protocol):
    """A protocol to a model, `rest.Rest` or `rpc.Grpc`; safe to share between threads.

    Everything raises `Refused` where it gets no answer before `deadline` (of `time.monotonic`), or
    none that makes sense.
    """

    which: Which
    max_bytes: int

    def size(self, value: bytes) -> int:
        """The most bytes that a value takes in a request."""

    def signatures(self, deadline: float) -> dict[str, dict[str, Output]]:
        """The outputs by signature and name."""

    def states(self, deadline: float) -> list[tuple[int, str, str]]:
        """(version, state, error message) of all the model's versions."""

    def predict(
        self,
        signature: str,
        inputs: dict[str, list[bytes]],
        outputs: dict[str, Output],
        deadline: float,
    ) -> dict[str, np.ndarray]:
        """One request; `outputs` are the signature's, the answer has their shapes and types."""


def left(deadline: float, where: str) -> float:
    """Seconds until `deadline` (of `time.monotonic`), above 0."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise late(where)
    return seconds


def late(where: str) -> Refused:
    """There is no time left."""
    return Refused(f"no answer from {where} in time; give it longer, or send less at once")


def senseless(which: Which) -> Refused:
    """The answer has not what was asked for."""
    return Refused(f"{which} gave an answer that holds no captions")


def is_label_unknown(words: str) -> bool:
    """Whether a server's words mean that (tensorflow_serving/model_servers/server_core.cc)."""
    return "Unrecognized servable version label" in words


def one_line(words: str) -> str:
    """A server's words as one line of a length to be read."""
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def check_shapes(
    which: Which, shapes: dict[str, tuple], outputs: dict[str, Output], count: int
) -> None:
    """Raises `Refused` unless an answer has the shapes that the model promised at the beginning."""
    for name, shape in shapes.items():
        promised = (count, *outputs[name].shape[1:])
        if shape != promised:
            raise Refused(
                f"{which} gave {name} of shape {list(shape)} instead of {list(promised)}; "
                "if it was replaced by another meanwhile, connect again"
            )
