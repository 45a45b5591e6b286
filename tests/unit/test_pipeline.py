"""The commands that pay or collect: which rows each sends, and with which code it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch import pipeline
from nanobanana_batch.auditing import repair_folder
from nanobanana_batch.connection import LAST, Connection
from nanobanana_batch.engine.context import OnUnknown, Settings
from nanobanana_batch.engine.work import Tally
from nanobanana_batch.errors import FolderInUse, UsageError
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.model import RowStatus
from nanobanana_batch.pipeline import Outcome, Retry
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.store import Repeat
from tests.unit.night import done_folder, phases

DONE, PENDING = RowStatus.COMPLETED, RowStatus.PENDING


@pytest.mark.parametrize(
    ("completed", "reason", "interrupted", "code"),
    [
        (3, "", False, 0),
        (3, "Interrupted.", True, 0),
        (2, "", False, 1),
        (2, "full", False, 3),
        (2, "", True, 130),
    ],
)
def test_the_exit_code_tells_how_a_run_ended(
    completed: int, reason: str, interrupted: bool, code: int
) -> None:
    """0 only when every row that was asked for is completed."""
    counts = Counter({DONE: completed, PENDING: 3 - completed})
    outcome = Outcome(
        folder=Path(),
        results=Path(),
        rows=3,
        counts=counts,
        credits_used=0.0,
        credits_reserved=0.0,
        same_bytes=0,
        not_as_asked=0,
        elsewhere={},
        had_work=True,
        stop_reason=reason,
        interrupted=interrupted,
    )
    assert outcome.exit_code == code


@pytest.mark.parametrize(
    ("only", "retried", "resend"),
    [
        (Retry.FAILED, frozenset({Phase.FAILED, Phase.REJECTED}), OnUnknown.HOLD),
        (Retry.REFUSED, frozenset({Phase.REFUSED}), OnUnknown.HOLD),
        (Retry.EXPIRED, frozenset({Phase.EXPIRED}), OnUnknown.HOLD),
        (Retry.UNKNOWN, frozenset(), OnUnknown.RESUBMIT),
    ],
)
def test_retry_pays_for_one_kind_of_row_only(
    monkeypatch: pytest.MonkeyPatch, only: Retry, retried: frozenset[Phase], resend: OnUnknown
) -> None:
    """Neither new rows nor those that ended in another way are sent."""
    used: list[Settings] = []
    monkeypatch.setattr(pipeline, "_resume", lambda path, now, settings, tally, **_: used.append(settings))
    monkeypatch.setattr(pipeline, "_announce_cost", lambda *_: None)
    settings = Settings(on_unknown=OnUnknown.RESUBMIT)
    pipeline.retry(Path("out"), only, Connection(LAST), settings, Tally())
    not_sent = Repeat(frozenset({Phase.NOT_SENT}), had_more=True)
    assert used[0].rows_to_repeat() == ([Repeat(retried), not_sent] if retried else [])
    assert not used[0].new_rows
    assert used[0].on_unknown is resend


def test_collecting_sends_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """`audit --repair` fetches and pays for nothing."""
    used: list[Settings] = []
    monkeypatch.setattr(pipeline, "_resume", lambda path, now, settings, *_, **_also: used.append(settings))
    pipeline.collect(Path("out"), Connection(), Settings(), Tally())
    assert (used[0].rows_to_repeat(), used[0].new_rows) == ([], False)
    assert used[0].on_unknown is OnUnknown.HOLD


@pytest.mark.parametrize("command", ["retry", "repair"])
def test_no_command_that_writes_works_beside_a_run(tmp_path: Path, command: str) -> None:
    """`retry` and `audit --repair` leave a folder that is in use as it is."""
    folder = done_folder(tmp_path)
    (folder / "images" / "row-1.png").unlink()
    here = Connection(provider="local")
    commands: dict[str, Callable[[], object]] = {
        "retry": lambda: pipeline.retry(folder, Retry.FAILED, here, Settings(), Tally()),
        "repair": lambda: repair_folder(folder, here, Tally()),
    }
    with only_writer(folder), pytest.raises(FolderInUse):
        commands[command]()
    assert phases(folder) == [Phase.SAVED] * 3


def test_a_manifest_without_rows_is_refused(tmp_path: Path) -> None:
    """An emptied table must not make every row of its folder one that nobody wants."""
    table = tmp_path / "m.csv"
    table.write_text("id,prompt,model\n")
    manifest = pipeline.open_ordered(pipeline.Order(table))
    with pytest.raises(UsageError, match="no rows"), pipeline.expanded(manifest):
        pytest.fail("nobody gets here")
