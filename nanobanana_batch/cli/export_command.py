"""`export`: a finished run in the form that trainers, spreadsheets and people load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nanobanana_batch.cli.options import PATH, as_json_flag, no_progress, only, quiet, where
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json
from nanobanana_batch.exports.registry import FORMATS


@click.command(cls=OurCommand)
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--format",
    required=True,
    type=click.Choice(list(FORMATS)),
    metavar="FORMAT",
    help=f"What is to load it: {', '.join(FORMATS)}.",
)
@click.option("--out", required=True, metavar="PATH", help="The folder or file that is made.")
@only
@where
@click.option(
    "--split",
    default="",
    metavar="NAME=SHARE,…",
    help="Parts, such as train=0.9,test=0.1; a prompt or a source image is never in two.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another one, another split.")
@click.option("--max-size", metavar="SIZE", help="How large a shard may become, such as 500MB.")
@click.option(
    "--link",
    type=click.Choice(["copy", "hard", "symlink"]),
    help="How pictures come into folders; copy without it. What edits a hard link edits the run's own image.",
)
@click.option(
    "--images",
    type=click.Choice(["first", "all"]),
    default="first",
    show_default=True,
    help="Which pictures of a row that has several.",
)
@click.option(
    "--noted",
    type=click.Choice(["in", "out"]),
    default="in",
    show_default=True,
    help="Pictures of another size or ratio than asked for.",
)
@click.option("--practice", is_flag=True, help="Placeholders of the embedded service come along, marked.")
@click.option("--bom", is_flag=True, help="csv: for spreadsheets, with a byte order mark and no formulas.")
@click.option("--paths-only", is_flag=True, help="parquet: paths of pictures in the place of their bytes.")
@click.option(
    "--convert",
    type=click.Choice(["jpg", "png", "webp"]),
    help="Draw pictures anew as this, upright, in sRGB, on white where they are transparent.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="1-100",
    default=95,
    show_default=True,
    help="Of pictures that become JPEG or WebP.",
)
@click.option(
    "--caption", metavar="COLUMN|TEMPLATE", help="Other than the prompt: 'sks style, {prompt}', or a column."
)
@click.option(
    "--path-prefix", metavar="PATH", help="captions: where musubi-tuner finds the export; --out without it."
)
@click.option(
    "--layout",
    type=click.Choice(["parquet", "imagefolder", "webdataset"]),
    metavar="FILES",
    help="edits: in which files, parquet, imagefolder or webdataset; parquet without it.",
)
@click.option(
    "--by", metavar="COLUMN", help="preferences: the picture with the higher number there is the better one."
)
@click.option("--ties", is_flag=True, help="preferences: pairs come along of which neither is better.")
@click.option(
    "--embed-metadata",
    is_flag=True,
    help="Write prompt, model, settings, task and row key into copies of pictures; `from-image` reads them.",
)
@click.option(
    "--embed-in-signed", is_flag=True, help="Also into pictures whose signature (C2PA) does not hold then."
)
@click.option(
    "--push-to-hub",
    metavar="REPO",
    help="Send the finished folder to the Hugging Face Hub, such as me/skylines; a new data set is private.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@no_progress
@quiet
@as_json_flag
def export(folders: tuple[Path, ...], no_progress: bool, quiet: bool, json_: bool, **options: Any) -> None:
    """Make a data set, a table or a contact sheet.

    Images with their prompts and variables, in the order of the manifest; only whole images, as they were
    saved. An export that is there already is replaced if it was made with the same options.
    """
    from nanobanana_batch.api.exporting import export as made
    from nanobanana_batch.cli.export_text import exported_text
    from nanobanana_batch.screen.bar import bar

    done = made(folders, progress=bar(shown=not (no_progress or quiet)), **options)
    if json_:
        show(as_json(done))
    elif not quiet:
        show(exported_text(done))
