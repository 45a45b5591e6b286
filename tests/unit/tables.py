"""What tests of tables share: opening one with a model given, its rows, and what it complains about."""

from __future__ import annotations

from pathlib import Path

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import ManifestError
from nanobanana_batch.manifest import Beside, Manifest, open_manifest
from nanobanana_batch.model import Draft

BETA = "nano-banana-beta"


def opened(path: Path, variables: tuple[str, ...] = (), **defaults: str) -> Manifest:
    """The manifest at this path."""
    return open_manifest(
        path,
        catalog=load_catalog(),
        dialect="evolink",
        beside=Beside(variables=variables, defaults={"model": BETA, **defaults}),
    )


def read(path: Path, **defaults: str) -> list[Draft]:
    """Its rows, which have to be sound."""
    manifest = opened(path, (), **defaults)
    log = manifest.problem_log()
    drafts = list(manifest.drafts(log))
    assert list(log) == []
    return drafts


def complaints(path: Path) -> list[str]:
    """All that is wrong with its form and its rows."""
    try:
        manifest = opened(path)
    except ManifestError as error:
        return [str(problem) for problem in error.problems]
    log = manifest.problem_log()
    list(manifest.drafts(log))
    return [str(problem) for problem in log]
