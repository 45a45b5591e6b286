"""`status` and `results`: how an output folder stands."""

from __future__ import annotations

from pathlib import Path

import click

from nanobanana_batch.cli.text import as_json, standing_text

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.command()
@_FOLDER
@click.option("--json", "json_", is_flag=True, help="As JSON.")
def status(folder: Path, json_: bool) -> None:
    """Say how the output FOLDER stands; also while a run is going."""
    from nanobanana_batch.results import standing

    found = standing(folder)
    click.echo(as_json(found) if json_ else standing_text(found))


@click.command()
@_FOLDER
def results(folder: Path) -> None:
    """Write results.csv of the output FOLDER anew from its state, and print its path."""
    from nanobanana_batch.files.disk import Disk
    from nanobanana_batch.results import write_results

    click.echo(write_results(folder, Disk()))
