"""`plan` and `run`: what to make, and making it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nanobanana_batch.cli.text import as_json, outcome_text, plan_text

Command = TypeVar("Command", bound=Callable[..., Any])


def _pairs(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, _value in pairs:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} is not of the form NAME=VALUE", param=option)
    return {name: value for name, _equals, value in pairs}


_MANIFEST_OPTIONS = (
    click.argument("manifest", type=click.Path(path_type=Path)),
    click.option("--out", type=click.Path(path_type=Path), help="Output folder.  [default: outputs/<name>]"),
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
)


def _manifest_options(command: Command) -> Command:
    for option in reversed(_MANIFEST_OPTIONS):
        command = option(command)
    return command


@click.command()
@_manifest_options
@click.option("--rows", default=10, show_default=True, type=click.IntRange(0), help="How many rows to show.")
@click.option("--json", "json_", is_flag=True, help="As JSON on stdout.")
def plan(rows: int, json_: bool, **order: Any) -> None:
    """Say what a run of MANIFEST would do: counts, the first rows, all problems. Sends nothing."""
    from nanobanana_batch.pipeline import Order
    from nanobanana_batch.planning import make_plan

    made = make_plan(Order(**order), first=rows)
    click.echo(as_json(made) if json_ else plan_text(made))


@click.command()
@_manifest_options
@click.option("--base-url", metavar="URL", help="Where the provider is, if not where its profile says.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Read the API key from this file.")
@click.option("--concurrency", default=64, show_default=True, type=click.IntRange(1), help="Tasks in flight.")
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
@click.option("--no-progress", is_flag=True, help="No progress line.")
def run(
    concurrency: int,
    submit_concurrency: int,
    limit: int | None,
    on_unknown: str,
    no_progress: bool,
    **order: Any,
) -> int:
    """Make what MANIFEST asks for and is not made yet; run it again to resume."""
    from nanobanana_batch import pipeline
    from nanobanana_batch.cli.progress import progress
    from nanobanana_batch.engine.context import OnUnknown, Settings

    settings = Settings(
        concurrency=concurrency,
        submit_concurrency=min(submit_concurrency, concurrency),
        limit=limit,
        on_unknown=OnUnknown(on_unknown),
    )
    with progress(shown=not no_progress) as tally:
        outcome = pipeline.run(pipeline.Order(**order), settings, tally)
    click.echo(outcome_text(outcome), err=True)
    return outcome.exit_code
