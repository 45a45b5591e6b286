"""Defaults from variables of the environment: `NANOBANANA_BATCH_PROVIDER`, `NANOBANANA_BATCH_RUN_LIMIT`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

import click

from nanobanana_batch.cli.defaults import PREFIX
from nanobanana_batch.cli.defaults.names import CONFIG, did_you_mean, headings, options, variable
from nanobanana_batch.cli.show import show
from nanobanana_batch.errors import UsageError


def of_environment(command: click.Command, name: str, option: click.Option) -> tuple[object, str] | None:
    """The value, as click takes it, and the variable; an empty variable says nothing.

    Raises:
        UsageError: several values cannot be told apart.
    """
    for heading in headings(command, name):
        source = variable(heading, name)
        if text := os.environ.get(source):
            return (_several(text, option, source) if option.multiple else text), source
    return None


def tell_strange_variables(commands: Mapping[str, click.Command], *, pays: bool) -> None:
    """What looks like ours and is no option is probably misspelt; its value is not told.

    Raises:
        UsageError: the command pays, and might do so without a limit that was meant to hold.
    """
    ours = {name for name in os.environ if name.startswith(PREFIX)}
    if not ours:
        return
    known = {f"{PREFIX}{CONFIG.upper()}"} | {
        variable(heading, option)
        for command in commands.values()
        for option in options(command)
        for heading in headings(command, option)
    }
    told = [
        f"{name} is the name of no option{did_you_mean(name, sorted(known))}" for name in sorted(ours - known)
    ]
    if told and pays:
        raise UsageError(" ".join(told) + " (nothing was sent)", hint="Correct it, or unset it.")
    for sentence in told:
        show(f"warning: {sentence}", err=True)


def _several(text: str, option: click.Option, source: str) -> tuple[str, ...]:
    """Folders as in PATH, else words as a shell reads them."""
    if isinstance(option.type, click.Path):
        return tuple(filter(None, text.split(os.pathsep)))
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{source} cannot be read as a shell reads words: {error}.") from error
