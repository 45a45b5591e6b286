"""`plan` and `run`: what to make, and making it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from nanobanana_batch import defaults
from nanobanana_batch.cli.options import (
    PATH,
    Manner,
    Whole,
    as_copy,
    as_json_flag,
    base_url,
    debug,
    key_file,
    provider,
    quiet,
    verbose,
    with_hooks,
    with_manner,
    work,
)
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.run_options import with_settings, with_terms
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json

Command = TypeVar("Command", bound=Callable[..., Any])


def _pairs(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, _value in pairs:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} is not of the form NAME=VALUE", param=option)
    return {name: value for name, _equals, value in pairs}


_MANIFEST_OPTIONS = (
    click.argument("manifest", type=PATH),
    click.option(
        "--format",
        type=click.Choice(["yaml", "csv", "tsv", "jsonl", "json", "txt", "parquet", "xlsx"]),
        help="What MANIFEST is, if its name does not say it.",
    ),
    click.option("--out", type=PATH, metavar="DIR", help="Output folder.  [default: outputs/<name>]"),
    provider,
    click.option(
        "--defaults", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Fill what rows do not give."
    ),
    click.option(
        "--columns",
        multiple=True,
        callback=_pairs,
        metavar="OURS=THEIRS",
        help="Which column of a table is which of our names: prompt=caption.",
    ),
    click.option(
        "--id", default="", metavar="TEMPLATE", help='How rows of a table are named: "{category}-{id}".'
    ),
    click.option(
        "--skip",
        multiple=True,
        metavar="empty,too-long",
        help="Leave out rows whose prompt is empty or too long; they are counted and listed.",
    ),
    click.option(
        "--variables", multiple=True, metavar="NAME", help="A column that looks like a typo, but is none."
    ),
    click.option(
        "--allow-outside",
        type=PATH,
        multiple=True,
        metavar="DIR",
        help="Let MANIFEST read from this folder, too, beside its own and the working directory.",
    ),
    click.option("--allow-unknown-model", is_flag=True, help="Send models that this program does not know."),
    click.option(
        "--state-dir",
        type=PATH,
        metavar="DIR",
        help="Keep state.sqlite3, which knows what is paid for, below this local folder.",
    ),
    click.option(
        "--risk-network-filesystem",
        is_flag=True,
        help="Keep state.sqlite3 on a network file system: two runs on it may pay twice.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N parts of the manifest, in a folder of its own.  [default: all of it]",
    ),
)


def _rows_shown(quiet: bool, verbose: bool, part: int | None) -> int:
    """None, all, or those of a part, or a few."""
    return 0 if quiet else sys.maxsize if verbose else part or defaults.PLANNED_ROWS


def _manifest_options(command: Command) -> Command:
    decorated: Any = command
    for option in reversed(_MANIFEST_OPTIONS):
        decorated = option(decorated)
    return cast(Command, decorated)


@click.command(cls=OurCommand)
@_manifest_options
@base_url
@with_terms
@click.option(
    "--rows",
    type=Whole(0),
    metavar="N",
    help="How many rows to show.  [default: 10, or all of a pilot]",
)
@click.option(
    "--pilot",
    type=Whole(1),
    metavar="N",
    help="Show the rows that a run with --pilot N would make, and what these cost.",
)
@click.option("--row", metavar="ID", help="Show this row in full instead.")
@click.option("--show-request", metavar="ID", help="Show what would be sent for this row instead.")
@click.option("--out-csv", type=PATH, metavar="FILE", help="Write all rows into a table, a manifest itself.")
@quiet
@verbose
@as_json_flag
def plan(
    manifest: Path,
    out: Path | None,
    provider: str,
    rows: int | None,
    pilot: int | None,
    row: str | None,
    show_request: str | None,
    out_csv: Path | None,
    quiet: bool,
    verbose: bool,
    json_: bool,
    **options: Any,
) -> None:
    """Say what a run of MANIFEST would do; send nothing.

    What would be paid for, cost and time, the first rows, and all problems. No key is needed.
    """
    from nanobanana_batch.api.making import plan as make_plan
    from nanobanana_batch.api.orders import find_request, find_row
    from nanobanana_batch.cli import plan_text

    if sum(given is not None for given in (row, show_request, out_csv, pilot)) > 1:
        raise click.UsageError("--row, --show-request, --out-csv and --pilot: give one of them.")
    if show_request is not None:
        request = find_request(manifest, show_request, out, provider, options)
        if not json_:
            show(plan_text.request_text(request) + "\n", err=True)
        show(as_json(request) if json_ else plan_text.body_text(request))
    elif row is not None:
        found = find_row(manifest, row, out, provider, options)
        show(as_json(found) if json_ else plan_text.row_text(found))
    else:
        shown = _rows_shown(quiet, verbose, pilot) if rows is None else rows
        made = make_plan(
            manifest, out=out, provider=provider, rows=shown, pilot=pilot, out_csv=out_csv, **options
        )
        show(as_json(made) if json_ else plan_text.plan_text(made))


@click.command(cls=OurCommand)
@_manifest_options
@base_url
@key_file
@with_settings
@with_hooks
@click.option("--limit", type=Whole(1), metavar="N", help="Only the first N rows of the manifest.")
@click.option(
    "--pilot",
    type=Whole(1),
    metavar="N",
    help="Only N rows, with every value of the matrix and of each field: what will the others cost?",
)
@click.option(
    "--procs",
    type=Whole(1),
    metavar="N",
    help="In N processes, each with a shard in a folder of its own; limits are those of all together.",
)
@click.option(
    "--on-unknown",
    default=defaults.ON_UNKNOWN,
    show_default=True,
    type=click.Choice(["hold", "resubmit"]),
    help="What to do with rows that may have been paid and cannot be found at the provider: leave them, or"
    " send them again, which may be paid twice.",
)
@click.option(
    "--callback-url",
    metavar="URL",
    help="Where the provider can call this machine when a task has ended: your https front.",
)
@click.option(
    "--callback-listen",
    metavar="HOST:PORT",
    help="Where your front sends these calls to.  [default: 127.0.0.1:8080]",
)
@click.option(
    "--journal",
    metavar="DIR|s3://BUCKET/NAME",
    help="Tell each payment there before it is made, so that another machine can go on where this one dies.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Make it as --shards parts on the Ray cluster there: auto finds it, here is one of this machine."
    " Needs --journal.",
)
@click.option("--shards", type=Whole(1), metavar="N", help="How many parts --ray makes of the manifest.")
@click.option(
    "--bring-to",
    metavar="DIR|s3://BUCKET/NAME",
    help="Where the folder of each part goes when --ray has made it.",
)
@as_copy
@debug
@click.option("--dry-run", is_flag=True, help="Only say what it would do, as plan does; send nothing.")
@with_manner
def run(
    manifest: Path,
    out: Path | None,
    provider: str,
    limit: int | None,
    pilot: int | None,
    procs: int | None,
    dry_run: bool,
    manner: Manner,
    **options: Any,
) -> int:
    """Make what MANIFEST asks for and is not made yet.

    Run it again to resume: nothing is paid for twice.
    """
    from nanobanana_batch.api.making import plan as make_plan
    from nanobanana_batch.api.making import plan_shards
    from nanobanana_batch.api.making import run as make
    from nanobanana_batch.cli import plan_text

    if limit is not None and pilot is not None:
        raise click.UsageError("--limit and --pilot: give one of them.")
    where: Any = {"out": out, "provider": provider, "limit": limit, "pilot": pilot}
    if dry_run:
        if procs is not None or options.get("ray") is not None:
            plans = plan_shards(manifest, procs, **where, **options)
            show(as_json(plans) if manner.json else plan_text.shards_text(plans))
            return 0
        rows = _rows_shown(manner.quiet, manner.verbose, pilot or limit)
        made = make_plan(manifest, rows=rows, **where, **options)
        show(as_json(made) if manner.json else plan_text.plan_text(made))
        return 0
    return work(manner, lambda progress: make(manifest, progress=progress, procs=procs, **where, **options))
