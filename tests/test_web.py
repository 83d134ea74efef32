"""The web page's server: what is asked and answered, and the page itself."""

import re

import numpy as np
import pytest
from web_site import form, serving, shared  # noqa: F401 (a fixture)

# What is asked, and what is answered


def test_an_image_as_the_body_takes_the_cheapest_signature(shared):
    status, answer, _ = shared.caption(b"photo")
    assert (status, answer) == (
        200, {"captions": [{"text": "a snowman", "log_prob": -2.5}], "error": None}
    )  # fmt: skip
    assert shared.model.last == ("serving_default", {"image_bytes": [b"photo"]})


def test_a_form_says_the_same_as_a_body(shared):
    status, answer, _ = shared.form(("image", b"photo\r\n--xy\r\n"), ("prompt", "café".encode()))
    assert status == 200 and answer["captions"][0]["text"] == "café a snowman"
    inputs = {"image_bytes": [b"photo\r\n--xy\r\n"], "prompt": ["café".encode()]}
    assert shared.model.last == ("caption_with_prompt", inputs)
    _, other, _ = shared.caption(b"photo\r\n--xy\r\n", "?prompt=caf%C3%A9")
    assert other == answer


def test_several_captions_come_with_their_tokens(shared):
    _, answer, _ = shared.form(("captions", b"3"), ("image", b"photo"))
    assert shared.model.last[0] == "caption_beams"
    assert answer["captions"] == [
        {"text": "a snowman", "log_prob": -2.5, "tokens": ["a", "snow", "##man"]},
        {"text": "two snowmen", "log_prob": -3.0, "tokens": ["a", "snow", "##man"]},
    ]  # and no third, as the search found none


def test_attention_has_a_map_a_token(shared):
    _, answer, _ = shared.form(("attention", b"1"), ("image", b"photo"))
    (caption,) = answer["captions"]
    assert caption["tokens"] == ["a", "snow", "##man"]
    maps = np.array(caption["attention"])
    assert maps.shape == (3, 2, 3)
    expected = shared.model(*shared.model.last)["attention"][0, 0, :3]
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_several_images_are_answered_in_order_and_by_themselves(shared):
    status, answer, _ = shared.form(
        ("image", b"one"), ("image", b"bad two"), ("image", b"three"), ("prompt", b"x")
    )
    assert status == 200 and answer["error"] is None
    assert [one["error"] for one in answer["results"]] == [None, "no image", None]
    assert [len(one["captions"]) for one in answer["results"]] == [1, 0, 1]
    assert shared.model.last[1]["image_bytes"] == [b"one", b"bad two", b"three"]


def test_an_unreadable_image_is_told_with_its_reason(shared):
    assert shared.caption(b"bad")[:2] == (422, {"captions": [], "error": "no image"})


def test_the_model_tells_its_name_and_limits(shared):
    _, answer, _ = shared.ask("GET", "/api/model")
    limits = {"upload_bytes": 100_000, "images": 4}
    assert answer == {
        "name": "export/7", "task": "caption", "beams": 3, "limits": limits
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "no image in the request"),
        ([("prompt", b"a")], "no image in the request"),
        ([("image", b"x"), ("beams", b"2")], "unknown field 'beams'; there are image, prompt"),
        ([("image", b"x"), ("captions", b"4")], "'4'; this model gives 1 to 3"),
        ([("image", b"x"), ("captions", b"0")], "'0'; this model gives 1 to 3"),
        ([("image", b"x"), ("captions", b"-1")], "this model gives 1 to 3"),
        ([("image", b"x"), ("captions", "²".encode())], "this model gives 1 to 3"),
        ([("image", b"x"), ("captions", b"9" * 5000)], "this model gives 1 to 3"),
        ([("image", b"x"), ("attention", b"perhaps")], "give 1 or 0"),
        ([("image", b"x"), ("prompt", b"a" * 2001)], "longer than 2000 characters"),
        ([("image", b"x"), ("prompt", b"a" * 10_000)], "too long"),
    ],
)
def test_requests_that_make_no_sense_are_told_why(shared, parts, reason):
    status, answer, _ = shared.form(*parts)
    assert status == 400 and reason in answer["error"], answer


def test_fields_of_the_query_are_checked_as_well(shared):
    status, answer, _ = shared.caption(query="?beams=2")
    assert status == 400 and "unknown field 'beams'" in answer["error"]


@pytest.mark.parametrize(
    "body", [b"", b"--xyz\r\n", b"no form", form(("image", b"x"))[0][:-8], b"--xyz\r\n: \r\n\r\n"]
)
def test_a_broken_form_is_told(shared, body):
    status, answer, _ = shared.caption(body, kind="multipart/form-data; boundary=xyz")
    assert status == 400 and re.search("form|no image", answer["error"]), answer


def test_a_form_without_a_boundary_is_told(shared):
    status, answer, _ = shared.caption(b"x", kind="multipart/form-data")
    assert status == 400 and "boundary" in answer["error"]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_other_contents_are_refused(shared, kind):
    status, answer, _ = shared.caption(kind=kind)
    assert status == 415 and "multipart/form-data" in answer["error"]


def test_a_prompt_that_is_no_text_is_taken_as_well_as_can_be(shared):
    status, _, _ = shared.form(("image", b"x"), ("prompt", b"\xff\xfe\0dog"))
    assert status == 200
    assert shared.model.last[1]["prompt"] == ["\ufffd\ufffd\0dog".encode()]


# The page and the rest


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/card.js", "text/javascript"),
        ("/search.js", "text/javascript"),
        ("/task.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_the_page_is_served_whole(shared, path, kind):
    status, text, headers = shared.ask("GET", path)
    assert status == 200 and headers["content-type"].startswith(kind)
    tag = {"if-none-match": headers["etag"]}
    assert shared.ask("GET", path, headers=tag)[0] == 304
    assert not re.findall(r"""(?:src|href|from|@import|url)\s*[=(]?\s*["']?(?:https?:)?//""", text)


def test_the_page_runs_under_its_policy(shared):
    _, page, _ = shared.ask("GET", "/")
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", page)


@pytest.mark.parametrize("path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/__init__.py"])
def test_nothing_but_the_page_is_served(shared, path):
    assert shared.ask("GET", path)[0] == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/caption"), ("DELETE", "/")])
def test_wrong_methods_are_refused(shared, method, path):
    status, answer, _ = shared.ask(method, path)
    assert status == 405 and answer["error"]


def test_metrics_count_what_happened():
    with serving() as site:
        site.caption()
        site.caption(b"bad")
        site.form(("image", b"x"), ("image", b"bad"))
        site.caption(kind="text/plain")
        status, text, headers = site.ask("GET", "/metrics")
        assert status == 200 and headers["content-type"].startswith("text/plain; version=")
        for line in (
            'captioner_requests_total{outcome="ok"} 2.0',
            'captioner_requests_total{outcome="unreadable"} 1.0',
            'captioner_requests_total{outcome="bad_request"} 1.0',
            'captioner_images_total{outcome="captioned"} 2.0',
            'captioner_images_total{outcome="unreadable"} 2.0',
            "captioner_queue_images 0.0",
        ):
            assert f"\n{line}\n" in text, line
        assert re.search(r'captioner_model_info{.*name="export/7".*} 1.0', text)
        assert "captioner_request_seconds_count 3.0" in text
