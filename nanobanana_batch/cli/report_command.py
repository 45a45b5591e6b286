"""`report`: how the runs of output folders went, on one page."""

from __future__ import annotations

from pathlib import Path

import click

from nanobanana_batch.cli.options import PATH, as_json_flag
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json


@click.command(cls=OurCommand)
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    help="Where to write the page, if not to report.html in the FOLDER; needed for several.",
)
@as_json_flag
def report(folders: tuple[Path, ...], out: Path | None, json_: bool) -> None:
    """Write a page on how the runs of each output FOLDER went.

    What was made and what it cost, how long images took, what held runs up, what was refused, and what is
    still owed; also while a run is going. It is one file without a script; its path is printed. With --json
    its numbers are, and the page is written only where --out says.
    """
    from nanobanana_batch.api.report import report as make

    found = make(folders, out=out, page=not json_ or out is not None)
    show(as_json(found) if json_ else found.page)
