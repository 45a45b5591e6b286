"""`completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from nanobanana_batch.cli.dress import Verbatim
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.commands import PROGRAM

_SHELLS = ("bash", "zsh", "fish")


@click.command(cls=OurCommand)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script by which bash, zsh or fish completes commands.

    It goes where that shell reads it when it starts; the examples say where.
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None, shell
    variable = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"
    show(Verbatim(complete(context.find_root().command, {}, PROGRAM, variable).source()))
