"""What a benchmark makes of its samples: medians, spread, ratios, tables. Nothing is timed."""

import json

import pytest

from captioner.errors import CaptionerError
from captioner.measuring import comparison, machine, photos, session
from captioner.measuring.comparison import MEBIBYTES, MILLISECONDS, RATE, Comparison, Contender
from captioner.measuring.growth import Column, Growth


def giving(samples, log=None, name=""):
    """A sample function that gives these, one after the other."""
    rest = iter(samples)

    def sample():
        if log is not None:
            log.append(name)
        return next(rest)

    return sample


def compared(unit=RATE, **samples):
    made = Comparison(
        "name", "title", unit,
        [Contender(name, giving(some), 8) for name, some in samples.items()], warm=0,
    )  # fmt: skip
    made.measure(len(next(iter(samples.values()))))
    return made


def test_contenders_take_turns():
    log = []
    made = Comparison(
        "name", "title", RATE,
        [Contender(name, giving(range(1, 9), log, name)) for name in "ab"], warm=1,
    )  # fmt: skip
    made.measure(2)
    assert log == ["a", "b"] * 3
    assert made.samples == {"a": [2, 3], "b": [2, 3]}  # the first round only warms


def test_rates_are_medians_and_ratios_are_theirs():
    first, second = compared(a=[1.0, 4.0, 2.0], b=[2.0, 2.0, 16.0]).rows()
    assert first.median == 8 / 2 and second.median == 8 / 2 and second.samples == 3
    assert first.ratio == 1 and second.ratio == second.median / first.median
    assert first.quartiles == (3.0, 6.0)  # of 2, 4 and 8, between neighbours
    # Round by round b had 1/2, 2 and 1/8 of a's rate.
    assert second.ratio_quartiles == pytest.approx((0.3125, 1.25))


@pytest.mark.parametrize(
    ("unit", "sample", "amount", "figure"),
    [(RATE, 0.5, 32, 64), (MILLISECONDS, 0.25, 1, 250), (MEBIBYTES, 3 * 2**20, 1, 3)],
)
def test_figures(unit, sample, amount, figure):
    made = Comparison("name", "title", unit, [Contender("a", lambda: sample, amount)], warm=0)
    made.measure(1)
    assert made.rows()[0].median == figure
    assert made.rows()[0].quartiles == (figure, figure)


def test_the_direction_stands_in_table_and_json():
    for unit, better in ((RATE, "higher"), (MILLISECONDS, "lower")):
        made = compared(unit, a=[1.0, 2.0])
        assert f"{better} is better" in made.lines()[0]
        assert made.result()["better"] == better


def test_no_more_rounds_than_allowed():
    made = Comparison("n", "t", RATE, [Contender("a", lambda: 1.0)], warm=0, most=2)
    made.measure(5)
    assert made.rows()[0].samples == 2


def test_an_interrupt_leaves_what_is_whole():
    def interrupted():
        raise KeyboardInterrupt

    turns = iter([1.0, 1.0])
    made = Comparison(
        "n", "t", RATE,
        [
            Contender("a", lambda: 2.0),
            Contender("b", lambda: next(turns, None) or interrupted()),
            Contender("c", lambda: 4.0),
        ],
        warm=0,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        made.measure(9)
    assert [(one.name, one.samples, one.ratio) for one in made.rows()] == [
        ("a", 3, 1), ("b", 2, 2), ("c", 2, 0.5)
    ]  # fmt: skip
    assert len(made.lines()) == 5


def test_nothing_measured_gives_nothing():
    made = Comparison("n", "t", RATE, [Contender("a", lambda: 1.0)])
    assert made.rows() == [] and made.lines() == []


def test_a_short_call_is_repeated_within_a_sample(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: next(clock) / 100)
    calls = []
    sample = comparison.timed(lambda: calls.append(1))
    # A call took one hundredth, so a sample is of ten, and here of one tick of the clock.
    assert sample() == pytest.approx(0.001)
    assert len(calls) == 1 + 10
    sample()
    assert len(calls) == 1 + 10 + 10


def test_growth_is_beyond_what_the_size_explains():
    seconds = {1: 1.0, 10: 10.0, 100: 200.0}
    made = Growth(
        "n", "t", "size", list(seconds), [Column("seconds", "s")],
        lambda size: {"seconds": seconds[size], "other": 1},
    )  # fmt: skip
    made.measure(1)
    assert made.rows() == [
        {"size": size, "seconds": some, "growth": growth}
        for (size, some), growth in zip(seconds.items(), (1, 1, 2), strict=True)
    ]
    assert len(made.lines()) == 2 + len(seconds)


def test_growth_of_a_square_goes_by_its_area():
    made = Growth(
        "n", "t", "side", [224, 448], [Column("seconds", "s")],
        lambda size: {"seconds": size**2}, power=2,
    )  # fmt: skip
    made.measure(1)
    assert [row["growth"] for row in made.rows()] == [1, 1]


def test_parts_by_name_in_their_order():
    assert session.chosen(["memory", "captioning"]) == ["captioning", "memory"]
    long = ("growth", "search")
    assert session.chosen([]) == [name for name in session.PARTS if name not in long]
    assert session.chosen(["search"]) == ["search"]
    assert session.chosen([], growth=True) == ["growth"]
    assert session.chosen(["start"], growth=True) == ["start", "growth"]
    with pytest.raises(CaptionerError, match="did you mean training"):
        session.chosen(["trainin"])


def test_the_announcement_says_what_and_how_long():
    few = session.announcement(["start", "memory"], 1)
    assert "start, memory" in few and "about 1 minute on" in few
    assert "about 2 minutes" in session.announcement(["start", "memory"], 3)
    assert "about 8 minutes" in session.announcement(["growth"], 50)


def test_the_machine_s_facts_are_json_and_hold_no_path(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    known = machine.facts()
    text = json.dumps(known, allow_nan=False)
    assert "/" not in text.replace(known["processor"], "")
    assert known["cores"] >= 1 and known["memory_bytes"] > 2**28
    assert known["environment"]["OMP_NUM_THREADS"] == "3"
    assert len(machine.lines(known)) == 2


@pytest.mark.slow
def test_peak_memory_grows_with_what_is_held():
    before = machine.peak_memory()
    held = b"x" * (before + 2**26)  # more than was ever held
    assert machine.peak_memory() >= before + 2**26
    del held
    assert machine.peak_memory() >= before + 2**26


def test_photographs_are_real_ones_and_the_same_each_time():
    from PIL import Image

    made = photos.made((100, 75), 2)
    assert made == photos.made((100, 75), 2) and made[0] != made[1]
    import io

    assert Image.open(io.BytesIO(made[0])).size == (100, 75)
    assert photos.cycled(made, 5) == [*made, *made, made[0]]


def test_a_folder_s_photographs(tmp_path):
    (tmp_path / "b.JPG").write_bytes(b"b")
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "notes.txt").write_bytes(b"c")
    assert photos.of_folder(tmp_path) == [b"a", b"b"]
    with pytest.raises(CaptionerError, match="no folder of images"):
        photos.of_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptionerError, match="holds no images"):
        photos.of_folder(tmp_path / "empty")
