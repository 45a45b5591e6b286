"""`from-image`: the row of a manifest that an image was made for, as the file says it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nanobanana_batch.cli.options import PATH
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show, show_as_is


@click.command("from-image", cls=OurCommand)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option(
    "--format",
    type=click.Choice(["yaml", "json", "jsonl", "csv"]),
    default="yaml",
    show_default=True,
    help="As which kind of manifest.",
)
def from_image(files: tuple[Path, ...], format: str) -> None:
    """Print the rows that images were made for.

    As a manifest, by what `export --embed-metadata` has written into the files; no folder of a run is
    needed. A plan of the manifest has the same row keys, so that a run makes again, or finds, what was asked
    for.
    """
    from nanobanana_batch.provenance.files import records_of
    from nanobanana_batch.provenance.rows import as_manifest, not_kept

    found = records_of(files)
    text = as_manifest(found.records, format)
    # A table has no escapes: its cells are as they are for a program, and made visible for a person.
    (show if format == "csv" and sys.stdout.isatty() else show_as_is)(text)
    for note in (*found.notes, *not_kept(found.records, format)):
        show(note, err=True)
