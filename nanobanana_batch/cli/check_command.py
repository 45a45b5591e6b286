"""`check`: whether the images of output folders are any good."""

from __future__ import annotations

from pathlib import Path

import click

from nanobanana_batch import defaults
from nanobanana_batch.cli.options import PATH, Whole, as_json_flag, no_progress, quiet
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json


@click.command(cls=OurCommand)
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="FOLDER...")
@click.option(
    "--near",
    type=Whole(0, defaults.MOST_NEAR_BITS),
    default=defaults.NEAR_BITS,
    show_default=True,
    metavar="BITS",
    help="How many of 64 bits may differ between images that are nearly the same.",
)
@click.option(
    "--score",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="A function of yours that gets each image and its row, and returns a number, or several by name; may"
    " be given several times.",
)
@no_progress
@quiet
@as_json_flag
def check(
    folders: tuple[Path, ...], near: int, score: tuple[str, ...], no_progress: bool, quiet: bool, json_: bool
) -> int:
    """Look at every image of output FOLDERs: is it any good?

    Blank, broken, changed or of another size than asked for, nearly the same as another one, a placeholder.
    What is found is written to checks.csv in each folder, by which galleries and exports can choose. Exit 0
    only if nothing is found. A file that was checked before is not read again.
    """
    from nanobanana_batch.api.checking import check as look
    from nanobanana_batch.cli.checks_text import checks_text
    from nanobanana_batch.screen.bar import bar

    found = look(folders, near=near, score=score, progress=bar(shown=not (no_progress or quiet)))
    if json_:
        show(as_json(found))
    elif found.findings or not quiet:
        show(checks_text(found))
    return found.exit_code
