"""People read what the writer has committed, also while it is writing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from nanobanana_batch.errors import StateFailed, UsageError
from nanobanana_batch.model import Image, Request, RowStatus, TaskMade
from nanobanana_batch.state import facts
from nanobanana_batch.state.accounts import sums
from nanobanana_batch.state.lifecycle import STATUS_OF_PHASE, Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store
from tests.unit.test_state_store import FACTS, IMAGE, drafts, intent, reports, take


def test_every_phase_has_a_status() -> None:
    """The words that people see; what may have been paid is never called pending."""
    assert {phase: status.value for phase, status in STATUS_OF_PHASE.items()} == {
        Phase.INTENT: "unknown",
        Phase.NOT_SENT: "pending",
        Phase.UNKNOWN: "unknown",
        Phase.REJECTED: "failed",
        Phase.ACCEPTED: "running",
        Phase.READY: "ready",
        Phase.SAVED: "completed",
        Phase.FAILED: "failed",
        Phase.REFUSED: "refused",
        Phase.EXPIRED: "expired",
    }


def test_a_reader_sees_commits_while_the_writer_goes_on(tmp_path: Path) -> None:
    """`status` answers during a run, and each answer is from one moment."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0", "1"))
    with open_reader(path) as reader:
        assert reader.counts()[RowStatus.PENDING] == 2
        streamed = reader.rows()
        assert next(streamed).status is RowStatus.PENDING
        store.apply([intent(1), intent(2, attempt=2), FACTS["Accepted"](2)])
        assert next(streamed).status is RowStatus.PENDING
        assert next(streamed, None) is None
        assert reader.counts()[RowStatus.RUNNING] == 1
    store.close()


def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    """Not even where it could."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0"))
    store.close()
    before = path.read_bytes()
    with open_reader(path) as reader:
        assert reader.meta("manifest") == "test"
        assert reader.meta("none") is None
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_log_that_somebody_needs_is_left_alone(tmp_path: Path) -> None:
    """A run that goes on loses nothing when a reader leaves, and neither does one that was killed."""
    path, killed = tmp_path / "state.sqlite3", tmp_path / "killed" / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0"))
    killed.parent.mkdir()
    for file in tmp_path.glob("state.sqlite3*"):
        shutil.copy(file, killed.parent)
    log = killed.with_name("state.sqlite3-wal")
    before = log.read_bytes()
    for file in (path, killed):
        with open_reader(file) as reader:
            assert reader.counts()[RowStatus.PENDING] == 1
    assert log.read_bytes() == before
    store.apply([intent(1)])
    with open_reader(path) as reader:
        assert reader.counts()[RowStatus.UNKNOWN] == 1
    store.close()


def test_a_folder_that_is_read_only_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made there, not even for a moment."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0"))
    store.close()
    monkeypatch.setattr("os.access", lambda *_: False)
    with open_reader(path) as reader:
        assert reader.counts()[RowStatus.PENDING] == 1
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_over", [False, True])
def test_a_run_in_a_folder_that_is_read_only_for_the_reader_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    """Somebody else may write there after all, and what was read is then of no one moment."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0"))
    store.close()
    monkeypatch.setattr("os.access", lambda *_: False)
    with ExitStack() as stack:
        stack.enter_context(open_reader(path))
        writer = Store(path)
        writer.apply([intent(1)])
        if is_over:
            writer.close()
        with pytest.raises(StateFailed, match="has begun to write"):
            stack.close()
    writer.close()


