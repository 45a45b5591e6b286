"""`plan` and `run`: what to make, and making it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nanobanana_batch.cli.options import PATH, base_url, concurrency, key_file, no_progress, work
from nanobanana_batch.cli.text import as_json, plan_text

Command = TypeVar("Command", bound=Callable[..., Any])


def _pairs(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, _value in pairs:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} is not of the form NAME=VALUE", param=option)
    return {name: value for name, _equals, value in pairs}


_MANIFEST_OPTIONS = (
    click.argument("manifest", type=PATH),
    click.option("--out", type=PATH, help="Output folder.  [default: outputs/<name>]"),
    click.option(
        "--provider",
        default="evolink",
        show_default=True,
        metavar="NAME|FILE",
        help="evolink, unified, local (embedded, free), local-unified, or a profile file.",
    ),
    click.option(
        "--defaults", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Fill what rows do not give."
    ),
    click.option(
        "--variables", multiple=True, metavar="NAME", help="A column that looks like a typo, but is none."
    ),
    click.option("--allow-unknown-model", is_flag=True, help="Send models that the catalogue does not know."),
    click.option("--state-dir", type=PATH, help="Keep the state below this local folder instead."),
    click.option(
        "--risk-network-filesystem",
        is_flag=True,
        help="Keep the state on a network file system: two runs on it may pay twice.",
    ),
)


def _manifest_options(command: Command) -> Command:
    for option in reversed(_MANIFEST_OPTIONS):
        command = option(command)
    return command


@click.command()
@_manifest_options
@click.option("--rows", default=10, show_default=True, type=click.IntRange(0), help="How many rows to show.")
@click.option("--json", "json_", is_flag=True, help="As JSON on stdout.")
def plan(rows: int, json_: bool, provider: str, **order: Any) -> None:
    """Say what a run of MANIFEST would do: counts, the first rows, all problems. Sends nothing."""
    from nanobanana_batch.connection import Connection
    from nanobanana_batch.pipeline import Order
    from nanobanana_batch.planning import make_plan

    made = make_plan(Order(connection=Connection(provider), **order), first=rows)
    click.echo(as_json(made) if json_ else plan_text(made))


@click.command()
@_manifest_options
@base_url
@key_file
@concurrency
@click.option(
    "--submit-concurrency",
    default=8,
    show_default=True,
    type=click.IntRange(1),
    help="Paid requests at once.",
)
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Only the first N rows of the manifest.")
@click.option(
    "--on-unknown",
    default="hold",
    show_default=True,
    type=click.Choice(["hold", "resubmit"]),
    help="What to do with requests that may have been paid and cannot be found at the provider.",
)
@no_progress
def run(
    concurrency: int,
    submit_concurrency: int,
    limit: int | None,
    on_unknown: str,
    no_progress: bool,
    provider: str,
    base_url: str | None,
    key_file: Path | None,
    **order: Any,
) -> int:
    """Make what MANIFEST asks for and is not made yet; run it again to resume."""
    from nanobanana_batch import pipeline
    from nanobanana_batch.connection import Connection
    from nanobanana_batch.engine.context import OnUnknown, Settings

    settings = Settings(
        concurrency=concurrency,
        submit_concurrency=min(submit_concurrency, concurrency),
        limit=limit,
        on_unknown=OnUnknown(on_unknown),
    )
    asked = pipeline.Order(connection=Connection(provider, base_url, key_file), **order)
    return work(no_progress, lambda tally: pipeline.run(asked, settings, tally))
