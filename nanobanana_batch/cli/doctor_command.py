"""`doctor`: is everything there that a run needs."""

from __future__ import annotations

from pathlib import Path

import click

from nanobanana_batch.cli import options
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json, diagnosis_text


@click.command(cls=OurCommand)
@click.pass_context
@options.provider
@options.base_url
@options.key_file
@click.option(
    "--out",
    default=Path("outputs"),
    show_default=True,
    type=options.PATH,
    metavar="DIR",
    help="The output folder of a run, or where it is to be.",
)
@options.as_json_flag
def doctor(
    context: click.Context, provider: str, base_url: str | None, key_file: Path | None, out: Path, json_: bool
) -> int:
    """Check all that a run needs; costs nothing.

    Program, provider, key, credits, clock, and the output folder with its disk, lock and state. Sends free
    requests only. Exits with 1 if something stands in the way of a run.
    """
    from nanobanana_batch.cli.defaults.in_force import settings_for
    from nanobanana_batch.jobs.connection import Connection
    from nanobanana_batch.jobs.doctor import examine

    defaults = [f"{setting.text} ({setting.source})" for setting in settings_for(context, "run")]
    diagnosis = examine(Connection(provider, base_url, key_file), out, defaults)
    show(as_json(diagnosis) if json_ else diagnosis_text(diagnosis))
    return diagnosis.exit_code
