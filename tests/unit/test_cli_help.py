"""A page of help is for people: under headings, no wider than a screen, with commands that can be typed."""

from __future__ import annotations

import shlex
import subprocess
import sys

import click
import pytest

from nanobanana_batch.cli import commands
from nanobanana_batch.cli.examples import EXAMPLES
from nanobanana_batch.cli.headings import OTHER, headings

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
