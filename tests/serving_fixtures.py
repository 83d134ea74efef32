"""Fixtures of the tests of the client: a model server on the loopback, and ways to it."""

import functools

import numpy as np
import pytest
from clients import loaded
from model_server import serve

from captioner.serving import client

PROMPTS = ["", "two dogs", "été à Köln 貓…", "what?"]

# A busy machine may take its time; where time is what is tested, a test says so.
connect = functools.partial(client.connect, timeout=300)


@pytest.fixture(scope="module")
def serving(tiny_run):
    with serve(tiny_run / "export", labels={"stable": 1}) as made:
        yield made


@pytest.fixture
def server(serving):
    """A server that remembers nothing of other tests."""
    serving.reset()
    return serving


@pytest.fixture(params=["http", "grpc"])
def way(request) -> str:
    return request.param


@pytest.fixture
def url(server, way) -> str:
    """The server's address, in turn of each protocol."""
    return server.http_url if way == "http" else server.grpc_url


@pytest.fixture
def local(tiny_run):
    """The export itself, which has the same answers."""
    return loaded(tiny_run / "export")


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses between attempts, which are not made."""
    made: list[float] = []
    monkeypatch.setattr(client.time, "sleep", made.append)
    return made


def same(found: dict, expected: dict) -> None:
    """Bit for bit, types included."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, name)
        if value.dtype == object:
            assert all(isinstance(one, bytes) for one in found[name].flat)