def test_what_nobody_tells_the_price_of_is_counted(tmp_path: Path) -> None:
    """Tasks on their way and images: a sum of 0 is not what they cost. A refused one is refunded."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts(*"01234"))
    for row in range(1, 5):
        store.apply([intent(row, attempt=row)])
        store.apply([facts.Accepted(row, TaskMade(f"t{row}", None, None, None), 1.0)])
    store.apply([facts.Ready(1, ("https://x",), 9.0, None, 2.0), facts.Saved(1, IMAGE, 3.0)])
    store.apply([facts.Failed(2, "content_filter", "no", False, True, 3.0)])
    store.apply([facts.Ready(3, ("https://x",), 9.0, 2.5, 2.0)])
    with open_reader(path) as reader:
        assert (reader.credits().used, reader.credits().untold, sums(reader).untold) == (0.0, 2, 2)
    store.close()


def test_counts_credits_and_statuses(tmp_path: Path) -> None:
    """Reserved until finished, then what was used, or the reserved amount where nobody says."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts(*"012345"))
    for row in range(1, 6):
        store.apply([intent(row, attempt=row)])
    for row in range(1, 5):
        store.apply([facts.Accepted(row, TaskMade(f"t{row}", None, 4.0, None), 1.0)])
    store.apply([facts.Ready(1, ("https://x",), 9.0, 2.5, 2.0), facts.Saved(1, IMAGE, 3.0)])
    other = Image("images/row-2.png", "image/png", 9, 5, 100, "cd" * 32)
    store.apply([facts.Ready(2, ("https://x",), 9.0, None, 2.0), facts.Saved(2, other, 3.0)])
    store.apply([facts.Failed(3, "service_error", "no", True, False, 3.0)])
    with open_reader(path) as reader:
        counts = {status: count for status, count in reader.counts().items() if count}
        assert counts == {
            RowStatus.COMPLETED: 2,
            RowStatus.FAILED: 1,
            RowStatus.RUNNING: 1,
            RowStatus.UNKNOWN: 1,
            RowStatus.PENDING: 1,
        }
        first_two = reader.counts(Scope(before=2))
        assert sum(first_two.values()) == first_two[RowStatus.COMPLETED] == 2
        assert (reader.credits().reserved, reader.credits().used, reader.credits().untold) == (4.0, 6.5, 0)
        assert sums(reader).untold == 0
    store.close()
    first, *_ = reports(path)
    assert (first.path, first.width, first.height, first.size_bytes) == (IMAGE.path, 9, 5, 100)
    assert (first.sha256, first.credits, first.task_id) == (IMAGE.sha256, 2.5, "t1")
    assert (first.id, first.request, first.variables) == ("row-0", Request("model-a", "0"), {"n": "0"})


def test_a_row_that_no_manifest_has_counts_as_nothing(tmp_path: Path) -> None:
    """A state that was made of a journal may have one of which nobody knows that it was sent."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("a", "b", "c"))
    store.apply([intent(1)])
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE rows SET position = NULL WHERE row = 3")
    with open_reader(path) as reader:
        counts = reader.counts()
        assert counts == reader.counts(Scope(before=99))
    assert (counts[RowStatus.PENDING], sum(counts.values())) == (1, 2)


def test_images_with_the_same_bytes_name_the_first_of_them(tmp_path: Path) -> None:
    """A provider that returns one picture for two prompts is not believed silently."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0", "1", "2"))
    for row in (3, 1, 2):
        image = Image(f"images/{row}.png", "image/png", 1, 1, 1, "same" if row != 2 else "other")
        store.apply([intent(row, attempt=row), FACTS["Accepted"](row), FACTS["Ready"](row)])
        store.apply([facts.Saved(row, image, 1.0)])
    store.close()
    assert [report.duplicate_of for report in reports(path)] == [None, None, "row-0"]
    with open_reader(path) as reader:
        assert reader.same_bytes() == 1


def test_bytes_are_shared_by_images_that_are_there(tmp_path: Path) -> None:
    """Of one that is lost, and of one whose row is paid for anew, nobody says that another is its like."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0", "1"))
    for row in (1, 2):
        image = Image(f"images/{row}.png", "image/png", 1, 1, 1, "same")
        store.apply([intent(row, attempt=row), FACTS["Accepted"](row), FACTS["Ready"](row)])
        store.apply([facts.Saved(row, image, 1.0)])
    store.apply([facts.Lost(1)])
    store.close()
    assert [report.duplicate_of for report in reports(path)] == [None, None]
    with open_reader(path) as reader:
        assert reader.same_bytes() == 0


def test_a_row_costs_what_all_of_its_attempts_cost(tmp_path: Path) -> None:
    """The first was refunded, the second was paid in vain, the third has the image."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0"))
    ends = (FACTS["Failed"], FACTS["Expired"], FACTS["Ready"])
    for attempt, end in enumerate(ends, 1):
        made = TaskMade(f"task-{attempt}", None, 10.0**attempt, None)
        store.apply([intent(1, attempt=attempt, number=attempt), facts.Accepted(attempt, made, 1.0)])
        store.apply([end(attempt)])
    store.close()
    (report,) = reports(path)
    with open_reader(path) as reader:
        paid = {one.attempt: one.credits_used or one.credits_reserved or 0.0 for one in reader.attempts()}
    assert report.credits == paid[2] + paid[3]


def test_a_folder_without_state_is_a_usage_error(tmp_path: Path) -> None:
    """And no state appears by looking for it."""
    with pytest.raises(UsageError, match="not an output folder"), open_reader(tmp_path / "state.sqlite3"):
        pass
    assert list(tmp_path.iterdir()) == []
