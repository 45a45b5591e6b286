"""`serve` and `models`: the embedded service alone, and what the catalogue knows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from nanobanana_batch.cli.options import Whole
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json, models_text
from nanobanana_batch.errors import OutputFailed, ServiceFailed


def _latency(_: click.Context, option: click.Parameter, value: str) -> float | tuple[float, float]:
    low, dash, high = value.partition("-")
    try:
        return (float(low), float(high)) if dash else float(low)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is neither SECONDS nor MIN-MAX", param=option) from error


def _outages(_: click.Context, option: click.Parameter, value: str) -> tuple[tuple[float, float], ...]:
    try:
        pairs = [word.split(":") for word in value.split(",") if word]
        return tuple((float(at), float(length)) for at, length in pairs)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not AT:LENGTH,AT:LENGTH", param=option) from error


def _say_where(base_url: str) -> None:
    with suppress(OutputFailed):  # who has closed standard output has chosen the port
        show(f"Serving on {base_url} (docs at {base_url}/docs, ledger at {base_url}/admin/ledger)")


class _ServeCommand(OurCommand):
    """Its help ends with the names of the faults."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from nanobanana_batch.service.options import FAULT_GROUPS, FAULT_PARAMETERS

        with formatter.section("Faults, by what they hit"):
            groups = {**FAULT_GROUPS, "how, when hit": FAULT_PARAMETERS}
            formatter.write_dl([(title, " ".join(names)) for title, names in groups.items()])
        super().format_epilog(ctx, formatter)


@click.command(cls=_ServeCommand)
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=Whole(0, 65535),
    metavar="N",
    help="0: any free one.",
)
@click.option(
    "--host-name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name by which it is called, beside this machine's own: behind a proxy.",
)
@click.option(
    "--data",
    "data_dir",
    default=Path("outputs/.service"),
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Its tasks, pictures and ledger; they survive a restart.",
)
@click.option(
    "--latency",
    "latency_s",
    default="1",
    show_default=True,
    callback=_latency,
    metavar="SECONDS|MIN-MAX",
    help="How long a task takes.",
)
@click.option("--seed", type=int, metavar="N", help="The same requests get the same task ids and pictures.")
@click.option(
    "--credits", default=1_000_000, show_default=True, metavar="N", help="What each key begins with."
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Accept only the keys in this file, one a line.",
)
@click.option("--images", default=1, show_default=True, metavar="N", help="How many each task makes.")
@click.option(
    "--link-lifetime",
    "link_lifetime_s",
    default=86400.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a link to an image works.",
)
@click.option(
    "--idempotency/--no-idempotency",
    default=True,
    help="Whether a request that comes twice (same Idempotency-Key) makes one task.",
)
@click.option(
    "--batch/--no-batch", "batch_reads", default=True, help="Whether many tasks can be read at once."
)
@click.option("--list/--no-list", "recent_list", default=True, help="Whether recent tasks can be listed.")
@click.option("--integer-codes", is_flag=True, help="Error codes as integers, as on older pages.")
@click.option("--unlimited-credits", is_flag=True, help="No key ever runs out.")
@click.option(
    "--deny-model", "denied_models", multiple=True, metavar="MODEL", help="No key may use this model."
)
@click.option(
    "--file-lifetime",
    "file_lifetime_s",
    default=259200.0,
    show_default=True,
    metavar="SECONDS",
    help="How long an uploaded reference image is kept.",
)
@click.option(
    "--max-files", default=100, show_default=True, metavar="N", help="How many of them a key may have."
)
@click.option(
    "--allow-loopback-callbacks",
    is_flag=True,
    help="For tests only: callbacks may go by plain HTTP to 127.0.0.1.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME=RATE",
    help="Misbehave, e.g. lost_reply_after=0.02, or lost_reply_after=next:2.",
)
@click.option(
    "--outages",
    default="",
    callback=_outages,
    metavar="AT:LENGTH,...",
    help="Seconds after the start at which nothing works, and for how long.",
)
def serve(faults: tuple[str, ...], **options: Any) -> None:
    """Run the embedded API service alone, on 127.0.0.1. It draws placeholders and costs nothing.

    Prints its address once it accepts connections. Its API is described at /docs; who was charged for
    what stands at /admin/ledger. The API as `unified` has it is under
    /unified.

    A fault has a rate from 0 to 1; which requests it hits follows from the fault seed and their
    bytes, so that a run can be repeated. The ones in force are changed by a POST to /admin/faults, and
    an outage is begun by a POST of {"length_s": 30} to /admin/outage, from this machine only.
    """
    from nanobanana_batch.service.options import Faults, ServiceError, ServiceOptions
    from nanobanana_batch.service.server import serve as serve_until_stopped

    try:
        chosen = ServiceOptions(faults=Faults.from_words(faults), **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        serve_until_stopped(chosen, ready=_say_where)
    except ServiceError as error:
        raise ServiceFailed(str(error)) from error


@click.command(cls=OurCommand)
@click.option(
    "--provider", metavar="NAME|FILE", help="Only what this provider offers, with its own models and prices."
)
@click.option("--json", "json_", is_flag=True, help="As JSON.")
def models(provider: str | None, json_: bool) -> None:
    """List the known models and what each allows."""
    from nanobanana_batch.jobs.connection import known_models

    known = known_models(provider)
    show(as_json(known) if json_ else models_text(known))
