"""A terminal gets whole words and colours; a pipe, a file and a program get what is meant for them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.cli.dress import Verbatim, has_colours, painted, width_of, wrapped
from nanobanana_batch.cli.options import only_urgent
from nanobanana_batch.cli.outcome_text import standing_text
from nanobanana_batch.cli.show import dressed, show, show_as_is
from nanobanana_batch.files.folder import find
from nanobanana_batch.results import Standing
from nanobanana_batch.results import standing as look_at
from nanobanana_batch.screen.watching import watch as until_it_ends
from tests.unit.test_cli_commands import Run, folder, manifest, run

__all__ = ["folder", "run"]


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "on_terminal", "in_pipe"),
    [
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_who_gets_colours(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], on_terminal: bool, in_pipe: bool
) -> None:
    """As people set it for all their programs."""
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (has_colours(Terminal()), has_colours(io.StringIO())) == (on_terminal, in_pipe)


def test_only_how_a_line_of_ours_begins_is_painted() -> None:
    """What is quoted in it is not; without colours nothing is lost."""
    assert painted("problem  key  none") == "\x1b[31mproblem\x1b[0m  key  none"
    assert painted("12 of 12 rows completed.") == "\x1b[32m12 of 12 rows completed.\x1b[0m"
    assert painted("a problem  here") == "a problem  here"
    assert painted("ok.png") == "ok.png"


def test_a_line_is_broken_at_words_below_where_its_text_begins() -> None:
    """A command stays whole, and so does a path."""
    line = (
        "  cost    about 3 credits: see `nanobanana-batch prices --refresh` and /a/very/long/path/of/somebody"
    )
    assert wrapped(line, 44).split("\n") == [
        "  cost    about 3 credits: see",
        "          `nanobanana-batch prices --refresh`",
        "          and /a/very/long/path/of/somebody",
    ]
    assert wrapped(line, None) == line
    row = "gemini-3.1-flash-image-preview  1K             6       6        ?"
    assert wrapped(row, 44) == row
    assert wrapped("a-very-long-id-of-a-row-of-a-table  its prompt in a few words", 44).count("\n") == 0
    assert wrapped("short\nlines", 20) == "short\nlines"


def test_a_stream_that_is_no_terminal_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody says how wide it is."""
    monkeypatch.delenv("COLUMNS", raising=False)
    assert width_of(io.StringIO()) is None
    monkeypatch.setenv("COLUMNS", "44")
    assert width_of(io.StringIO()) == 44
    monkeypatch.setenv("COLUMNS", "x")
    assert width_of(io.StringIO()) is None


def test_what_is_for_programs_is_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text of JSON in a terminal can be pasted."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = "ok  " + "word " * 20
    show(Verbatim(text))
    assert screen.getvalue() == text + "\n"
    show(text)
    assert max(map(len, screen.getvalue().splitlines()[1:])) <= 30 + len("\x1b[32m\x1b[0m")


def test_a_real_terminal(tmp_path: Path) -> None:
    """Both streams at once, of a process of its own."""
    own, its = pty.openpty()
    words = [sys.executable, "-m", "nanobanana_batch", "status", "nowhere" * 12]
    surroundings = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    for name in ("NO_COLOR", "FORCE_COLOR"):
        surroundings.pop(name, None)
    done = subprocess.run(words, cwd=tmp_path, env=surroundings, stderr=its, stdout=its, check=False)
    os.close(its)
    said = os.read(own, 4096).decode().replace("\r\n", "\n")
    os.close(own)
    assert done.returncode == 2
    assert said.startswith("\x1b[31mnanobanana-batch:\x1b[0m")
    assert len(said.splitlines()) > 1


def test_what_is_watched_is_broken_at_words_and_coloured(
    monkeypatch: pytest.MonkeyPatch, run: Run, folder: Path
) -> None:
    """As without --watch; each line is written over to its end, and what is quoted moves no cursor."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    standing = replace(look_at(find(folder)), manifest="\x1b[2Jm", untold=2)

    def text(standing: Standing) -> str:
        return f"{standing_text(standing)}\n3 of 3 rows completed."

    until_it_ends(lambda: standing, text, show_as_is, is_terminal=True, dress=dressed)
    begin, end = "\x1b[2J\x1b[H", "\x1b[J"
    assert screen.getvalue().startswith(begin)
    assert screen.getvalue().endswith(end)
    *lines, last = screen.getvalue()[len(begin) : -len(end)].removesuffix("\n").split("\n")
    assert last == "\x1b[32m3 of 3 rows completed.\x1b[0m\x1b[K"
    lines = [line.removesuffix("\x1b[K") for line in lines]
    assert "\x1b" not in "".join(lines)
    assert lines[0].startswith("\\u001b[2Jm: 3 rows in")
    told = ["  credits used: 3, reserved:", "  4; the provider does not say", "  what 2 requests cost"]
    assert [line for line in lines if line in told] == told


# --- results and talk -------------------------------------------------------------------------------


def test_what_came_of_a_run_is_on_stdout_as_json_alone(run: Run, tmp_path: Path) -> None:
    """Talk is on stderr; without --json nothing is on stdout."""
    path = manifest(tmp_path)
    ended = run("run", path, "--provider", "local", "--json")
    told = json.loads(ended.out)
    assert (told["rows"], told["counts"]["completed"], told["folder"]) == (3, 3, "outputs/m")
    assert "3 of 3 rows completed." in ended.err
    again = run("run", path, "--provider", "local")
    assert (again.out, "nothing was sent" in again.err) == ("", True)


def test_quiet_says_only_what_needs_attention(run: Run, tmp_path: Path) -> None:
    """Nothing at all when all is well; a plan without its rows; what is wrong is told as ever."""
    path = manifest(tmp_path)
    ended = run("run", path, "--provider", "local", "-q")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    plan = run("plan", path, "--provider", "local", "-q").out
    assert "3  done" in plan
    assert "r0" not in plan
    assert run("audit", "outputs/m", "-q").out == ""
    next((tmp_path / "outputs" / "m" / "images").iterdir()).unlink()
    assert "1 finding" in run("audit", "outputs/m", "-q").out


def test_that_a_run_stops_is_said_in_any_case() -> None:
    """Who has interrupted it would think that it hangs."""
    said: list[str] = []
    announce = only_urgent(said.append)
    urgent = ["warning: x", "Stopping: nothing more", "No credits; what is paid for is being collected."]
    for text in [*urgent, "Pilot: 4 of 8 rows.", "The provider answers again."]:
        announce(text)
    assert said == urgent


def test_verbose_says_what_happens_to_each_row(run: Run, tmp_path: Path) -> None:
    """On stderr, line by line; a plan shows all rows."""
    path = manifest(tmp_path, 12)
    said = run("run", path, "--provider", "local", "-v").err
    assert len(re.findall(r"(?m)^\d\d:\d\d:\d\d saved: ", said)) == 12
    assert "request:" not in said
    assert "r11" in run("plan", path, "--provider", "local", "-v").out
    assert "r11" not in run("plan", path, "--provider", "local").out


def test_how_a_folder_stands_is_on_stdout(run: Run, folder: Path) -> None:
    """For people, and for programs."""
    ended = run("status", folder)
    assert (ended.code, ended.err) == (0, "")
    assert "completed: 1" in ended.out
    assert json.loads(run("status", folder, "--json").out)["rows"] == 3
