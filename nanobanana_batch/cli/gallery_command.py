"""`gallery`: a page that shows what output folders hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanobanana_batch.cli.options import PATH, Manner, with_manner
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json
from nanobanana_batch.wording import counted

if TYPE_CHECKING:
    from nanobanana_batch.galleries.build import GalleryMade


@click.command(cls=OurCommand)
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--out",
    type=PATH,
    metavar="PATH",
    help="Where the gallery goes; needed for several folders.  [default: FOLDER/gallery]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="WHICH",
    help="Only rows that are completed, failed, refused, …, or images that are accepted, rejected, rated or"
    " unrated; may be given several times.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only what is like that: style=ink,photo, rating>=4, prompt~fox; all of several have to hold.",
)
@click.option(
    "--one-file",
    is_flag=True,
    help="One HTML file with its thumbnails in it, for some hundred images.",
)
@with_manner
def gallery(
    folders: tuple[Path, ...],
    out: Path | None,
    only: tuple[str, ...],
    where: tuple[str, ...],
    one_file: bool,
    manner: Manner,
) -> None:
    """Make a page that shows what output folders hold.

    It opens from disk, without a server or a network: grid, table, side by side, filters, search. Thumbnails
    are made once; run it again after a run, or while one is going on. Its path is printed.
    """
    from nanobanana_batch.api.gallery import gallery as make
    from nanobanana_batch.screen.counted import counted_bar

    with counted_bar("row", shown=not (manner.quiet or manner.no_progress)) as progress:
        made = make(folders, out=out, only=only, where=where, one_file=one_file, progress=progress)
    if manner.json:
        show(as_json(made))
        return
    if not manner.quiet or made.not_readable:
        show(_told(made), err=True)
    show(made.path)


def _told(made: GalleryMade) -> str:
    told = f"{counted(made.images, 'image')} of {counted(made.rows, 'row')}"
    told += f"; thumbnails made: {made.thumbnails_made:,}, kept: {made.thumbnails_kept:,}"
    if made.not_readable:
        told += f"\n{counted(made.not_readable, 'image')} cannot be shown; the page says why"
    return told
