"""What may be said of a run from Python, and what is said to who says something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

import nanobanana_batch as nb
from nanobanana_batch.api.orders import given, order_of, settings_of
from nanobanana_batch.api.rows import Given
from nanobanana_batch.api.values import read_seconds
from nanobanana_batch.engine.limits.outcomes import MaxFailures
from nanobanana_batch.engine.limits.quota import OnDailyQuota
from nanobanana_batch.engine.settings import OnUnknown

MODEL = "gemini-3.1-flash-image-preview"
ROWS = [{"prompt": "a cat", "model": MODEL}]


def test_settings_are_those_that_were_said() -> None:
    """Each by the name of its option; more requests at once than tasks in flight make no sense."""
    settings = settings_of(
        {
            "concurrency": 4,
            "submit_concurrency": 9,
            "rate": 30,
            "max_attempts": numpy.int64(2),
            "max_credits": numpy.float64(2.5),
            "max_failures": "10%",
            "max_outage": "2h",
            "on_daily_quota": "stop",
            "stuck_after": 90,
            "on_unknown": "resubmit",
        }
    )
    assert (settings.concurrency, settings.submit_concurrency, settings.submits_per_min) == (4, 4, 30.0)
    assert (settings.max_attempts, settings.max_credits) == (2, 2.5)
    assert settings.max_failures == MaxFailures(share=0.1)
    assert (settings.max_outage_s, settings.first_contact_s, settings.stuck_after_s) == (7200, 7200, 90)
    assert (settings.on_daily_quota, settings.on_unknown) == (OnDailyQuota.STOP, OnUnknown.RESUBMIT)


def test_a_provider_that_never_answered_is_given_up_soon_unless_a_limit_was_given() -> None:
    """As on the command line."""
    assert settings_of({}).first_contact_s < settings_of({}).max_outage_s
    assert settings_of({"max_outage": 28800}).first_contact_s == 28800


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": 0}, "concurrency: 0 is no whole number from 1 on"),
        ({"concurrency": True}, "concurrency: True"),
        ({"concurrency": 2.5}, "concurrency: 2.5"),
        ({"submit_concurrency": "8"}, "submit_concurrency: '8'"),
        ({"max_attempts": -1}, "max_attempts: -1"),
        ({"rate": 0}, "rate: 0 is no number above 0"),
        ({"max_credits": float("inf")}, "max_credits: inf"),
        ({"max_credits": float("nan")}, "max_credits: nan"),
        ({"max_failures": "some"}, "max_failures: 'some' is neither"),
        ({"max_failures": 0}, "max_failures: '0' is neither"),
        ({"max_outage": "soon"}, "max_outage: 'soon' is no time"),
        ({"max_outage": "0h"}, "max_outage: '0h' is no time"),
        ({"stuck_after": -3}, "stuck_after: -3"),
        ({"on_unknown": "guess"}, "on_unknown: 'guess' is none of hold, resubmit"),
        ({"on_daily_quota": 1}, "on_daily_quota: 1 is none of wait, stop"),
        ({"limit": 0}, "limit: 0"),
        ({"pilot": 0}, "pilot: 0"),
        ({"limit": 1, "pilot": 1}, "limit and pilot: give one of them"),
        ({"defaults": {"resolution": ...}}, "defaults: resolution: a ellipsis is no text"),
        ({"defaults": {"images": ["a.png"]}}, "defaults: images: a default is one text"),
        ({"callback_listen": "127.0.0.1:1"}, "callback"),
        ({"provider": "nobody"}, "nobody"),
        ({"provider": "evolink"}, "EVOLINK_API_KEY"),
    ],
)
def test_a_value_that_cannot_be_one_is_told_before_anything_is_sent(
    options: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the option's name; nothing is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOLINK_API_KEY", raising=False)
    with pytest.raises(nb.UsageError) as told:
        nb.run(ROWS, out="out", **{"provider": "local", **options})
    assert words in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_refuses_what_a_run_refuses() -> None:
    """Also of what it does not depend on itself."""
    with pytest.raises(nb.UsageError, match="max_outage: 'soon' is no time"):
        nb.plan(ROWS, out="out", provider="local", max_outage="soon")
    with pytest.raises(nb.UsageError, match="rate: -1 is no number above 0"):
        nb.plan(ROWS, out="out", provider="local", rate=-1)


def test_a_misspelt_option_is_an_error_as_of_any_function() -> None:
    """Python itself does not look into a TypedDict."""
    with pytest.raises(TypeError, match=r"run\(\) has no option 'concurency'; did you mean 'concurrency'\?"):
        nb.run(ROWS, out="out", concurency=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"audit\(\) has no option 'max_credits'"):
        nb.audit("out", max_credits=3)  # type: ignore[call-arg]


def test_none_and_false_are_as_if_nothing_was_said() -> None:
    """So that a program can pass on what it was not given itself."""
    assert given({"rate": None, "debug": False, "max_credits": 3}, nb.RunOptions, "run") == {"max_credits": 3}


def test_an_order_is_what_was_said(tmp_path: Path) -> None:
    """Texts become paths, and defaults texts."""
    order = order_of(
        Given(Path("m.yaml")),
        "out",
        "mine.yaml",
        {
            "base_url": "https://example.com",
            "key_file": "key.txt",
            "debug": True,
            "defaults": {"web_search": True, "resolution": "1K", "seed": 3, "style": None},
            "variables": ["pompt"],
            "allow_outside": ["a", tmp_path],
            "state_dir": "local",
            "as_copy": True,
            "callback_url": "https://me.example.com/cb",
        },
    )
    assert (order.manifest, order.out, order.state_dir) == (Path("m.yaml"), Path("out"), Path("local"))
    assert (order.connection.provider, order.connection.key_file) == ("mine.yaml", Path("key.txt"))
    assert order.defaults == {"web_search": "true", "resolution": "1K", "seed": "3", "style": ""}
    assert (order.allow_outside, order.variables) == ((Path("a"), tmp_path), ("pompt",))
    assert (order.as_copy, order.risk_network_filesystem, order.connection.debug) == (True, False, True)
    assert order.callback_route is not None


@pytest.mark.parametrize(("text", "s"), [("90s", 90), ("30m", 1800), ("8h", 28800), ("2d", 172800), ("7", 7)])
def test_a_length_of_time_in_words(text: str, s: float) -> None:
    """As the command line takes it."""
    assert read_seconds(text) == s


def test_retry_names_what_it_can_retry(tmp_path: Path) -> None:
    """Before it looks for the folder."""
    with pytest.raises(nb.UsageError, match="only: 'all' is none of failed, refused"):
        nb.retry(tmp_path, "all")  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [[], (), {}])
def test_a_retry_of_no_rows_pays_for_none(rows: Any) -> None:
    """A list that was chosen and came out empty is not all of them."""
    with pytest.raises(nb.UsageError, match="it has no id in it; nothing was sent"):
        nb.retry("no folder", "failed", rows=rows)
    with pytest.raises(nb.UsageError, match="rows: 7 is no id"):
        nb.retry("no folder", "failed", rows=["a", 7])  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["as_copy", "risk_network_filesystem", "allow_unknown_model", "debug"])
def test_what_looks_like_no_is_not_taken_for_yes(name: str) -> None:
    """Some of them may make a run pay twice."""
    for said in (0, 1, "no", ""):
        with pytest.raises(nb.UsageError, match=f"{name}: {said!r} is neither True nor False"):
            given({name: said}, nb.RunOptions, "run")
    assert not given({name: numpy.bool_(False)}, nb.RunOptions, "run")
    assert given({name: numpy.bool_(True)}, nb.RunOptions, "run") == {name: True}


def test_one_folder_by_itself_is_one(tmp_path: Path) -> None:
    """Letter by letter its path would begin with `/`, and let a manifest read everything."""
    for folder in (tmp_path, str(tmp_path)):
        order = order_of(Given(Path("m.yaml")), None, "local", {"allow_outside": folder, "variables": "hue"})
        assert (order.allow_outside, order.variables) == ((tmp_path,), ("hue",))
