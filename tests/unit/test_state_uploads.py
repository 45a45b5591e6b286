"""What the state knows of files at the provider: which may be used again, which may be deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, LocalImage, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

DAY = 86400.0
KEPT_S = 1800.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A state with three rows."""
    store = Store(tmp_path / "state.sqlite3")
    take(store, [Request("m", f"prompt {n}") for n in range(3)])
    yield store
    store.close()


def take(store: Store, requests: list[Request]) -> str:
    """Make these the manifest's rows; returns the roster's digest."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all([Draft("m:1", request) for request in requests], ProblemLog())
        store.take_manifest(Taken(roster, "m", ()))
        return roster.digest


def uploaded(
    number: int,
    sha256: str = "a",
    at: float = 0.0,
    lives_s: float = 3 * DAY,
    provider: str = "p",
    account: str = "one",
) -> facts.FileUploaded:
    """A file that the provider took."""
    url = f"https://f.example/{number}.png"
    return facts.FileUploaded(number, provider, account, sha256, f"id-{number}", url, at + lives_s, at)


def intent(attempt: int, row: int, *uploads: int) -> facts.Intent:
    """An attempt whose body names uploads."""
    body = b"{}"
    return facts.Intent(
        row, attempt, 1, f"s{attempt}", "p", "one", body, "f", f"k{attempt}", 0.0, None, uploads
    )


def accepted(attempt: int) -> facts.Accepted:
    """The provider made a task."""
    return facts.Accepted(attempt, TaskMade(f"t{attempt}"), 0.0)


def failed(attempt: int, code: str) -> facts.Failed:
    """Its task failed."""
    return facts.Failed(attempt, code, "no", retryable=False, refused=False, at=9.0)


def unneeded(store: Store, now: float = 1.0) -> list[int]:
    """The uploads that may be deleted, in turn."""
    return [upload.upload for upload in store.uploads("p", "one").unneeded(now)]


def test_a_file_is_used_again_while_it_lives_long_enough(store: Store) -> None:
    """As long as the caller says that a request may take."""
    store.apply([uploaded(1)])
    uploads = store.uploads("p", "one")
    found = uploads.current("a", 3 * DAY - KEPT_S - 1, KEPT_S)
    assert found is not None
    assert (found.upload, found.file_id, found.url) == (1, "id-1", "https://f.example/1.png")
    assert uploads.current("a", 3 * DAY - KEPT_S, KEPT_S) is None
    assert uploads.current("b", 1.0, KEPT_S) is None


def test_a_file_of_short_life_is_used_for_half_of_it(store: Store) -> None:
    """Else it would be uploaded for every row anew."""
    store.apply([uploaded(1, lives_s=600.0)])
    uploads = store.uploads("p", "one")
    assert uploads.current("a", 299.0, KEPT_S) is not None
    assert uploads.current("a", 301.0, KEPT_S) is None


@pytest.mark.parametrize(("provider", "account"), [("p", "two"), ("q", "one")])
def test_files_of_others_are_neither_used_nor_deleted(store: Store, provider: str, account: str) -> None:
    """Another account's links may not work, and its files are not ours to delete."""
    store.apply([uploaded(1, provider=provider, account=account)])
    assert store.uploads("p", "one").current("a", 1.0, KEPT_S) is None
    assert unneeded(store) == []


def test_the_file_that_lives_longest_is_used(store: Store) -> None:
    """A renewed one instead of the old one."""
    store.apply([uploaded(1), uploaded(2, at=DAY), uploaded(3, "b", at=DAY)])
    found = store.uploads("p", "one").current("a", DAY, KEPT_S)
    assert found is not None
    assert found.upload == 2


def test_a_file_from_the_future_is_uploaded_anew(store: Store) -> None:
    """A clock was ahead when it was uploaded: it dies sooner than was noted."""
    store.apply([uploaded(1, at=3 * DAY)])
    uploads = store.uploads("p", "one")
    assert uploads.current("a", 1.0, KEPT_S) is None
    assert uploads.current("a", 3 * DAY - 59.0, KEPT_S) is not None


