"""The one way by which a command says something: whatever it quotes is made visible first."""

from __future__ import annotations

import click

from nanobanana_batch.visible import visible


def show(text: object, *, err: bool = False) -> None:
    """Write a text, or what stands for one, to standard output or standard error."""
    click.echo(visible(str(text)), err=err)


def show_as_is(text: str) -> None:
    """Write to standard output what is made visible already, and may move the cursor."""
    click.echo(text, nl=False)
