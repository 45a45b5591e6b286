"""What is known afterwards of how a run ended, also of one that could not say it any more."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.cli.outcome_text import standing_text
from nanobanana_batch.errors import DiskFailed, StateFailed
from nanobanana_batch.files.folder import find
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.results import Standing, standing
from nanobanana_batch.state.last_run import remembered_end
from nanobanana_batch.state.store import Store
from tests.unit.test_state_store import drafts, take

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The state of a folder with one row, on which nobody worked yet."""
    store = Store(tmp_path / "state.sqlite3")
    take(store, drafts("0"))
    return store


def said(folder: Path) -> tuple[Standing, str]:
    """What `status` knows and what it prints."""
    found = standing(find(folder))
    return found, standing_text(found)


def test_before_any_run_there_is_nothing_to_say(tmp_path: Path, store: Store) -> None:
    """Also in a folder of an older version."""
    store.close()
    found, text = said(tmp_path)
    assert (found.is_running, found.last_run) == (False, None)
    assert "run" not in text.partition("\n")[2]


def test_a_run_that_ended_by_itself_says_how(tmp_path: Path, store: Store) -> None:
    """When, with which exit code, and why it stopped early."""
    with remembered_end(store) as say:
        say(3, "The provider was unreachable for 8 h.")
    store.close()
    found, text = said(tmp_path)
    assert found.last_run is not None
    assert found.last_run.exit_code == 3
    assert re.search(
        rf"last run ended {TIME} with exit code 3\.\n  The provider was unreachable for 8 h\.", text
    )


def test_an_error_that_ended_it_is_the_reason(tmp_path: Path, store: Store) -> None:
    """And it goes on upwards."""
    with pytest.raises(DiskFailed), remembered_end(store):
        raise DiskFailed("The disk is full (saving).", hint="Free some space.")
    store.close()
    found, text = said(tmp_path)
    assert found.last_run is not None
    assert (found.last_run.exit_code, found.last_run.reason) == (
        3,
        "The disk is full (saving). Free some space.",
    )
    assert "The disk is full" in text


def test_an_interrupt_is_remembered(tmp_path: Path, store: Store) -> None:
    """Exit code 130."""
    with pytest.raises(KeyboardInterrupt), remembered_end(store):
        raise KeyboardInterrupt
    store.close()
    last = said(tmp_path)[0].last_run
    assert last is not None
    assert last.exit_code == 130


def gone(store: Store) -> StateFailed:
    """The error of a state that cannot be written any more, as this one cannot from now on."""
    store.close()
    return StateFailed("first")


def test_a_state_that_fails_is_told_as_it_is(tmp_path: Path, store: Store) -> None:
    """That its end cannot be written down either is no news."""
    with closing(store), pytest.raises(StateFailed, match="first"), remembered_end(store):
        raise gone(store)


def test_a_run_that_was_killed_is_known_by_its_silence(tmp_path: Path, store: Store) -> None:
    """It began, it is not there any more, and it said nothing."""
    remembered_end(store).__enter__()
    store.close()
    found, text = said(tmp_path)
    assert found.last_run is not None
    assert (found.is_running, found.last_run.ended) == (False, None)
    assert re.search(rf"began {TIME}\) did not end by itself; it may have been killed", text)
    assert "Run the same command again" in text


def test_a_run_that_goes_on_is_not_called_killed(tmp_path: Path, store: Store) -> None:
    """As long as somebody holds the folder's lock."""
    with only_writer(tmp_path), remembered_end(store) as say:
        found, text = said(tmp_path)
        assert found.is_running
        assert re.search(rf"A run is going on \(began {TIME}\)", text)
        assert "killed" not in text
        say(0, "")
    store.close()
    found, text = said(tmp_path)
    assert not found.is_running
    assert text.endswith("with exit code 0.")


def test_the_next_run_takes_the_place_of_the_last(tmp_path: Path, store: Store) -> None:
    """A reason of last week is not told as this one's."""
    with remembered_end(store) as say:
        say(3, "no credits")
    with remembered_end(store) as say:
        say(0, "")
    store.close()
    assert "no credits" not in said(tmp_path)[1]