def test_a_file_dated_after_a_later_one_is_uploaded_anew(store: Store) -> None:
    """Its time is past by now, and it lives by that: the order of uploads knows better."""
    store.apply([uploaded(1, at=2 * DAY), uploaded(2, "b", at=DAY), uploaded(3, "c", at=2 * DAY)])
    uploads = store.uploads("p", "one")
    assert uploads.current("a", 3 * DAY, KEPT_S) is None
    assert uploads.current("c", 3 * DAY, KEPT_S) is not None


def test_a_deleted_file_is_not_used_again(store: Store) -> None:
    """From the moment that its deletion is written down."""
    store.apply([uploaded(1), facts.FileDeleted(1, 5.0)])
    assert store.uploads("p", "one").current("a", 6.0, KEPT_S) is None
    assert unneeded(store) == []


def test_a_file_that_the_provider_could_not_find_is_not_used_again(store: Store) -> None:
    """A retry uploads it anew; other failures say nothing about it."""
    store.apply([uploaded(1), uploaded(2, "b"), uploaded(3, "c")])
    store.apply([intent(1, 1, 1, 2), accepted(1), failed(1, "resource_not_found")])
    store.apply([intent(2, 2, 3), accepted(2), failed(2, "service_error")])
    uploads = store.uploads("p", "one")
    assert [uploads.current(content, 10.0, KEPT_S) is None for content in "abc"] == [True, True, False]
    assert unneeded(store, 10.0) == [1, 2, 3]


def test_what_unfinished_attempts_need_is_kept(store: Store) -> None:
    """On the wire, without an answer, or running; once the image is made its references are not needed."""
    store.apply([uploaded(n, str(n), at=-n) for n in range(1, 8)])
    store.apply([intent(1, 1, 1, 4), intent(2, 2, 2), intent(3, 3, 3, 4)])
    store.apply([facts.Unanswered(2, "lost"), accepted(3)])
    assert unneeded(store) == [7, 6, 5]
    assert store.uploads("p", "one").awaited() == 2
    store.apply([facts.Rejected(1, "no", "no", False, None, 1.0)])
    assert unneeded(store) == [7, 6, 5, 1]
    store.apply([facts.Ready(3, ("https://x/1.png",), DAY, None, 1.0)])
    assert unneeded(store) == [7, 6, 5, 4, 3, 1]
    assert store.uploads("p", "one").awaited() == 0


def test_expired_files_are_gone_by_themselves(store: Store) -> None:
    """Nobody spends a request on deleting them."""
    store.apply([uploaded(1, lives_s=600.0), uploaded(2, "b")])
    assert unneeded(store, 601.0) == [2]


def test_numbers_go_on_after_a_restart(store: Store) -> None:
    """Each upload has its own, also those of another account."""
    store.apply([uploaded(4, account="two")])
    uploads = store.uploads("p", "one")
    assert [uploads.next_number(), uploads.next_number()] == [5, 6]


def with_file(path: str, content: str = "c1") -> Request:
    """A request with one local image."""
    return Request(
        "m", "p", images=(path,), files=(LocalImage(path, f"/in/{path}", content, 9, "image/png"),)
    )


def test_a_renamed_file_is_the_same_row_under_its_new_path(store: Store) -> None:
    """Nothing is paid again, and a row that is still to be sent finds the file where it is now."""
    before = take(store, [with_file("old.png")])
    (row,) = store.new_rows(-1, EVERY_ROW, 9)
    after = take(store, [with_file("new.png")])
    (renamed,) = store.new_rows(-1, EVERY_ROW, 9)
    assert before != after
    assert (renamed.row, renamed.row_key) == (row.row, row.row_key)
    assert renamed.request == with_file("new.png")


def test_another_content_is_another_row(store: Store) -> None:
    """Under the same name."""
    take(store, [with_file("a.png")])
    (row,) = store.new_rows(-1, EVERY_ROW, 9)
    take(store, [with_file("a.png", "c2")])
    (changed,) = store.new_rows(-1, EVERY_ROW, 9)
    assert changed.row_key != row.row_key
