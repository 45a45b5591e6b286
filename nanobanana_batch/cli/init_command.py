"""`init`: the first files of a project."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import click

from nanobanana_batch.cli.dress import Verbatim
from nanobanana_batch.cli.options import PATH
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.commands import PROGRAM

_NEXT = (
    "plan manifest.yaml --provider local",
    "run manifest.yaml --provider local --out outputs/manifest-local",
)


@click.command(cls=OurCommand)
@click.argument("folder", type=PATH, default=Path(), metavar="[DIR]")
def init(folder: Path) -> None:
    """Write a first manifest and a Makefile.

    Into DIR, or here. Both work as they stand, with placeholders that cost nothing. No file is overwritten.
    """
    from nanobanana_batch.jobs.starter import make_starter

    starter = make_starter(folder)
    for path, is_made in starter.files.items():
        show(f"made {path}" if is_made else f"{path} was there and stays as it is")
    where = f"./{folder}" if str(folder).startswith("-") else str(folder)
    into = [] if folder == Path() else [f"cd {shlex.quote(where)}"]
    show("\nNext: look at what it would make (nothing is sent), then make placeholders, for nothing:\n")
    for line in [*into, *(f"{PROGRAM} {words}" for words in _NEXT)]:
        show(Verbatim(f"  {line}"))
    show("\nOr `make plan` and `make run`; what else there is stands at the beginning of the Makefile.")
    if shutil.which(PROGRAM) is None:
        show(f"{PROGRAM} is not on your PATH: write its whole path in its place (for make: PROGRAM=...).")
