"""`--config`: the option of every command that says where defaults are read from, and has them read.

What reads them is loaded then: no page of help needs it.
"""

from __future__ import annotations

import click

from nanobanana_batch.cli.defaults import PREFIX
from nanobanana_batch.project_file import NAME, NONE


def config_option() -> click.Option:
    """It reads them, and says for each command what holds there, before any other option is looked at."""
    return click.Option(
        ["--config"],
        metavar="FILE",
        envvar=f"{PREFIX}CONFIG",
        is_eager=True,  # before all others; only --help, where it is asked for, comes first
        expose_value=False,
        callback=_take,
        help=f"Where defaults are read from; {NONE}: nowhere.  [default: {NAME}, here or above]",
    )


def _take(context: click.Context, _: click.Parameter, named: str | None) -> None:
    if context.resilient_parsing:  # a shell asks what could be typed
        return
    from nanobanana_batch.cli.defaults.in_force import take

    take(context, named)
