"""Texts, numbers, lengths of time and money are told as people say them, and in one way everywhere."""

from __future__ import annotations

from datetime import datetime

import pytest

from nanobanana_batch.wording import (
    amount,
    and_more,
    closest,
    counted,
    cut,
    did_you_mean,
    duration_text,
    in_short,
    money_text,
    priced,
    rough_duration_text,
    said,
    shown,
    time_text,
    with_money,
)

DAY_S = 86400.0


@pytest.mark.parametrize(
    ("value", "text"),
    [("a b", "'a b'"), ("a\nb", r"'a\nb'"), ("x" * 80, f"'{'x' * 80}'"), ("x" * 81, f"'{'x' * 77}...'")],
    ids=["short", "two lines", "just fits", "too long"],
)
def test_a_value_is_quoted_in_one_line(value: str, text: str) -> None:
    """And not longer than helps."""
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [("a", "'a'"), (None, "nothing"), (["a"], "a list"), ({"a": "b"}, "a mapping")]
)
def test_what_is_no_text_is_told_by_its_kind(value: object, text: str) -> None:
    """What a file gives in the place of a text may be long, or a secret."""
    assert said(value) == text


@pytest.mark.parametrize(
    ("word", "allowed", "near"),
    [
        ("flash", ["gemini-3.1-flash-image-preview"], ""),
        ("PNG", ["png", "jpg"], "png"),
        (" promt ", ["model", "prompt"], "prompt"),
        ("jp", ["jpg"], ""),
        ("", ["png"], ""),
    ],
)
def test_the_closest_word_is_not_far_away(word: str, allowed: list[str], near: str) -> None:
    """A wrong suggestion is worse than none; of very short words each is close to each."""
    assert closest(word, allowed) == near


def test_a_very_long_word_is_compared_by_its_beginning() -> None:
    """Comparing takes longer than in proportion."""
    assert closest("p" * 1_000_000, ["p" * 200]) == "p" * 200


@pytest.mark.parametrize(("text", "short"), [("a  b\nc", "a b c"), ("abcdef", "abcd…"), ("abcde", "abcde")])
def test_a_text_is_cut_to_one_line(text: str, short: str) -> None:
    """Its end is marked where it is not the end."""
    assert cut(text, 5) == short


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1632, "1,632 rows")]
)
def test_a_number_has_its_noun(count: int, text: str) -> None:
    """One of them is one."""
    assert counted(count, "row") == text


@pytest.mark.parametrize(
    ("names", "of", "text"),
    [
        ([], None, ""),
        (["a", "b"], None, "a, b"),
        (["a", "b", "c", "d"], None, "a, b, and 2 more"),
        (["a", "b"], 2000, "a, b, and 1,998 more"),
        (["a"], 2, "a, and 1 more"),
        ([], 3, ""),
    ],
)
def test_long_lists_are_told_by_their_first(names: list[str], of: int | None, text: str) -> None:
    """Nothing is told of a list of which no name is known."""
    assert in_short(names, 2, of) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.25, "0.25"), (12.5, "12.5"), (19920, "19,920"), (1234567.891, "1,234,567.89")],
)
def test_an_amount_is_written_out(number: float, text: str) -> None:
    """However large: nobody reads 1.23457e+06."""
    assert amount(number) == text


@pytest.mark.parametrize(
    ("credits", "rate", "text"),
    [
        (843.2, 68.0, "$12.40"),
        (6.392, 68.0, "$0.094"),
        (0.034, 68.0, "$0.0005"),
        (0.0, 68.0, "$0"),
        (0.000001, 68.0, "under $0.0001"),
        (84000, 68.0, "$1,235.29"),
        (68.0, None, ""),
    ],
)
def test_money_is_rounded_as_people_read_it(credits: float, rate: float | None, text: str) -> None:
    """Cents from a dollar on; an image costs parts of one."""
    assert money_text(credits, rate) == text


def test_a_price_names_money_where_that_is_known() -> None:
    """Credits are what is reckoned with."""
    assert (priced(680, 68.0), priced(680, None)) == ("680 credits, $10.00", "680 credits")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (89, "89 s"), (90, "2 min"), (7140, "119 min"), (28680, "7 h 58 min")],
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float, text: str) -> None:
    """Seconds, minutes, hours."""
    assert duration_text(seconds) == text


def test_a_time_of_day_is_told_where_somebody_can_mean_it() -> None:
    """Not a date in a year that no clock has, nor one that is more than a month away."""
    noon_s = datetime(2026, 11, 27, 12, 0).timestamp()
    assert time_text(noon_s, 90 * 60) == "2026-11-27 13:30"
    assert [time_text(noon_s, in_s) for in_s in (32 * DAY_S, 1e20, float("nan"))] == ["", "", ""]


@pytest.mark.parametrize(
    ("seconds", "text"), [(28680, "7 h 58 min"), (1.4 * DAY_S, "33 h 36 min"), (3.2 * DAY_S, "3 days")]
)
def test_where_hours_do_not_matter_days_are_said(seconds: float, text: str) -> None:
    """From a day and a half on, rounded."""
    assert rough_duration_text(seconds) == text


def test_what_is_left_out_and_what_was_meant_is_said_where_there_is_any() -> None:
    """Empty texts else, to be put behind others."""
    assert (and_more(1200), and_more(0), and_more(-3)) == (" and 1,200 more", "", "")
    assert (did_you_mean("cat"), did_you_mean(""), did_you_mean(None)) == ("Did you mean 'cat'?", "", "")


def test_money_stands_behind_what_is_told_of_credits() -> None:
    """And not between the number and its noun."""
    told = with_money("96 credits", 96, 68.0), with_money("96", 96, 68.0), with_money("96 credits", 96, None)
    assert told == ("96 credits ($1.41)", "96 ($1.41)", "96 credits")
