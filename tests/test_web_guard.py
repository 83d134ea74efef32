"""The web page's server: who may ask, its beginning and its end."""

import contextlib
import io
import re
import socket
import threading

import pytest
from PIL import Image
from web_site import Pretender, read, serving, until, shared  # noqa: F401 (a fixture)

from captioner.captioning import Captioner
from captioner.errors import CaptionerError
from captioner.web.server import bind

# Who may ask


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_loopback_answers_to_its_names(shared, host):
    assert shared.ask("GET", "/", headers={"host": f"{host}:{shared.port}"})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::", "a@b"])
def test_the_loopback_answers_to_no_other_name(shared, host):
    status, answer, headers = shared.ask("GET", "/api/model", headers={"host": host})
    assert status == 403 and "--allow-host" in answer["error"]
    assert headers["x-content-type-options"] == "nosniff"


def test_further_names_can_be_allowed():
    with serving(more_hosts=["photos.example"]) as site:
        for host, status in (("photos.example", 200), ("localhost", 200), ("evil.example", 403)):
            assert site.ask("GET", "/", headers={"host": host})[0] == status


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_web_sites_cannot_post(shared, headers):
    before = len(shared.model.calls)
    status, answer, _ = shared.caption(**headers)
    assert status == 403 and "other web sites" in answer["error"]
    assert len(shared.model.calls) == before


def test_the_page_itself_can_post(shared):
    origin = {"origin": f"http://127.0.0.1:{shared.port}", "sec-fetch-site": "same-origin"}
    assert shared.caption(**origin)[0] == 200


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/model", "/nothing", "/healthz"])
def test_every_answer_has_the_security_headers(shared, path):
    _, _, headers = shared.ask("GET", path)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


# Beginning and end


def test_health_comes_before_readiness():
    loading = threading.Event()

    def load():
        assert loading.wait(20)
        return Captioner("a/model", Pretender(), {"beams": 3})

    with serving(load=load) as site:
        until(lambda: site.ask("GET", "/healthz")[0] == 200)
        assert site.ask("GET", "/readyz")[0] == 503
        assert site.ask("GET", "/")[0] == 200
        status, answer, headers = site.caption()
        assert status == 503 and "not ready" in answer["error"] and "retry-after" in headers
        assert site.ask("GET", "/api/model")[0] == 503
        assert not site.announced.is_set()
        loading.set()
        assert site.announced.wait(20)
        assert site.ask("GET", "/readyz")[0] == 200
        assert site.caption()[0] == 200


def test_every_signature_is_called_before_it_is_ready(shared):
    assert {name for name, _ in shared.model.calls[:3]} == {
        "serving_default", "caption_with_prompt", "caption_beams"
    }  # fmt: skip
    with Image.open(io.BytesIO(shared.model.calls[0][1]["image_bytes"][0])) as image:
        image.load()


def test_a_model_that_does_not_load_ends_the_server():
    def load():
        raise CaptionerError("no captioner here")

    with serving(load=load) as site:
        site.thread.join(20)
        assert str(site.failure) == "no captioner here"


def test_ending_answers_what_was_taken_and_takes_no_more():
    with serving() as site:
        site.model.gate.clear()
        connection = site.connect()
        connection.request("POST", "/api/caption", b"taken", {"content-type": "image/jpeg"})
        until(lambda: b"taken" in site.model.last[1]["image_bytes"])
        site.server.stop()

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", site.port), 1).close()
            except OSError:
                return True
            return False

        until(refused)
        site.model.gate.set()
        status, answer, headers = read(connection)
        assert status == 200 and answer["captions"]
        assert headers["connection"] == "close"
        site.thread.join(20)
        assert not site.thread.is_alive() and site.failure is None


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "8.8.8.8", "a" * 70])
def test_hosts_that_are_not_here_are_told(host):
    with pytest.raises(CaptionerError, match=re.escape(host)):
        bind(host, 0)


def test_a_port_that_is_taken_is_told():
    with contextlib.closing(bind("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CaptionerError, match=f"port {port}: address already in use"):
            bind("127.0.0.1", port)
