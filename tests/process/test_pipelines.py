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


_BODIES = """
SELECT rows.id, body FROM rows JOIN attempts USING (attempt)
JOIN requests ON requests.request = attempts.request
"""


def named_images(out: Path) -> dict[str, list[str]]:
    """Row ids with the hashes of the files that their paid requests named, in their order."""
    with closing(sqlite3.connect(out / "state.sqlite3")) as db:
        held = dict(db.execute("SELECT url, sha256 FROM uploads"))
        bodies = db.execute(_BODIES).fetchall()
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


def made(tmp_path: Path, target: str, *names: str, fails_at: str = "nothing") -> tuple[int, list[list[str]]]:
    """Make a target, the command replaced by a stub: the exit code and the words of each call."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    said = tmp_path / "said"
    program = tmp_path / "bin" / "nanobanana-batch"
    program.parent.mkdir()
    noted = (
        f'for word; do printf \'%s\\n\' "$word"; case "$word" in *{fails_at}*) code=3;; esac; done >> {said}'
    )
    program.write_text(f"#!/bin/sh\ncode=0; {noted}; echo >> {said}; exit $code\n")
    program.chmod(0o755)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    given = [f"BIN={program.parent}", "RUNNABLE=", "RUN_FLAGS=--limit 2", f"PYTHON={sys.executable}"]
    ended = subprocess.run(["make", target, *given], cwd=tmp_path, capture_output=True, check=False)
    calls = said.read_text().split("\n\n")[:-1] if said.exists() else []
    return ended.returncode, [call.splitlines() for call in calls]


NEEDS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
GIVEN = ["--provider", "local", "--limit", "2", "--"]


@NEEDS_MAKE
def test_make_runs_all_steps_of_a_chain_and_stops_at_one_that_fails(tmp_path: Path) -> None:
    """`make pipelines/NAME`; its folder is there already, and it runs all the same."""
    steps = [f"pipelines/cards/{name}.yaml" for name in ("1-make", "2-edit", "3-edit")]
    code, calls = made(tmp_path, "pipelines/cards", *steps, fails_at="/2-")
    assert code != 0
    assert calls == [["run", *GIVEN, step] for step in steps[:2]]


@NEEDS_MAKE
def test_the_name_of_a_manifest_is_one_word_whatever_it_holds(tmp_path: Path) -> None:
    """It may be somebody else's: no option, no command."""
    step = "pipelines/cards/a --allow-outside .. $(touch stray) ; touch stray # 'x.yaml"
    assert made(tmp_path, "pipelines/cards", step) == (0, [["run", *GIVEN, step]])
    assert not (tmp_path / "stray").exists()


@NEEDS_MAKE
@pytest.mark.parametrize("name", ["cards", "a;touch${IFS}stray;", "it's"])
def test_the_name_of_a_target_is_one_word_whatever_it_holds(tmp_path: Path, name: str) -> None:
    """As of results for all manifests of a folder."""
    code, calls = made(tmp_path, f"outputs/{name}/results.csv", f"manifests/{name}.csv")
    assert code == 0
    assert calls == [["run", "--out", f"outputs/{name}", *GIVEN, f"manifests/{name}.csv"]]
    assert not (tmp_path / "stray").exists()
