"""`schema`: what editors need to help with a manifest."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of YAML manifests.

    With it an editor completes, explains and checks a manifest while it is written. Name it in the manifest's
    first line: # yaml-language-server: $schema=PATH
    """
    from nanobanana_batch.catalog import load_catalog
    from nanobanana_batch.manifest.schema import manifest_schema

    click.echo(json.dumps(manifest_schema(load_catalog()), indent=2, ensure_ascii=False))
