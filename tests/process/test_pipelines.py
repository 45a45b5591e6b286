"""The chains that people begin with: every step runs, on the images of the one before."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pandas
import pytest

from nanobanana_batch.results import read_results
from tests.process.harness import cli

ROOT = Path(__file__).parents[2]
CHAINS = sorted(path for path in (ROOT / "pipelines").iterdir() if path.is_dir())


def named_images(out: Path) -> dict[str, list[str]]:
    """Row ids with the hashes of the files that their paid requests named, in their order."""
    with closing(sqlite3.connect(out / "state.sqlite3")) as db:
        held = dict(db.execute("SELECT url, sha256 FROM uploads"))
        bodies = db.execute("SELECT rows.id, body FROM rows JOIN attempts USING (attempt)").fetchall()
    return {id_: [held[url] for url in json.loads(body).get("image_urls", [])] for id_, body in bodies}


def hold_together(parents: pandas.DataFrame, edits: pandas.DataFrame, out: Path) -> None:
    """Every edit says which row it comes from, and its request carried that row's image."""
    image_of = dict(zip(parents["id"], parents["sha256"], strict=True))
    assert set(edits["parent_id"]) == set(image_of)
    sent = named_images(out)
    pairs = zip(edits["id"], edits["parent_id"], strict=True)
    assert all(sent[id_] == [image_of[parent]] for id_, parent in pairs)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda path: str(path.name))
def test_a_chain_runs_step_by_step(chain: Path, tmp_path: Path) -> None:
    """From the project's folder, with the embedded service; once more it has nothing to do."""
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    steps = [f"pipelines/{chain.name}/{path.name}" for path in sorted(chain.glob("*.yaml"))]
    before: pandas.DataFrame | None = None
    for step in steps:
        planned = cli("plan", step, "--provider", "local", cwd=tmp_path)
        assert (planned.returncode, planned.stderr) == (0, "")
        assert "warning" not in planned.stdout
        run = cli("run", step, "--provider", "local", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        (out,) = [
            path for path in (tmp_path / "outputs").iterdir() if f"{path.name}/" in run.stderr + run.stdout
        ]
        results = read_results(out)
        assert set(results["status"]) == {"completed"}
        if before is not None:
            hold_together(before, results, out)
        before = results
    assert len(steps) > 1


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_runs_all_steps_of_a_chain_and_stops_at_one_that_fails(tmp_path: Path) -> None:
    """`make pipelines/NAME`; its folder is there already, and it runs all the same."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    said = tmp_path / "said"
    program = tmp_path / "bin" / "nanobanana-batch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {said}\ncase "$2" in */2-*) exit 3;; esac\n')
    program.chmod(0o755)
    chain = tmp_path / "pipelines" / "cards"
    chain.mkdir(parents=True)
    for name in ("1-make", "2-edit", "3-edit"):
        (chain / f"{name}.yaml").touch()
    command = ["make", "pipelines/cards", f"BIN={program.parent}", "INSTALLED=", "RUN_FLAGS=--limit 2"]
    made = subprocess.run(
        [*command, f"PYTHON={sys.executable}"], cwd=tmp_path, capture_output=True, check=False
    )
    assert made.returncode != 0
    assert said.read_text().splitlines() == [
        f"run pipelines/cards/{name}.yaml --provider local --limit 2" for name in ("1-make", "2-edit")
    ]
