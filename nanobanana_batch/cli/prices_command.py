"""`prices`: what images cost, as far as that is known before any is paid for."""

from __future__ import annotations

import click

from nanobanana_batch.cli import options
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json


@click.command(cls=OurCommand)
@options.provider
@options.base_url
@click.option("--refresh", is_flag=True, help="First read the provider's public price list.")
@options.as_json_flag
def prices(provider: str, base_url: str | None, refresh: bool, json_: bool) -> None:
    """Say what images cost; no key is needed.

    By the prices of the profile, or else the public price list, which is read with --refresh only and kept in
    your cache. Estimates and --max-credits rest on it until an output folder has replies of its own.
    """
    from nanobanana_batch.cli.prices_text import prices_text
    from nanobanana_batch.jobs import prices as price_report
    from nanobanana_batch.jobs.connection import Connection

    connection = Connection(provider, base_url)
    if refresh:
        price_report.refresh(connection)
    found = price_report.price_report(connection)
    show(as_json(found) if json_ else prices_text(found))
