"""The web page's server with an index of photographs, built and embedded by tiny towers."""

import io
import json
from pathlib import Path

import pytest
from clients import jpeg
from PIL import Image
from test_serve import refused
from web_site import form, serving

import captioner
from captioner import search, serve
from captioner.errors import CaptionerError
from captioner.inputs.convert import sendable
from captioner.searching import open_index
from captioner.web.app import Limits
from captioner.web.finding import Finder

pytest.importorskip("usearch", reason="the extra search isn't installed")

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def model(tiny_towers):
    return captioner.load(tiny_towers / "export")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, 90, 60))
    (folder / "line\nend \udcff.jpg").write_bytes(jpeg(3, 90, 60))
    Image.effect_mandelbrot((1200, 900), (-2, -1, 1, 1), 50).save(
        folder / "large.jpg", exif=b"Exif\0\0secret place", comment=b"secret remark"
    )
    (folder / "gone.jpg").write_bytes(jpeg(5, 90, 60))
    (folder / "changed.jpg").write_bytes(jpeg(6, 90, 60))
    return folder


@pytest.fixture(scope="module")
def index(photos, model, tiny_towers, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "index"
    words = ["build", "--model", str(tiny_towers / "export"), "--index", str(folder), str(photos)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioner.loading.load", lambda folder: model)
        search.main(search.parser().parse_args(words))
    (photos / "gone.jpg").unlink()
    (photos / "changed.jpg").write_bytes(b"not the photo of before")
    return folder


@pytest.fixture(scope="module")
def site(index, model):
    from captioner.photo_index import PhotoIndex

    limits = Limits(upload=100_000)
    opened = (PhotoIndex.open(index), model)
    with serving(limits, sendable, lambda: opened, ready=True, make=Finder) as site:
        yield site


def ask(site, **wanted):
    return site.ask("POST", "/api/search", json.dumps(wanted), JSON)


def by_photo(site, contents, query="", kind="image/jpeg"):
    return site.ask("POST", f"/api/search{query}", contents, {"content-type": kind})


def test_a_sentence_finds_what_the_index_finds(site, model):
    status, answer, _ = ask(site, text="a red ball", count=5)
    assert status == 200 and answer["error"] is None
    (vector,) = model.texts(["a red ball"])
    hits = site.service.index.search(vector, 5)
    assert [one["number"] for one in answer["photos"]] == [hit.key for hit in hits]
    assert [one["similarity"] for one in answer["photos"]] == [hit.similarity for hit in hits]
    _, everything, _ = ask(site, text="a red ball")
    assert everything["photos"][:5] == answer["photos"] and len(everything["photos"]) == 7
    names = {one["name"] for one in everything["photos"]}
    assert r"line\nend \udcff.jpg" in names and not any("/" in name for name in names)


def test_a_photo_finds_what_is_like_it(site, model, photos):
    contents = (photos / "1.jpg").read_bytes()
    _, answer, _ = by_photo(site, contents)
    (found,) = [one for one in answer["photos"] if one["name"] == "1.jpg"]
    assert found["similarity"] == pytest.approx(1, abs=2e-3)  # of half precision
    near = [one["similarity"] for one in answer["photos"]]
    assert len(near) == 7 and near == sorted(near, reverse=True)
    file = io.BytesIO()  # of a kind that the graph doesn't read
    Image.open(photos / "1.jpg").save(file, "WEBP", lossless=True)
    _, other, _ = by_photo(site, file.getvalue(), kind="image/webp")
    assert [one["similarity"] for one in other["photos"]] == pytest.approx(near, abs=5e-3)
    body, kind = form(("count", b"2"), ("image", contents))
    assert by_photo(site, body, kind=kind)[1]["photos"] == answer["photos"][:2]


def test_thumbnails_are_small_and_say_nothing_else(site, photos):
    _, answer, _ = ask(site, text="a")
    numbers = {one["name"]: one["number"] for one in answer["photos"]}
    for name, size in (("large.jpg", (480, 360)), ("1.jpg", (90, 60))):
        status, contents, headers = raw(site, f"/api/photos/{numbers[name]}")
        assert status == 200 and headers["content-type"] == "image/jpeg"
        assert headers["x-content-type-options"] == "nosniff"
        image = Image.open(io.BytesIO(contents))
        assert image.size == size and b"secret" not in contents
        assert contents != (photos / name).read_bytes()


def test_photos_that_are_gone_or_changed_are_said_to_be(site):
    _, answer, _ = ask(site, text="a")
    problems = {one["name"]: one for one in answer["photos"]}
    for name, reason in (("gone.jpg", "gone from where"), ("changed.jpg", "has changed since")):
        assert reason in problems[name]["problem"]
        status, told, _ = site.ask("GET", f"/api/photos/{problems[name]['number']}")
        assert status == 410 and reason in told["error"]
    assert all(
        one["problem"] is None for name, one in problems.items() if name[0] not in "gc"
    )


@pytest.mark.parametrize(
    "number",
    ["7", "999999999999", "9" * 5000, "-1", "²", "1.jpg", "0x1", "..", "%2e%2e%2fpasswd", ""]
    + ["..%2f..%2f..%2fetc%2fpasswd", "%00", "1/../0", "0%00", "%2fetc%2fpasswd", "0/"],
)
def test_nothing_but_numbers_of_the_index_is_served(site, number):
    number = "%C2%B2" if number == "²" else number
    status, answer, _ = site.ask("GET", f"/api/photos/{number}")
    # 307 leads to the same number without its slash.
    assert status == 404 or (number == "0/" and status == 307), answer
    assert "root:" not in str(answer)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "broken JSON"),
        (b"{", "broken JSON"),
        (b"\xff\xfe", "broken JSON"),
        (b"[" * 60_000, "broken JSON"),
        (b"[]", "no object"),
        (b'"text"', "no object"),
        (b"{}", "no text"),
        (b'{"text": " "}', "no text"),
        (b'{"text": 7}', "no text"),
        (b'{"text": "a", "path": "/etc/passwd"}', "unknown field 'path'"),
        (b'{"text": "a", "count": 0}', "finds 1 to 100"),
        (b'{"text": "a", "count": 101}', "finds 1 to 100"),
        (b'{"text": "a", "count": true}', "finds 1 to 100"),
        (b'{"text": "a", "count": 1.5}', "finds 1 to 100"),
        (b'{"text": "a", "count": NaN}', "finds 1 to 100"),
        (b'{"text": "a", "count": [1]}', "finds 1 to 100"),
        (b'{"text": "a", "count": null}', "finds 1 to 100"),
        (json.dumps({"text": "a" * 2001}).encode(), "longer than 2000"),
    ],
)
def test_searches_that_make_no_sense_are_told_why(site, body, reason):
    status, answer, _ = site.ask("POST", "/api/search", body, JSON)
    assert status == 400 and answer["photos"] == [] and reason in answer["error"], answer


