"""What a run says of itself: what it does, how fast it is, and until when."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nanobanana_batch
from nanobanana_batch.engine.limits import gate, quota
from nanobanana_batch.engine.stages import answers
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.live.snapshot import Live, State
from nanobanana_batch.live.watch import STATE_OF_HOLD, Watch


class Clock:
    """Unix seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Going:
    """A run of some rows, looked at each second as a screen does."""

    def __init__(self, rows: int, at_once: int) -> None:
        self.clock = Clock()
        self.tally = Tally(total=rows, in_flight_allowed=at_once, now=self.clock, is_going=True)
        self.watch = Watch(self.tally)
        self._attempts = iter(range(1, 10**6))
        self._open: list[int] = []

    def send(self, count: int) -> None:
        for _ in range(count):
            attempt = next(self._attempts)
            self.tally.sent(attempt)
            self._open.append(attempt)
            self.tally.in_flight += 1

    def save(self, count: int, credits: float = 10.0) -> None:
        for _ in range(count):
            self.tally.saved(self._open.pop(0), is_last=True)
            self.tally.in_flight -= 1
            self.tally.completed += 1
            self.tally.credits += credits

    def wave(self, count: int, row_s: int) -> None:
        """So many rows, all sent at once and all there after so long."""
        self.send(count)
        self.after(row_s)
        self.save(count)

    def after(self, seconds: int) -> Live:
        for _ in range(seconds):
            self.clock.now += 1.0
            live = self.watch.look()
        return live

    def in_s(self, live: Live) -> float:
        assert live.done_at is not None, live.not_said
        return live.done_at - self.clock.now


def test_before_anything_is_sent_it_starts() -> None:
    """Files are looked through, a manifest is read."""
    going = Going(10, 4)
    going.tally.is_going = False
    live = going.after(1)
    assert (live.state, live.done_at, live.not_said) == (State.STARTING, None, "")


def test_no_end_is_told_before_one_image_is_there() -> None:
    """Nobody knows how long one takes; with the first, everybody does."""
    going = Going(100, 10)
    going.send(10)
    live = going.after(20)
    assert (live.state, live.done_at) == (State.SENDING, None)
    assert "first image" in live.not_said
    going.save(1)
    live = going.after(1)
    # 99 rows left, ten at a time, of 20 s each
    assert going.in_s(live) == pytest.approx(89 / (10 / 20) + 20, rel=0.15)


def test_the_pace_of_the_run_says_when_it_is_done() -> None:
    """The provider takes half of what the concurrency would allow."""
    going = Going(1000, 20)
    for _ in range(30):
        going.wave(5, 5)  # one row a second
    live = going.watch.look()
    assert live.images_per_s == pytest.approx(1.0, rel=0.1)
    assert going.in_s(live) == pytest.approx(850, rel=0.1)


def test_an_outage_has_no_end_that_anybody_knows() -> None:
    """It says so, since when, when it is tried again, and when the run gives up."""
    going = Going(100, 10)
    going.wave(10, 5)
    going.tally.trouble("cannot be reached", gives_up_in_s=3600.0)
    going.tally.tries_again("submit", 40.0, 3500.0)
    began = going.clock.now
    live = going.after(10)
    assert (live.state, live.done_at, live.held_since) == (State.DOWN, None, began)
    assert "while this lasts" in live.not_said
    assert live.next_try_at == began + 40.0
    assert live.gives_up_at == began + 3500.0


def test_a_quota_is_waited_for_and_then_the_rows_take_their_time() -> None:
    """The end that is told is that of the wait and of the rows that come after it."""
    going = Going(100, 10)
    going.wave(10, 10)
    before = going.in_s(going.watch.look())
    going.tally.trouble("used up", "quota", ends_in_s=7200.0)
    live = going.after(1)
    assert live.state is State.WAITING
    assert live.held_until == pytest.approx(going.clock.now - 1 + 7200.0)
    assert going.in_s(live) == pytest.approx(7200.0 + before, rel=0.05)


