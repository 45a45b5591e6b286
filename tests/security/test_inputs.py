"""Somebody hands over a manifest, a table, a list, an image or a profile that is no file: nothing hangs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.errors import KeyProblem, ManifestError, NanobananaError
from nanobanana_batch.jobs.connection import Connection, api_key
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.providers.profile import load_profile

LOCAL = Connection("local")
IN_A_MANIFEST = {
    "table": 'table: {name}.csv\ndefaults: {{model: nano-banana-beta}}\nprompt: "{{a}}"\n',
    "parquet": 'table: {name}.parquet\ndefaults: {{model: nano-banana-beta}}\nprompt: "{{a}}"\n',
    "lines": "table: {name}.jsonl\ndefaults: {{model: nano-banana-beta}}\n",
    "list": (
        'defaults: {{model: nano-banana-beta, prompt: "{{a}}"}}\nmatrix: {{a: {{file: {name}.txt}}}}\n'
        "variables: [a]\n"
    ),
    "image": "rows: [{{model: nano-banana-beta, prompt: a, images: {name}.png}}]\n",
}
ENDINGS = {"table": "csv", "parquet": "parquet", "lines": "jsonl", "list": "txt", "image": "png"}


def pipe(place: Path) -> None:
    """Nobody ever writes to it."""
    os.mkfifo(place)


def endless(place: Path) -> None:
    """It never ends."""
    place.symlink_to("/dev/zero")


@pytest.mark.parametrize("what", IN_A_MANIFEST)
@pytest.mark.parametrize("put", [pipe, endless])
def test_a_pipe_or_a_device_in_a_manifest_is_a_problem_of_it(
    tmp_path: Path, what: str, put: Callable[[Path], None]
) -> None:
    """It is named together with everything else that is wrong."""
    put(tmp_path / f"odd.{ENDINGS[what]}")
    manifest = tmp_path / "m.yaml"
    manifest.write_text(IN_A_MANIFEST[what].format(name="odd"))
    with pytest.raises(ManifestError) as caught, expanded(open_ordered(Order(manifest, connection=LOCAL))):
        pass
    assert "odd" in str(caught.value)


@pytest.mark.parametrize("name", ["m.yaml", "m.csv", "m.jsonl", "m.parquet"])
@pytest.mark.parametrize("put", [pipe, endless])
def test_a_manifest_that_is_a_pipe_or_a_device_is_refused(
    tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    """Read more than once, it would give nothing the second time, or never end."""
    put(tmp_path / name)
    with pytest.raises(NanobananaError, match="is a"):
        open_ordered(Order(tmp_path / name, connection=LOCAL))


@pytest.mark.parametrize("put", [pipe, endless])
def test_a_profile_that_is_a_pipe_or_a_device_is_refused(tmp_path: Path, put: Callable[[Path], None]) -> None:
    """Also the one that a profile extends."""
    put(tmp_path / "p.yaml")
    (tmp_path / "child.yaml").write_text("extends: p.yaml\n")
    for name in ("p.yaml", "child.yaml"):
        with pytest.raises(NanobananaError, match="cannot be read"):
            load_profile(str(tmp_path / name))


def test_a_key_file_that_never_ends_is_no_key(tmp_path: Path) -> None:
    """A pipe may be one (`<(pass show key)`), a device is read no further than a key can be long."""
    endless(tmp_path / "key")
    with pytest.raises(KeyProblem):
        api_key(Connection(key_file=tmp_path / "key"), load_profile("evolink"))
