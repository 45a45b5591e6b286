"""Whatever becomes of the streams: the work goes on, and its exit code is that of the work."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import sqlite3
import subprocess
import sys
import termios
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from tests.process.surroundings import Place, ended, environment, killed_at_last, unread_pipe, until

ASCII_ONLY = {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The encoding of names, texts and streams is ASCII; else Python makes UTF-8 of the locale C."""


# --- a run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirects", "env"),
    [
        ("2>&-", {}),
        ("<&- >&- 2>&-", {}),
        ("2>/dev/full", {}),
        ("2>&- >/dev/full", {}),
        ("2>/dev/full", {"PYTHONIOENCODING": "ascii"}),
        ("2>&-", ASCII_ONLY),
        ("2>/dev/full", {"PYTHONUNBUFFERED": "1", "PYTHONDEVMODE": "1"}),
    ],
    ids=str,
)
def test_a_stream_that_takes_nothing_ends_no_run(
    place: Place, redirects: str, env: dict[str, str | None]
) -> None:
    """Closed, full or both: exit 0, everything made, and the state holds nothing that was printed."""
    end = place.run(redirects=redirects, env=environment(**env))
    assert end.code == 0, end
    place.is_clean(end)
    with closing(sqlite3.connect(place.out / "state.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    place.is_whole()


@pytest.mark.parametrize("which", [("stderr",), ("stdout",), ("stdout", "stderr")], ids=str)
def test_a_pipe_that_nobody_reads_any_more_ends_no_run(place: Place, which: tuple[str, ...]) -> None:
    """As when `tee` or a pager has gone: the exit code stays that of the work, not that of the pipe."""
    with unread_pipe() as pipe:
        streams: dict[str, Any] = dict.fromkeys(which, pipe)
        end = place.run(**streams)
    assert end.code == 0, end
    place.is_clean(end)
    place.is_whole()


def test_a_reader_that_goes_away_in_the_middle_ends_no_run(place: Place) -> None:
    """What was announced before was read; what comes later is left out."""
    process = place.start(place.words())
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    assert ended(process).code == 0
    place.is_whole()


def test_a_pipe_that_is_full_holds_up_no_images(place: Place) -> None:
    """A pager that waits for a key, a terminal that is held: all rows are made before anyone reads on."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"." * 4096)
    os.set_blocking(write, True)
    with os.fdopen(write, "w") as pipe, os.fdopen(read, "rb", buffering=0) as reader:
        # So that something is said before anything is sent.
        process = place.start(place.words(), shell="ulimit -n 64;", stderr=pipe)
        pipe.close()
        with killed_at_last(process):
            until(lambda: len(list((place.out / "images").glob("*.png"))) == place.rows)
            said = b"".join(iter(lambda: reader.read(1 << 16), b""))
            assert ended(process).code == 0
    assert b"6 of 6 rows completed" in said
    place.is_whole()


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LC_ALL": "C", "LANG": None},
        {"LC_ALL": "xx_YY.UTF-8"},
        {"PYTHONUTF8": "1", "LC_ALL": "POSIX"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONWARNINGS": "error"},
        {"TERM": "dumb", "COLUMNS": "0", "LINES": "x"},
    ],
    ids=str,
)
def test_a_run_speaks_in_any_encoding(place: Place, env: dict[str, str | None]) -> None:
    """Ids and warnings beyond ASCII; the images have their names."""
    place.manifest.write_text(place.manifest.read_text().replace("row-0", "łódź-漢"), encoding="utf-8")
    end = place.run(env=environment(**env))
    assert end.code == 0, end
    place.is_clean(end)
    assert (place.out / "images" / "łódź-漢.png").is_file()
    place.is_whole()


def test_names_that_a_locale_cannot_give_are_told_before_anything_is_paid(place: Place) -> None:
    """Found at the first image it would have been paid for; a later run elsewhere has them."""
    place.manifest.write_text(place.manifest.read_text().replace("row-0", "łódź"), encoding="utf-8")
    _is_made_in_another_locale(place)


def test_a_manifest_that_a_locale_cannot_name_is_told(place: Place) -> None:
    """Its name is said to be in the way; nothing crashes, and in another locale it is made."""
    place.manifest = place.manifest.rename(place.manifest.with_name(f"Bücher{place.manifest.suffix}"))
    _is_made_in_another_locale(place)


def _is_made_in_another_locale(place: Place) -> None:
    """Here it is refused before anything is sent, with what to set; nothing is left behind."""
    end = place.run(env=environment(**ASCII_ONLY))
    place.refuses(end)
    assert "PYTHONUTF8=1" in end.err
    assert not place.out.exists()
    place.completes()


def test_a_folder_that_a_locale_cannot_name_is_told(place: Place) -> None:
    """A manifest may name its folder in any letters; where none can be called so, that is said."""
    named = place.folder / "named.yaml"
    named.write_text(f"name: Bücher\ntable: {place.manifest.name}\n", encoding="utf-8")
    end = ended(place.start(["plan", str(named), *place.where], env=environment(**ASCII_ONLY)))
    assert end.code == 2
    assert "PYTHONUTF8=1" in end.err
    assert "should not have happened" not in end.err


def test_a_run_that_was_begun_elsewhere_loses_nothing_in_a_locale_without_its_names(place: Place) -> None:
    """What is paid for stays collectable: it is told what is wrong, and the next run elsewhere fetches it."""
    place.manifest.write_text(place.manifest.read_text().replace("row-", "łódź-"), encoding="utf-8")
    process = place.start(place.words())
    until(place.paid)
    process.kill()
    process.communicate()
    end = ended(
        place.start(["audit", str(place.out), "--repair", *place.where], env=environment(**ASCII_ONLY))
    )
    place.is_clean(end)
    assert end.code == 2, end
    assert "PYTHONUTF8=1" in end.err
    place.completes()


def test_what_libraries_log_is_not_shown() -> None:
    """It may quote a link; what matters of it reaches us as an error."""
    code = (
        "import logging; from nanobanana_batch.cli import streams; streams.quiet_libraries();"
        "logging.getLogger('asyncio').error('Task exception was never retrieved: https://a.test/x?sig=1')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


# --- what was asked for on standard output ---------------------------------------------------------

ASKED = [
    ("status", "out"),
    ("results", "out"),
    ("audit", "out"),
    ("plan", "m.csv", "--out", "elsewhere", "--provider", "quick.yaml", "--json"),
    ("models", "--json"),
    ("schema",),
    ("--help",),
]


@pytest.fixture(scope="module")
def made(service: EmbeddedService, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An output folder to ask about."""
    place = Place(tmp_path_factory.mktemp("made"), service, rows=4)
    assert place.run().code == 0
    return place


@pytest.mark.parametrize(
    ("words", "redirects"),
    [*((words, ">/dev/full") for words in ASKED), (ASKED[0], ">&-"), (ASKED[3], ">&-")],
    ids=lambda it: it[0],
)
def test_what_was_asked_for_and_cannot_be_written_is_a_failed_command(
    made: Place, words: tuple[str, ...], redirects: str
) -> None:
    """One sentence on standard error, and not 0: a Makefile must not take half a table for a whole one."""
    end = ended(made.start(words, redirects=redirects))
    assert end.code == 1, end
    assert len(end.err.splitlines()) == 1
    assert "Standard output" in end.err
    made.is_clean(end)


def test_a_manifest_from_a_standard_input_that_is_closed_is_wrong_usage(made: Place) -> None:
    """As under a scheduler that starts programs without one: said in a sentence, with what to do."""
    end = ended(made.start(("plan", "-", "--out", "elsewhere", "--provider", "quick.yaml"), redirects="<&-"))
    assert end.code == 2, end
    assert end.err.startswith("nanobanana-batch: Standard input is closed; a manifest was expected there.")
    assert len(end.err.splitlines()) == 1
    made.is_clean(end)


@pytest.mark.parametrize("words", [ASKED[0], ASKED[3], ASKED[5]], ids=lambda words: words[0])
def test_a_reader_that_has_seen_enough_is_told_nothing(made: Place, words: tuple[str, ...]) -> None:
    """`plan ... | head -3` is no trouble worth a word; and no complaint of the interpreter at its end."""
    with unread_pipe() as pipe:
        end = ended(made.start(words, stdout=pipe))
    assert (end.code, end.err) == (1, "")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1:strict"])
def test_what_was_asked_for_is_whole_in_any_encoding(made: Place, encoding: str) -> None:
    """As escapes that JSON reads back, where the encoding does not know a character."""
    made.manifest.write_text(made.manifest.read_text().replace("row-0", "łódź-漢"), encoding="utf-8")
    words = ("plan", "m.csv", "--out", "elsewhere", "--provider", "quick.yaml", "--json")
    named = encoding.partition(":")[0]
    end = ended(made.start(words, env=environment(PYTHONIOENCODING=encoding), encoding=named))
    assert end.code == 0, end
    assert json.loads(end.out)["first_rows"][0]["id"] == "łódź-漢"


def test_a_folder_whose_name_is_no_text_is_worked_in(service: EmbeddedService, tmp_path: Path) -> None:
    """A name in Latin-1 on a UTF-8 system; `results` prints the path as it is."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    place = Place(folder, service)
    assert (end := place.run()).code == 0, end
    process = place.start(["results", str(place.out)], encoding="latin-1")
    assert "caf\xe9/out/results.csv" in ended(process).out
    for words in (["status", str(place.out), "--json"], ["audit", str(place.out), "--json"]):
        json.loads(ended(place.start(words)).out)
    place.is_whole()


# --- a terminal ------------------------------------------------------------------------------------


def on_a_terminal(place: Place, *flags: str, **how: Any) -> tuple[subprocess.Popen[str], int]:
    """A run whose controlling terminal it is, and the other end of that."""
    ours, theirs = pty.openpty()
    process = place.start(
        place.words(*flags),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: fcntl.ioctl(2, termios.TIOCSCTTY, 0),
        **how,
    )
    os.close(theirs)
    return process, ours


def test_a_terminal_that_is_closed_is_an_interrupt_that_collects(
    service: EmbeddedService, tmp_path: Path
) -> None:
    """SIGHUP, and no write succeeds any more: what is paid for is fetched, nothing more is paid."""
    place = Place(tmp_path, service, rows=40)
    process, ours = on_a_terminal(place, "--concurrency", "2")
    until(lambda: len(place.paid()) >= 2)
    os.close(ours)
    assert ended(process).code == 130
    status = json.loads(ended(place.start(["status", str(place.out), "--json"])).out)
    assert status["counts"]["completed"] == sum(place.paid().values()) < place.rows
    place.completes()


def test_under_nohup_a_terminal_that_is_closed_ends_nothing(service: EmbeddedService, tmp_path: Path) -> None:
    """Who ignores SIGHUP wants the run to go on."""
    place = Place(tmp_path, service, rows=12)
    process, ours = on_a_terminal(place, "--concurrency", "2", shell="trap '' HUP;")
    until(place.paid)
    os.close(ours)
    assert ended(process).code == 0
    place.is_whole()


def test_a_terminal_that_is_held_holds_up_no_images(place: Place) -> None:
    """Ctrl-S: nobody reads, all rows are made; then it is read again, and the end is told."""
    process, ours = on_a_terminal(place)
    termios.tcflow(ours, termios.TCOOFF)
    with killed_at_last(process):
        until(lambda: len(list((place.out / "images").glob("*.png"))) == place.rows)
        termios.tcflow(ours, termios.TCOON)
        said = b""
        with suppress(OSError):
            while piece := os.read(ours, 4096):
                said += piece
        assert ended(process).code == 0
    os.close(ours)
    assert b"6 of 6 rows completed" in said
    place.is_whole()
