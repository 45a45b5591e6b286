"""`gallery`: a page that shows what output folders hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanobanana_batch.cli.options import PATH, Whole, as_json_flag, no_progress, only, quiet, where
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json
from nanobanana_batch.errors import UsageError
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
@only
@where
@click.option(
    "--one-file",
    is_flag=True,
    help="One HTML file with its thumbnails in it, for some hundred images.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Show it to this machine alone, and write what is said there to ratings.csv and preferences.csv at"
    " once; the address is printed, Ctrl-C ends it.",
)
@click.option(
    "--port",
    default=0,
    type=Whole(0, 65535),
    metavar="N",
    help="Where --serve listens, on 127.0.0.1.  [default: any free one]",
)
@no_progress
@quiet
@as_json_flag
def gallery(
    folders: tuple[Path, ...],
    out: Path | None,
    only: tuple[str, ...],
    where: tuple[str, ...],
    one_file: bool,
    serve: bool,
    port: int,
    no_progress: bool,
    quiet: bool,
    json_: bool,
) -> None:
    """Make a page that shows what output folders hold.

    It opens from disk, without a server or a network: grid, table, side by side, filters, search. Thumbnails
    are made once; run it again after a run, or while one is going on. Its path is printed.
    """
    from nanobanana_batch.api.gallery import gallery as make
    from nanobanana_batch.screen.bar import counted_bar

    if serve and one_file:
        raise UsageError("A gallery in one file is not served; leave out --one-file or --serve.")
    with counted_bar("rows", shown=not (quiet or no_progress)) as progress:
        made = make(folders, out=out, only=only, where=where, one_file=one_file, progress=progress)
    if json_:
        show(as_json(made))
    elif not quiet or made.not_readable or made.remarks:
        show(_told(made), err=True)
    if serve:
        _serve(made.path, folders, port)
    elif not json_:
        show(made.path)


def _serve(page: Path, folders: tuple[Path, ...], port: int) -> None:
    from nanobanana_batch.galleries.server import Server, Shown

    server = Server(Shown(page, folders), port=port)
    show("Only who has this address sees the gallery, or writes to its folders; Ctrl-C ends it.", err=True)
    server.run(ready=show)


def _told(made: GalleryMade) -> str:
    told = f"{counted(made.images, 'image')} of {counted(made.rows, 'row')}"
    told += f"; thumbnails made: {made.thumbnails_made:,}, kept: {made.thumbnails_kept:,}"
    if made.not_readable:
        told += f"\n{counted(made.not_readable, 'image')} cannot be shown; the page says why"
    return "\n".join([told, *made.remarks])
