"""`status`, `results`, `retry` and `audit`: how an output folder stands, and setting it right."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nanobanana_batch.cli.options import (
    Manner,
    as_copy,
    as_json_flag,
    base_url,
    debug,
    folder,
    key_file,
    last_provider,
    shown,
    verify,
    with_hooks,
    with_manner,
    work,
)
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.run_options import with_settings
from nanobanana_batch.cli.show import dressed, show, show_as_is, show_lines, show_pieces
from nanobanana_batch.cli.text import as_json, audit_lines, json_pieces, rebuilt_text

if TYPE_CHECKING:
    from nanobanana_batch.results import Standing


@click.command(cls=OurCommand)
@folder
@last_provider
@verify
@click.option(
    "--watch",
    is_flag=True,
    help="Look again until the run has ended: every other second, each minute where that is no terminal.",
)
@as_json_flag
def status(folder: Path, provider: str, verify: bool, watch: bool, json_: bool) -> None:
    """Say how the output FOLDER stands; also while a run is going.

    Images are looked at by size and time.
    """
    from nanobanana_batch.cli.outcome_text import standing_text
    from nanobanana_batch.cli.text import as_json_line
    from nanobanana_batch.files.folder import find
    from nanobanana_batch.jobs.connection import Connection
    from nanobanana_batch.jobs.outlook import priced_standing
    from nanobanana_batch.screen.watching import watch as until_it_ends

    def look() -> Standing:
        return priced_standing(find(folder), Connection(provider), verify=verify)

    if watch:
        text = as_json_line if json_ else standing_text
        is_drawn = sys.stdout.isatty() and not json_
        until_it_ends(look, text, show_as_is, is_terminal=is_drawn, dress=dressed if is_drawn else str)
    else:
        found = look()
        show(as_json(found) if json_ else standing_text(found))


@click.command(cls=OurCommand)
@folder
@click.option(
    "--for-spreadsheets",
    is_flag=True,
    help="Write a copy in which no text can be taken for a formula; its path is printed.",
)
@verify
def results(folder: Path, for_spreadsheets: bool, verify: bool) -> None:
    """Write results.csv of the output FOLDER anew.

    It is made from state.sqlite3, and by a look at the images; its path is printed.
    """
    from nanobanana_batch.commands import FolderCommands
    from nanobanana_batch.files.disk import Disk
    from nanobanana_batch.files.folder import find
    from nanobanana_batch.files.standing import Look, sentences
    from nanobanana_batch.results import write_for_spreadsheets, write_results

    write = write_for_spreadsheets if for_spreadsheets else write_results
    look = Look(folder, verify=verify)
    show(write(find(folder), Disk(), look))
    for sentence in sentences(look.files, FolderCommands(folder)):
        show(sentence, err=True)


@click.command(cls=OurCommand)
@folder
@click.option(
    "--only",
    required=True,
    type=click.Choice(["failed", "refused", "unknown", "expired", "running"]),
    help="Which rows to pay for again. running: those whose image never comes are given up; it is looked for"
    " once more before, and may have been paid.",
)
@click.option("--row", "rows", multiple=True, metavar="ID", help="Only this row; may be given several times.")
@last_provider
@base_url
@key_file
@with_settings
@with_hooks
@as_copy
@debug
@with_manner
def retry(
    folder: Path, only: Any, rows: tuple[str, ...], provider: str, manner: Manner, **options: Any
) -> int:
    """Pay again for rows of FOLDER that did not complete.

    They go to the provider of the last run on this output folder.
    """
    from nanobanana_batch.api.making import retry as again

    return work(
        manner,
        lambda progress: again(
            folder, only, rows=rows or None, provider=provider, progress=progress, **options
        ),
    )


@click.command(cls=OurCommand)
@folder
@click.option("--repair", is_flag=True, help="First fetch what is paid for and can still be had.")
@click.option(
    "--rebuild",
    is_flag=True,
    help="First make state.sqlite3 anew from payments.jsonl, where it is lost or an older copy.",
)
@last_provider
@base_url
@key_file
@as_copy
@with_manner
def audit(
    folder: Path,
    repair: bool,
    rebuild: bool,
    provider: str,
    manner: Manner,
    **options: Any,
) -> int:
    """Check that all that was sent, paid and saved is explained.

    Lists what is not, in the output FOLDER, with what to do; exit 0 only if there is nothing. While a run is
    going on, what it has in flight is left alone.
    """
    from nanobanana_batch.api.driving import Interrupted
    from nanobanana_batch.api.making import audit as look
    from nanobanana_batch.cli.streams import impatient
    from nanobanana_batch.files.disk import Disk
    from nanobanana_batch.jobs.rebuild import rebuild_folder

    if rebuild:
        show(rebuilt_text(rebuild_folder(folder, Disk())), err=True)
    with impatient():
        try:
            found = look(folder, repair=repair, provider=provider, progress=shown(manner), **options)
        except Interrupted:
            found = look(folder, provider=provider, **options)
    if found.findings or not manner.quiet or manner.json:
        show_pieces(json_pieces(found)) if manner.json else show_lines(audit_lines(found))
    return found.exit_code