def test_half_a_character_is_searched_as_well_as_can_be(site):
    status, answer, _ = site.ask("POST", "/api/search", rb'{"text": "a \ud800 dog\u0000"}', JSON)
    assert status == 200 and len(answer["photos"]) == 7


def test_uploads_are_bounded_and_have_to_be_photos(site):
    assert by_photo(site, b"x" * 100_001)[0] == 413
    assert site.ask("POST", "/api/search", b"[" + b" " * 2**16, JSON)[0] == 413
    status, answer, _ = by_photo(site, b"no photo")
    assert status == 422 and answer["photos"] == [] and "not an image" in answer["error"]
    assert by_photo(site, jpeg(1)[:300])[0] == 422
    body, kind = form(("image", jpeg(1, 60, 50)), ("image", jpeg(2, 60, 50)))
    assert by_photo(site, body, kind=kind)[0] == 413
    assert by_photo(site, jpeg(1, 60, 50), "?count=x")[0] == 400
    assert by_photo(site, jpeg(1, 60, 50), "?path=/etc/passwd")[0] == 400
    assert by_photo(site, b"x", kind="text/plain")[0] == 415
    assert site.ask("GET", "/api/search")[0] == 405


def test_other_web_sites_cannot_search(site):
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert site.ask("POST", "/api/search", b'{"text": "a"}', JSON | headers)[0] == 403
    assert site.ask("GET", "/api/photos/0", headers={"host": "evil.example"})[0] == 403


def test_the_index_is_described(site):
    _, about, _ = site.ask("GET", "/api/model")
    assert (about["task"], about["photos"], about["most"]) == ("contrastive", 7, 100)
    assert site.ask("POST", "/api/caption")[0] == 404
    assert 'photos="7"' in site.ask("GET", "/metrics")[1]


def test_no_more_searches_wait_than_are_allowed(index, model, monkeypatch):
    from captioner.photo_index import PhotoIndex

    opened = (PhotoIndex.open(index), model)
    with serving(Limits(queue=1), None, lambda: opened, ready=True, make=Finder) as site:
        monkeypatch.setattr(site.service, "_waiting", 1)
        status, answer, headers = ask(site, text="a")
        assert status == 503 and "too many" in answer["error"] and "retry-after" in headers


def test_index_and_model_must_belong_together(index, model, tmp_path, monkeypatch):
    monkeypatch.setattr("captioner.loading.load", lambda folder: model)
    assert open_index(index)[1] is model
    monkeypatch.setattr(model, "identity", "another")
    with pytest.raises(CaptionerError, match="is of another model"):
        open_index(index)
    (tmp_path / "config.json").write_text('{"task": "caption"}')
    with pytest.raises(CaptionerError, match="a model of the task caption"):
        open_index(index, tmp_path)
    with pytest.raises(CaptionerError, match="is no index: python -m captioner.search build"):
        open_index(tmp_path)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--search", "x", "--server", "http://localhost:1"], "--server is about captions"),
        (["--search", "x", "--model", "y", "--min-confidence", "0.5"], "--min-confidence is about"),
        (["--model", "TOWERS"], "--search INDEX serves an index of photos"),
        ([], "one of --model, --server and --search is needed"),
    ],
)
def test_options_that_do_not_go_together(words, reason, tiny_towers):
    words = [str(tiny_towers) if word == "TOWERS" else word for word in words]
    with pytest.raises(CaptionerError, match=reason):
        serve.main(serve.parser().parse_args(words))


def test_the_command_refuses_what_is_no_index(tmp_path):
    assert "is no index" in refused("--search", tmp_path / "none", "--port", "0")


def raw(site, path):
    connection = site.connect()
    connection.request("GET", path)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    contents = answer.read()
    connection.close()
    return answer.status, contents, headers
