"""`schema`: what editors need to help with a manifest."""

from __future__ import annotations

import json

import click

from nanobanana_batch.cli.dress import Verbatim
from nanobanana_batch.cli.our_command import OurCommand
from nanobanana_batch.cli.show import show


@click.command(cls=OurCommand)
@click.option("--provider", metavar="NAME|FILE", help="With this provider's models and their own settings.")
def schema(provider: str | None) -> None:
    """Print the JSON Schema of YAML manifests.

    With it an editor completes, explains and checks a manifest while it is written. Name it in the manifest's
    first line: # yaml-language-server: $schema=PATH
    """
    from nanobanana_batch.jobs.connection import known_models
    from nanobanana_batch.manifest.schema import manifest_schema

    show(Verbatim(json.dumps(manifest_schema(known_models(provider)), indent=2, ensure_ascii=False)))
