"""The one way by which a command says something: whatever it quotes is made visible first."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain, islice
from typing import TextIO

import click

from nanobanana_batch.cli.dress import Verbatim, has_colours, painted, width_of, wrapped
from nanobanana_batch.visible import visible

_AT_ONCE = 1_000


def show(text: object, *, err: bool = False) -> None:
    """Write a text, or what stands for one, to standard output or standard error.

    On a terminal its lines are broken at words, and what is good or bad has its colour.
    """
    stream = sys.stderr if err else sys.stdout
    told = visible(str(text))
    click.echo(told if isinstance(text, Verbatim) else dressed(told, stream), err=err, color=True)


def dressed(text: str, stream: TextIO | None = None) -> str:
    """What is made visible already, broken and painted as the stream has it: standard output by itself."""
    stream = stream or sys.stdout
    told = wrapped(text, width_of(stream)) if stream.isatty() else text
    return painted(told) if has_colours(stream) else told


def show_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output, however many there are, as `show` does all of them at once."""
    coming = iter(lines)
    while some := list(islice(coming, _AT_ONCE)):
        show("\n".join(some))


def show_pieces(pieces: Iterable[str]) -> None:
    """Write what pieces make together, each of whole texts, as it is: for programs.

    The end of the last line comes with what is before it: who has read that (`head -1`) may be gone.
    """
    coming = chain(pieces, "\n")
    while some := list(islice(coming, _AT_ONCE)):
        click.echo(visible("".join(some)), nl=False)


def show_as_is(text: str) -> None:
    """Write to standard output what is made visible already, and may move the cursor."""
    click.echo(text, nl=False)
