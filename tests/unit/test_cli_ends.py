"""An exit code tells what was done: 2 only while nothing was sent, and no error shows more than it may."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.cli import main
from nanobanana_batch.cli.text import as_json
from nanobanana_batch.engine.run import Run
from nanobanana_batch.errors import DiskFailed, RunStopped, UsageError, after_sending, before_sending
from nanobanana_batch.jobs import outcome as outcome_job
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs import session
from nanobanana_batch.screen.progress import progress

SECRET = "https://links.test/permission-4c1f"


def fails(error: BaseException) -> Callable[..., object]:
    """Does nothing but raise it."""

    def raise_it(*_: object, **__: object) -> object:
        raise error

    return raise_it


@pytest.fixture
def run_local(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[], tuple[int, str]]:
    """A run of two rows with the service of this machine: how it ended, and what it said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text("prompt,model\na,nano-banana-beta\nb,nano-banana-beta\n")

    def run() -> tuple[int, str]:
        monkeypatch.setattr(
            sys, "argv", ["nanobanana-batch", "run", "m.csv", "--provider", "local", "--out", "out"]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize("where", ["engine", "counts", "results"])
@pytest.mark.parametrize("error", [UsageError("Something is amiss."), PermissionError(13, "Is amiss", "a/b")])
def test_no_error_after_sending_says_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
    run_local: Callable[[], tuple[int, str]],
    where: str,
    error: Exception,
) -> None:
    """Wherever it arises once something may have been paid for: 3, and the same command goes on."""
    if where == "engine":
        monkeypatch.setattr(Run, "go", fails(error))
    elif where == "results":
        monkeypatch.setattr(outcome_job, "write_results", fails(error))
    else:
        read = session.count_up
        calls = iter([read, fails(error)])  # the second one follows the work
        monkeypatch.setattr(session, "count_up", lambda *given: next(calls)(*given))
    code, said = run_local()
    assert code == 3
    assert len(said.splitlines()) == 1
    assert "amiss" in said


def test_a_path_that_may_not_be_looked_at_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, run_local: Callable[[], tuple[int, str]]
) -> None:
    """Before the work: exit 2, with the path and the system's word."""
    monkeypatch.setattr(run_job, "folder_of", fails(PermissionError(13, "Permission denied", "a/b")))
    assert run_local() == (2, "nanobanana-batch: a/b cannot be used: Permission denied.\n")


def test_an_error_that_nobody_foresaw_is_one_line_without_its_words(
    monkeypatch: pytest.MonkeyPatch, run_local: Callable[[], tuple[int, str]]
) -> None:
    """No traceback, since those quote links and keys: its kind and its place, and what to do."""
    monkeypatch.setattr(run_job, "run", fails(ExceptionGroup("several", [ValueError(SECRET)])))
    code, said = run_local()
    assert code == 3
    assert len(said.splitlines()) == 1
    assert "ValueError" in said
    assert "test_cli_ends.py:" in said or "ValueError in " in said
    assert "permission" not in said


def test_signals_do_afterwards_what_they_did_before(run_local: Callable[[], tuple[int, str]]) -> None:
    """The command line may be called by other programs; they keep their handlers."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    assert run_local()[0] == 0
    assert [signal.getsignal(number) for number in numbers] == before


def test_errors_before_and_after_sending_say_which(tmp_path: Path) -> None:
    """A full disk before is a command that cannot be begun; after it, it is a run that stopped."""
    with pytest.raises(UsageError, match="Nothing was sent"), before_sending():
        raise DiskFailed("The disk is full.")
    with pytest.raises(DiskFailed), after_sending():
        raise DiskFailed("The disk is full.")
    with pytest.raises(RunStopped, match="amiss"), after_sending():
        raise UsageError("Something is amiss.")


@pytest.mark.parametrize("shown", [True, False])
def test_whoever_tells_people_something_cannot_end_the_work(
    monkeypatch: pytest.MonkeyPatch, shown: bool
) -> None:
    """Whatever a stream raises, the engine does not hear of it."""

    class Broken:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return shown

        def __getattr__(self, name: str) -> Callable[..., object]:
            return fails(ZeroDivisionError(name)) if name in broken else lambda *_: None

    broken: set[str] = set()
    monkeypatch.setattr(sys, "stderr", Broken())
    with progress(shown=shown) as tally:
        broken |= {"write", "flush"}
        tally.announce("hello")
        broken.clear()


def test_half_a_character_in_json_is_still_json() -> None:
    """A byte of a file's name that is no text."""
    assert json.loads(as_json({"path": "caf\udce9"})) == {"path": "caf\udce9"}
    as_json({"path": "caf\udce9"}).encode()
