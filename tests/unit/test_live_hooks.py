"""A person's own programs are told of trouble and of the end, and can do nothing to the run."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import RunStopped, UsageError
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.jobs.told import told
from nanobanana_batch.live import hooks as module
from nanobanana_batch.live.hooks import Hooks, read_command, telling
from nanobanana_batch.model import RowStatus

WRITES = """
import json, os, sys
about = json.load(sys.stdin)
names = {name: value for name, value in os.environ.items() if name.startswith("NANOBANANA_")}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([about, names]) + "\\n")
"""


def program(text: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text, *arguments)


def said(path: Path) -> list[tuple[dict[str, object], dict[str, str]]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(json.loads(line)) for line in lines]


def outcome(folder: Path) -> Outcome:
    return Outcome(
        folder=folder,
        results=folder / "results.csv",
        rows=3,
        counts={status: 3 if status is RowStatus.COMPLETED else 0 for status in RowStatus},
        credits_used=12.0,
        credits_reserved=0.0,
        same_bytes=0,
        not_as_asked=0,
        elsewhere={},
        had_work=True,
        stop_reason="",
        interrupted=False,
    )


def test_the_end_is_told_in_words_and_as_json(tmp_path: Path) -> None:
    """For a mail of one line, and for a script that counts."""
    log = tmp_path / "log"
    hooks = Hooks(on_end=program(WRITES, str(log)))
    assert told(hooks, Tally(), lambda: outcome(tmp_path)).exit_code == 0
    [(about, names)] = said(log)
    assert (about["event"], about["exit_code"], about["completed"]) == ("end", 0, 3)
    assert names["NANOBANANA_EVENT"] == "end"
    assert names["NANOBANANA_EXIT_CODE"] == "0"
    assert names["NANOBANANA_FOLDER"] == str(tmp_path)
    assert "3 of 3 rows completed" in names["NANOBANANA_TEXT"]


def test_an_error_is_an_end_too(tmp_path: Path) -> None:
    """A disk that fails at 3 a.m. is what a person wants to hear of."""
    log = tmp_path / "log"

    def fails() -> Outcome:
        raise RunStopped("The disk is gone.")

    with pytest.raises(RunStopped):
        told(Hooks(on_end=program(WRITES, str(log))), Tally(), fails)
    [(about, names)] = said(log)
    assert about["exit_code"] == 3
    assert names["NANOBANANA_TEXT"] == "The disk is gone."


def test_trouble_is_told_with_how_the_run_stands(tmp_path: Path) -> None:
    """And before the end."""
    log, tally = tmp_path / "log", Tally(total=9)

    def job() -> Outcome:
        tally.trouble("The provider cannot be reached.")
        tally.trouble("The provider cannot be reached.")  # no news
        return outcome(tmp_path)

    command = program(WRITES, str(log))
    told(Hooks(command, command), tally, job)
    (trouble, names), (end, _names) = said(log)
    assert (trouble["event"], end["event"]) == ("trouble", "end")
    assert names["NANOBANANA_TEXT"] == "The provider cannot be reached."
    assert trouble["texts"] == ["The provider cannot be reached."]
    assert trouble["live"]["rows"] == 9  # type: ignore[index]


def test_what_comes_while_it_works_is_told_together(tmp_path: Path) -> None:
    """A thousand troubles start no thousand programs."""
    log, tally, may_go = tmp_path / "log", Tally(), tmp_path / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(may_go)!r}): time.sleep(0.01)\n" + WRITES
    with telling(Hooks(on_trouble=program(waits, str(log))), tally):
        for number in range(1000):
            tally.trouble(f"trouble {number}", is_news=True)
        may_go.touch()
    told_of = [about for about, _names in said(log)]
    assert 1 <= len(told_of) <= 3
    texts = [text for about in told_of for text in about["texts"]]  # type: ignore[attr-defined]
    assert len(texts) + sum(about["left_out"] for about in told_of) == 1000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys; sys.exit('no mail server')", "no mail server"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with -11"),
        ("import time; time.sleep(600)", "took more than"),
    ],
    ids=["fails", "crashes", "hangs"],
)
def test_a_program_that_fails_is_mentioned_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """The run's outcome is what it was."""
    monkeypatch.setattr(module, "LONGEST_S", 1.0)
    tally, lines = Tally(), list[str]()
    tally.announce = lines.append
    assert told(Hooks(on_end=program(text)), tally, lambda: outcome(tmp_path)).exit_code == 0
    assert len(lines) == 1
    assert said in lines[0]


def test_a_child_that_is_left_behind_holds_up_nobody(tmp_path: Path) -> None:
    """It has our program's streams, and lives on until its group is ended by whoever started it."""
    lives = tmp_path / "lives"  # also where the folder goes with the test before the child has looked
    lives.touch()
    child = f"import os, time\nwhile os.path.exists({str(lives)!r}): time.sleep(0.01)"
    leaves = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])"
    try:
        ended = threading.Event()

        def job() -> Outcome:
            return outcome(tmp_path)

        told(Hooks(on_end=program(leaves)), Tally(), job)
        ended.set()
        assert ended.is_set()
    finally:
        lives.unlink()


def test_a_text_that_is_no_variable_is_cut_and_cleaned(tmp_path: Path) -> None:
    """A zero byte, or a megabyte, would keep the program from being started."""
    log, tally = tmp_path / "log", Tally()
    with telling(Hooks(on_trouble=program(WRITES, str(log))), tally):
        tally.trouble("a\0b" + "x" * 10**6)
    [(about, names)] = said(log)
    assert names["NANOBANANA_TEXT"].startswith("abx")
    assert len(str(about["text"])) == 10**6 + 3


@pytest.mark.parametrize(
    "command", ["", "   ", "'unfinished", "no-such-program-anywhere --flag", "/etc/passwd"]
)
def test_a_command_that_cannot_be_started_is_told_before_the_run(command: str) -> None:
    """Better than after the night."""
    with pytest.raises(UsageError, match="--on-end"):
        read_command(command, "--on-end")


def test_a_command_is_taken_apart_as_a_shell_would() -> None:
    """Blanks in quotes stay."""
    assert read_command("sh -c 'echo \"a b\"' x", "--on-end") == ("sh", "-c", 'echo "a b"', "x")
    assert read_command(None, "--on-end") == ()


def test_its_output_is_not_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What `run` says on standard output is what was asked for, and nothing else."""
    told(Hooks(on_end=program("print('hello'); os = 1")), Tally(), lambda: outcome(tmp_path))
    assert capfd.readouterr().out == ""
    assert os.environ.get("NANOBANANA_EVENT") is None
