"""`serve` and `models`: the embedded service alone, and what the catalogue knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nanobanana_batch.cli.text import as_json, models_text
from nanobanana_batch.errors import ServiceFailed


def _latency(_: click.Context, option: click.Parameter, value: str) -> float | tuple[float, float]:
    low, dash, high = value.partition("-")
    try:
        return (float(low), float(high)) if dash else float(low)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is neither SECONDS nor MIN-MAX", param=option) from error


@click.command()
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--data",
    "data_dir",
    default=Path("outputs/.service"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Its tasks, pictures and ledger; they survive a restart.",
)
@click.option(
    "--latency", "latency_s", default="1", show_default=True, callback=_latency, help="SECONDS or MIN-MAX."
)
@click.option("--seed", type=int, help="The same requests get the same task ids and pictures.")
@click.option("--credits", default=1_000_000, show_default=True, help="What each key begins with.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="Accept only the keys in this file, one a line."
)
@click.option("--link-lifetime", "link_lifetime_s", default=86400.0, show_default=True, help="Seconds.")
@click.option("--idempotency/--no-idempotency", default=True, help="Whether Idempotency-Key is honoured.")
@click.option(
    "--batch/--no-batch", "batch_reads", default=True, help="Whether many tasks can be read at once."
)
@click.option("--list/--no-list", "recent_list", default=True, help="Whether recent tasks can be listed.")
@click.option("--integer-codes", is_flag=True, help="Error codes as integers, as on older pages.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=RATE", help="Misbehave, e.g. lost_reply_after=0.02."
)
def serve(faults: tuple[str, ...], **options: Any) -> None:
    """Run the embedded API service alone, on 127.0.0.1. It draws placeholders and costs nothing.

    Prints its address once it accepts connections. Its API is described at /docs; who was charged for
    what stands at /admin/ledger. The unified dialect is under /unified.
    """
    from nanobanana_batch.service.options import Faults, ServiceError, ServiceOptions
    from nanobanana_batch.service.server import serve as serve_until_stopped

    try:
        chosen = ServiceOptions(faults=Faults.from_words(faults), **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        serve_until_stopped(chosen, ready=click.echo)
    except ServiceError as error:
        raise ServiceFailed(str(error)) from error


@click.command()
@click.option("--json", "json_", is_flag=True, help="As JSON.")
def models(json_: bool) -> None:
    """List the models that the catalogue knows and what each allows."""
    from nanobanana_batch.catalog import load_catalog

    catalog = load_catalog()
    known = [rules for dialect in catalog.dialects for rules in catalog.models(dialect)]
    click.echo(as_json(known) if json_ else models_text(known))