def test_a_wait_says_nothing_about_the_pace() -> None:
    """An hour without an image, and the run is as fast as before."""
    going = Going(1000, 10)
    for _ in range(10):
        going.wave(10, 10)
    before = going.watch.look().images_per_s
    going.tally.trouble("used up", "quota", ends_in_s=3600.0)
    going.after(3600)
    going.tally.all_well("quota")
    assert going.watch.look().images_per_s == before
    assert going.tally.waited()["quota"] == pytest.approx(3600.0)


def test_the_tail_waits_for_the_last_ones_and_says_when_they_are_late() -> None:
    """Three rows are left, and nothing more is sent: no pace of before counts."""
    going = Going(33, 10)
    for _ in range(3):
        going.wave(10, 20)
    going.send(3)
    live = going.after(5)
    assert live.state is State.COLLECTING
    assert going.in_s(live) == pytest.approx(15.0)
    live = going.after(30)
    assert live.done_at is None
    assert "longer than most" in live.not_said


def test_who_interrupts_sees_what_is_collected_and_not_the_whole_run() -> None:
    """Of the ten in flight four are there; the ninety others are no matter now."""
    going = Going(100, 10)
    going.wave(10, 20)
    going.send(10)
    going.tally.interrupted("Stopping.")
    going.after(1)
    going.save(4)
    live = going.after(1)
    assert (live.state, live.interrupted, live.collects_of, live.in_flight) == (State.COLLECTING, True, 10, 6)
    assert going.in_s(live) < 20
    assert not going.tally.troubles


def test_of_several_troubles_the_one_is_told_that_decides_how_long() -> None:
    """A quota that resets in hours comes before reads that fail."""
    going = Going(10, 4)
    going.tally.trouble("reading fails", "read")
    going.tally.trouble("used up", "quota", ends_in_s=60.0)
    assert going.after(1).about == "quota"
    going.tally.all_well("quota")
    assert going.after(1).about == "read"


def test_every_kind_of_trouble_has_its_words() -> None:
    """One that somebody adds to the engine must not take the screen away."""
    engine = Path(nanobanana_batch.__file__).parent / "engine"
    calls = [
        node
        for path in engine.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("tally.trouble")
    ]
    names = {ast.unparse(call.args[1]) for call in calls if len(call.args) > 1}
    assert len(names) >= 5
    known = {repr(about) for about in STATE_OF_HOLD} | {"_ABOUT", "_KEEPING"}
    assert names <= known
    assert {gate._ABOUT, quota._ABOUT, answers._KEEPING, "submit"} <= set(STATE_OF_HOLD)


def test_the_last_three_troubles_stay_with_their_times() -> None:
    """Also when all is well again: who looks in the morning wants to know."""
    going = Going(10, 4)
    for number in range(5):
        going.tally.trouble(f"trouble {number}")
        going.after(10)
        going.tally.all_well()
    live = going.watch.look()
    assert [text for _at, text in live.troubles] == ["trouble 2", "trouble 3", "trouble 4"]
    assert [at - live.began_at for at, _text in live.troubles] == [20.0, 30.0, 40.0]


@pytest.mark.parametrize(("listed", "projected"), [(None, 1000.0), (1234.0, 1234.0)])
def test_what_it_will_cost_is_projected(listed: float | None, projected: float) -> None:
    """By known prices, or else by what the rows of this run have cost."""
    going = Going(100, 10)
    going.tally.credits_projected = listed
    assert going.after(1).credits_projected == listed
    going.wave(10, 5)
    assert going.after(1).credits_projected == pytest.approx(projected)


def test_another_process_reads_what_was_written() -> None:
    """Field for field."""
    going = Going(10, 4)
    going.wave(4, 5)
    going.tally.trouble("a\u001b[2Jb", "quota", ends_in_s=60.0)
    live = going.after(1)
    assert Live.from_json(live.as_json()) == live


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"at": "yesterday"}',
        '{"at": NaN}',
        "[" * 100_000,
        '{"at": 1e999, "state": "sending"}',
        '{"at": 1, "state": "dancing"}',
    ],
    ids=["empty", "list", "null", "no_fields", "text", "nan", "deep", "infinite", "state"],
)
def test_a_strangers_words_are_none(text: str) -> None:
    """The file may be damaged, or anybody's."""
    assert Live.from_json(text) is None
