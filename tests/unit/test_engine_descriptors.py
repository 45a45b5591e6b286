"""A run fits into the descriptors that it may have, or does not begin."""

from __future__ import annotations

import pytest

from nanobanana_batch.engine.limits import descriptors
from nanobanana_batch.engine.limits.descriptors import callers_at_once, fitted
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import BadSurroundings
from nanobanana_batch.files.descriptors import most_open, open_now

USUAL = Settings()


def fit(
    monkeypatch: pytest.MonkeyPatch, limit: int, settings: Settings = USUAL, callbacks: int = 0
) -> tuple[Settings, list[str]]:
    """What becomes of settings where so many may be open, five of which are, and what is said."""
    monkeypatch.setattr(descriptors, "most_open", lambda wanted: limit)
    monkeypatch.setattr(descriptors, "open_now", lambda: 5)
    said: list[str] = []
    return fitted(settings, Tally(announce=said.append), callbacks), said


def test_where_there_is_room_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual limit is 1,024, also with callbacks."""
    assert fit(monkeypatch, 1024) == (Settings(), [])
    assert fit(monkeypatch, 1024, callbacks=128) == (Settings(), [])


@pytest.mark.parametrize("limit", [33, 40, 64, 100])
def test_what_may_be_open_is_shared_among_all_kinds(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """At least one of each, said once, and all of it fits beside what is open anyway."""
    made, said = fit(monkeypatch, limit)
    at_once = (made.submit_concurrency, made.read_concurrency, made.download_concurrency)
    assert min(at_once) >= 1
    assert 2 * made.paid_at_once + at_once[1] + 3 * at_once[2] <= limit - 25
    assert len(said) == 1
    assert f"Only {limit} files" in said[0]


def test_what_a_person_asked_for_is_never_made_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One paid request at a time stays one."""
    made, _ = fit(monkeypatch, 64, Settings(submit_concurrency=1))
    assert made.submit_concurrency == 1


def test_where_not_even_one_of_each_fits_no_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says how many it takes."""
    with pytest.raises(BadSurroundings, match=r"have 32 .* needs 33"):
        fit(monkeypatch, 32)


def test_callers_leave_a_run_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at the usual limit; an eighth of a low one."""
    for limit, expected in ((1024, 128), (64, 8)):
        monkeypatch.setattr(descriptors, "most_open", lambda wanted, limit=limit: limit)
        assert callers_at_once(128) == expected


def test_what_is_open_is_counted() -> None:
    """Also what was inherited."""
    before = open_now()
    with open("/dev/null"):
        assert open_now() == before + 1


def test_the_limit_is_asked_for_and_read() -> None:
    """Never lowered."""
    first = most_open(0)
    assert most_open(first) == first
