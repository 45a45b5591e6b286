"""`merge`: several output folders told as one."""

from __future__ import annotations

from pathlib import Path

import click

from nanobanana_batch.cli.options import PATH, as_json_flag, last_provider
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show_lines, show_pieces
from nanobanana_batch.cli.text import json_pieces


@click.command(cls=OurCommand)
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    help="Where to write results.csv, if not where all FOLDERs stand.",
)
@last_provider
@as_json_flag
def merge(folders: tuple[Path, ...], out: Path | None, provider: str, json_: bool) -> int:
    """Tell several output FOLDERs as one, with one results.csv.

    Says how all of them stand, and what an audit of each finds. Shards of one manifest are in its order.
    Folders in which the same row was paid for are refused, and what that has cost is told. Exit 0 only if
    every row completed, no shard is missing and everything is explained.
    """
    from nanobanana_batch.api.merging import merge as make
    from nanobanana_batch.cli.merge_text import merged_lines

    found = make(folders, out=out, provider=provider)
    show_pieces(json_pieces(found)) if json_ else show_lines(merged_lines(found))
    return found.exit_code
