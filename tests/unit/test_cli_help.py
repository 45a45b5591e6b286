"""A page of help is for people: under headings, no wider than a screen, with commands that can be typed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from nanobanana_batch.cli import commands
from nanobanana_batch.cli.examples import EXAMPLES
from nanobanana_batch.cli.headings import OTHER, headings
from nanobanana_batch.cli.listing import LISTED
from tests.saved_run import Made, saved_run

COMMANDS = sorted(commands.commands)
ALL_EXAMPLES = [line for told in EXAMPLES.values() for _, line in told]
SCREEN = 80


def page(name: str) -> list[str]:
    """The page of help of a command, or of the program, on a screen of 80 columns."""
    command = commands.commands[name] if name else commands
    context = click.Context(
        command, info_name=name, parent=click.Context(commands, info_name="nanobanana-batch")
    )
    context.terminal_width = context.max_content_width = SCREEN
    return command.get_help(context).splitlines()


def sections(lines: list[str]) -> dict[str, list[str]]:
    """What stands under each heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        if line.endswith(":") and not line.startswith(" "):
            heading = line.removesuffix(":")
        found.setdefault(heading, []).append(line)
    return found


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_page_ends_with_examples_and_fits_the_screen(name: str) -> None:
    """Two or three of them; the program's page says what exit codes mean below them."""
    lines = page(name)
    assert [line for line in lines if len(line) > SCREEN] == []
    shown = [line.strip() for line in sections(lines)["Examples"] if line.startswith("    ")]
    assert 2 <= len(shown) <= 3
    assert all(line.startswith("nanobanana-batch ") for line in shown)
    if name:
        assert list(sections(lines))[-1] == "Examples"
        assert all(line.split()[1] == name for line in shown)


@pytest.mark.parametrize("line", ALL_EXAMPLES)
def test_an_example_can_be_typed(line: str) -> None:
    """The command itself takes its words; what a shell does with the rest is not its matter."""
    name, *words = shlex.split(line.partition(">")[0])
    commands.commands[name].make_context(name, words)


def test_examples_are_of_commands_that_there_are() -> None:
    """None is left of one that went."""
    assert set(EXAMPLES) - {""} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_heading(name: str) -> None:
    """Only those about the page itself stand under none."""
    known = headings(name)
    loose = [
        param.opts
        for param in commands.commands[name].params
        if isinstance(param, click.Option) and not {*known, "--config"} & set(param.opts)
    ]
    assert loose == []
    assert any("--help" in line for line in sections(page(name))[OTHER])


def test_commands_stand_in_the_order_in_which_they_are_needed() -> None:
    """Who begins reads from above."""
    told = [line.split()[0] for line in sections(page(""))["Commands"][1:] if line.strip()]
    assert told[:5] == ["init", "plan", "run", "status", "retry"]


def test_the_program_runs_as_a_module() -> None:
    """Where the script is not on the PATH; it says how it was called."""
    asked = subprocess.run(
        [sys.executable, "-m", "nanobanana_batch", "run"], capture_output=True, text=True, check=False
    )
    assert asked.returncode == 2
    assert asked.stderr.startswith("Usage: python -m nanobanana_batch run")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_page_says(name: str) -> None:
    """It is written down in a second place, so that the list can be shown without any command."""
    assert LISTED[name].summary == commands.commands[name].get_short_help_str(1000)
    assert commands.commands[name].name == name


def test_the_list_stands_in_the_order_in_which_people_need_the_commands() -> None:
    """With what each does, which is cut where the screen is narrow."""
    told = [line.split()[0] for line in sections(page(""))["Commands"][1:] if line.startswith("  ")]
    assert told == list(commands.commands)
    assert commands.get_command(click.Context(commands), "no-such") is None


HEAVY = {
    *("nanobanana_batch.model", "nanobanana_batch.api", "nanobanana_batch.jobs", "nanobanana_batch.state"),
    *("nanobanana_batch.catalog", "nanobanana_batch.engine", "nanobanana_batch.cli.text"),
    *("sqlite3", "logging", "importlib.metadata", "email", "difflib", "shutil", "ssl", "asyncio"),
    *("hashlib", "nanobanana_batch.files", "nanobanana_batch.cli.defaults.in_force"),
    *("pydantic", "yaml", "anyio", "httpx", "aiohttp", "pandas", "numpy", "PIL", "pyarrow", "tqdm"),
}
MERELY_OURS = {"nanobanana_batch.cli.text", "shutil", "difflib", "logging"}
"""What a command's own page may need, which the list of commands does not."""


def loaded_by(*words: str) -> set[str]:
    """The modules that a process of the command line has imported when it ends."""
    program = (
        "import contextlib, io, sys; sys.argv = ['nanobanana-batch', *sys.argv[1:]]\n"
        "from nanobanana_batch.cli import commands\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit, Exception):\n"
        "    commands.main()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("words", [("--help",), (), ("--version",)], ids=lambda words: " ".join(words))
def test_a_page_that_lists_the_commands_reads_none_of_them(words: tuple[str, ...]) -> None:
    """Most of what a command takes to start is what it imports."""
    loaded = loaded_by(*words)
    assert loaded & HEAVY == set()
    assert [name for name in loaded if name.endswith(("_command", "_commands"))] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_needs_nothing_that_works(name: str) -> None:
    """Neither models of data nor libraries for them: only how it is called and what it can be told."""
    assert loaded_by(name, "--help") & (HEAVY - MERELY_OURS) == set()


def test_a_look_at_a_folder_loads_no_library_for_images_tables_or_the_network(tmp_path: Path) -> None:
    """`status` is asked often, and by programs."""
    saved_run(tmp_path / "out", [Made("one", None)])
    loaded = loaded_by("status", str(tmp_path / "out"))
    assert "nanobanana_batch.results" in loaded
    assert (
        loaded & {"pandas", "numpy", "PIL", "pyarrow", "httpx", "aiohttp", "anyio", "asyncio", "tqdm"}
        == set()
    )
