"""The words for a run at one moment: those of a person who looks at 3 a.m."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nanobanana_batch.live.snapshot import Live, State
from nanobanana_batch.screen.live_text import block, log_line, state_text
from nanobanana_batch.wording import clock_text

NOW = 1_800_000_000.0
SENDING = Live(
    at=NOW,
    state=State.SENDING,
    rows=300,
    completed=120,
    failed=3,
    refused=2,
    expired=0,
    unknown=1,
    in_flight=60,
    in_flight_allowed=64,
    images=120,
    began_at=NOW - 600,
    images_per_s=0.52,
    last_image_at=NOW - 2,
    done_at=NOW + 900,
    credits_used=1200.0,
    credits_cap=5000.0,
    credits_projected=3000.0,
    credits_per_usd=100.0,
)


def clock(in_s: float) -> str:
    return clock_text(NOW + in_s, NOW)


def test_all_that_counts_stands_in_the_block() -> None:
    """Done and not done, in flight and allowed, how fast, until when, and money of the cap."""
    text = " ".join(block(SENDING, 200))
    for part in (
        "sending",
        "60 in flight of 64 allowed",
        "0.52 images/s",
        "last image 2 s ago",
        f"done about {clock(900)} (in 15 min)",
        "120 done, 3 failed, 2 refused, 1 unknown",
        "1,200 credits ($12.00) of 5,000, about 3,000 ($30.00) when all is made",
    ):
        assert part in text


def test_nothing_is_said_of_money_where_a_provider_says_nothing() -> None:
    """Images for 0 credits would be untrue; before the first one it is true, and of a limit it is wanted."""
    free = replace(SENDING, credits_used=0.0, credits_cap=None, credits_projected=None)
    assert "credits" not in " ".join([*block(free, 200), log_line(free)])
    assert "; ;" not in log_line(free)
    assert "0 credits ($0)" in log_line(replace(free, completed=0))
    assert "0 credits ($0) of 5" in log_line(replace(free, credits_cap=5.0))


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """But for one part that is: it is not torn."""
    live = replace(SENDING, troubles=((NOW - 60, "x" * 500),))
    longest_part = len("1,200 credits ($12.00) of 5,000, about 3,000 ($30.00) when all is made")
    assert all(len(line) <= max(width, longest_part) for line in block(live, width))


def test_the_line_of_a_log_has_it_all_too() -> None:
    """One line, whatever was said."""
    line = log_line(replace(SENDING, slowed="now about 60\nnew requests a minute"))
    assert "\n" not in line
    for part in ("sending: 120 of 300 done", "3 failed", "60 in flight", "0.52 images/s", "$12.00"):
        assert part in line


@pytest.mark.parametrize(
    ("live", "said"),
    [
        (
            replace(SENDING, state=State.WAITING, about="quota", held_until=NOW + 7200),
            f"waiting until {clock(7200)} for the daily quota",
        ),
        (
            replace(SENDING, state=State.WAITING, about="wait", held_until=NOW + 60),
            f"waiting until {clock(60)} as the provider asks",
        ),
        (
            replace(
                SENDING,
                state=State.DOWN,
                about="submit",
                held_since=NOW - 3600,
                next_try_at=NOW + 40,
                gives_up_at=NOW + 3600,
            ),
            f"provider down since {clock(-3600)}, next try in 40 s, gives up at {clock(3600)}",
        ),
        (
            replace(SENDING, state=State.BLOCKED, about="fetch", held_since=NOW - 60),
            f"images cannot be fetched or saved since {clock(-60)}",
        ),
        (replace(SENDING, state=State.COLLECTING, in_flight=5), "collecting the last 5"),
        (
            replace(SENDING, state=State.COLLECTING, interrupted=True, collects_of=64, in_flight=38),
            "collecting what is paid for, 26 of 64",
        ),
        (
            replace(SENDING, state=State.DOWN, about="read", interrupted=True, collects_of=4, in_flight=4),
            "collecting what is paid for, 0 of 4; tasks cannot be read",
        ),
    ],
)
def test_the_state_is_said_in_words(live: Live, said: str) -> None:
    """What it waits for, since when, until when, and when it gives up."""
    assert state_text(live) == said


def test_nothing_is_said_of_pace_while_it_waits() -> None:
    """What it was an hour ago is no news."""
    assert "images/s" not in log_line(replace(SENDING, state=State.WAITING, about="quota"))


def test_what_nobody_knows_is_said_to_be_unknown() -> None:
    """No end of an outage is made up."""
    live = replace(SENDING, done_at=None, not_said="not known while this lasts")
    assert "end: not known while this lasts" in log_line(live)


@pytest.mark.parametrize(
    ("in_s", "form"), [(0, "%H:%M"), (2 * 86400, "%a %H:%M"), (30 * 86400, "%Y-%m-%d %H:%M"), (1e300, "?")]
)
def test_a_moment_of_another_day_has_its_day(in_s: float, form: str) -> None:
    """03:12 tomorrow is not 03:12 today."""
    from datetime import datetime

    wanted = form if form == "?" else datetime.fromtimestamp(NOW + in_s).strftime(form)
    assert clock_text(NOW + in_s, NOW) == wanted
