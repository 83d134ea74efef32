"""How sure the web page's server is of its captions, and its silence where it isn't."""

import pytest
from web_site import Site, form, serving

from captioner.captioning import Captioner
from captioner.confidence import Calibration
from captioner.errors import CaptionerError
from captioner.web.answers import Wish
from captioner.web.app import Limits
from captioner.web.uploads import Refused

# What `web_site.Pretender` says: "a snowman" at -2.5 nats, "two snowmen" at -3.
CALIBRATION = Calibration(3.0, 2.0, 50, 0.5, {"beams": 3, "max_tokens": 5})
FIRST = CALIBRATION.confidence("a snowman", -2.5)
SECOND = CALIBRATION.confidence("two snowmen", -3.0)


@pytest.fixture(scope="module")
def sure():
    with serving(calibration=CALIBRATION) as site:
        yield site


def test_captions_come_with_their_confidence(sure):
    _, answer, _ = sure.caption()
    (caption,) = answer["captions"]
    assert caption == {
        "text": "a snowman", "log_prob": -2.5, "confidence": pytest.approx(FIRST)
    }  # fmt: skip
    _, answer, _ = sure.caption(query="?captions=3&attention=1")
    assert [one["confidence"] for one in answer["captions"]] == pytest.approx([FIRST, SECOND])
    assert set(answer["captions"][0]) == {
        "text", "log_prob", "confidence", "tokens", "attention"
    }  # fmt: skip
    assert set(sure.ask("GET", "/api/model")[1]) == {"name", "task", "beams", "limits"}


def test_with_a_prompt_nothing_is_known_of_it(sure):
    status, answer, _ = sure.caption(query="?prompt=snow")
    assert status == 200 and set(answer["captions"][0]) == {"text", "log_prob"}


@pytest.mark.parametrize(
    ("least", "kept"), [(SECOND, ["a snowman", "two snowmen"]), (FIRST, ["a snowman"])]
)
def test_captions_that_are_less_sure_are_left_out(least, kept):
    with serving(calibration=CALIBRATION, min_confidence=least) as site:
        status, answer, _ = site.caption(query="?captions=2")
        assert (status, answer["error"]) == (200, None)
        assert [one["text"] for one in answer["captions"]] == kept
        assert site.ask("GET", "/api/model")[1]["min_confidence"] == least


def test_where_none_is_sure_enough_the_answer_is_silence():
    with serving(calibration=CALIBRATION, min_confidence=0.9) as site:
        status, answer, _ = site.caption()
        silent = {
            "captions": [],
            "error": f"kept silent: at most {FIRST:.2f} sure, 0.9 was asked for",
            "left_out": pytest.approx(FIRST),
        }
        assert (status, answer) == (200, silent)  # nothing is wrong with the image
        # Silence isn't taken for an image that can't be read, nor the other way round.
        assert site.caption(b"bad")[:2] == (422, {"captions": [], "error": "no image"})
        body, kind = form(("image", b"one"), ("image", b"bad"))
        status, answer, _ = site.caption(body, kind=kind)
        assert status == 200
        assert answer["results"] == [silent, {"captions": [], "error": "no image"}]
        assert site.sample("images_total", outcome="silent") == 2
        assert site.sample("images_total", outcome="unreadable") == 2
        assert site.sample("requests_total", outcome="ok") == 2


def test_prompts_are_refused_where_it_has_to_be_sure():
    with pytest.raises(Refused, match="leave the prompt out") as refused:
        Wish.of({"prompt": "snow"}, 3, prompts=False)
    assert refused.value.status == 400
    assert Wish.of({"prompt": " "}, 3, prompts=False) == Wish.of({}, 3)
    with serving(calibration=CALIBRATION, min_confidence=0.5) as site:
        assert site.caption(query="?prompt=snow")[0] == 400
        assert site.caption(query="?prompt=")[0] == 200


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [(None, "no calibration; .*captioner.calibrate"),
     (Calibration(3.0, 2.0, 50, 0.5, {"beams": 7}), "other settings .beams: 7 there, 3 asked")],
)  # fmt: skip
def test_what_can_not_tell_how_sure_it_is_is_not_served(calibration, reason):
    def load():
        return Captioner("m", None, {"beams": 3, "max_tokens": 5}, calibration=calibration)

    site = Site(Limits(), None, load, min_confidence=0.5)
    site.thread.join(30)
    assert not site.thread.is_alive() and isinstance(site.failure, CaptionerError)
    with pytest.raises(CaptionerError, match=f"no confidence: .*{reason}"):
        raise site.failure
