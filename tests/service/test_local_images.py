"""Local reference images over real sockets: from a manifest through the files API into the picture."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import ManifestError
from nanobanana_batch.jobs import retry as retry_job
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.jobs.plan import make_plan
from nanobanana_batch.jobs.retry import Retry
from nanobanana_batch.state.comparison import Prospect
from nanobanana_batch.state.scope import Scope
from tests.service.conftest import Api, Start
from tests.unit.fake_provider import picture

EXAMPLE = Path(__file__).parents[2] / "manifests" / "edit.yaml"
REFERENCES = EXAMPLE.parent / "data" / "references"


class Bench:
    """A manifest, an output folder and a service."""

    def __init__(self, api: Api, folder: Path, manifest: Path, out: str = "out") -> None:
        self.api = api
        self.out = folder / out
        key_file = folder / "key"
        key_file.write_text(api.key)
        line = Connection("local", api.service.base_url, key_file)
        self.order = Order(manifest, out=self.out, connection=line)

    def run(self, **settings: Any) -> Outcome:
        """One run."""
        return run_job.run(self.order, Settings(**settings), Tally())

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """What the state says."""
        with closing(sqlite3.connect(self.out / "state.sqlite3")) as db:
            return db.execute(query).fetchall()

    def quota(self) -> dict[str, Any]:
        """How many files the account has."""
        quota: dict[str, Any] = self.api.http.get("/api/v1/files/quota").json()["data"]
        return quota


def table(folder: Path, rows: int, contents: int) -> Path:
    """A manifest of so many rows over so many files."""
    for n in range(contents):
        (folder / f"{n}.png").write_bytes(picture("x" * (n + 1)))
    path = folder / "m.csv"
    lines = (f"edit {n},gemini-3.1-flash-image-preview,{n % contents}.png\n" for n in range(rows))
    path.write_text("prompt,model,images\n" + "".join(lines))
    return path


def test_the_example_edits_local_pictures(start: Start, tmp_path: Path) -> None:
    """Six images out of three files; what the provider was given are their bytes under public names."""
    api = start()
    it = Bench(api, tmp_path, EXAMPLE)
    outcome = it.run()
    assert outcome.exit_code == 0
    assert len(list((it.out / "images").iterdir())) == 6
    assert it.quota()["used_files"] == 3
    held = {httpx.get(url, trust_env=False).content for (url,) in it.query("SELECT url FROM uploads")}
    named = ("lighthouse.png", "teahouse.jpg", "night-palette.webp")
    assert held == {(REFERENCES / name).read_bytes() for name in named}
    bodies = [json.loads(body) for (body,) in it.query("SELECT body FROM requests ORDER BY request")]
    assert [len(body["image_urls"]) for body in bodies] == [1, 1, 1, 1, 2, 2]
    results = (it.out / "results.csv").read_text()
    assert "data/references/teahouse.jpg|data/references/night-palette.webp" in results
    assert str(REFERENCES) not in results
    assert it.run().had_work is False


def test_another_run_reuses_the_files_and_a_renamed_one_is_the_same(start: Start, tmp_path: Path) -> None:
    """Plan says so before; a changed one is a row that changed."""
    api, manifest = start(), table(tmp_path, 6, 3)
    manifest.write_text(manifest.read_text().replace("prompt,", "id,prompt,").replace("\nedit", "\nr,edit"))
    lines = manifest.read_text().splitlines()
    lines[1:] = [f"row-{n}{line.removeprefix('r')}" for n, line in enumerate(lines[1:])]
    manifest.write_text("\n".join(lines) + "\n")
    it = Bench(api, tmp_path, manifest)
    it.run(scope=Scope(before=4))
    assert it.quota()["used_files"] == 3
    (tmp_path / "0.png").rename(tmp_path / "zero.png")
    manifest.write_text(manifest.read_text().replace(",0.png", ",zero.png"))
    plan = make_plan(it.order, 0)
    assert (plan.to_submit, plan.counts[Prospect.CHANGED], plan.gone) == (2, 0, 0)
    assert it.run().exit_code == 0
    assert (it.quota()["used_files"], len(api.ledger().tasks)) == (3, 6)
    (tmp_path / "1.png").write_bytes(picture("changed"))
    plan = make_plan(it.order, 0)
    assert (plan.to_submit, plan.counts[Prospect.CHANGED], plan.gone) == (2, 2, 0)


def test_a_small_account_is_enough_for_many_files(start: Start, tmp_path: Path) -> None:
    """Three places for six files, and a files host that stumbles."""
    api = start(max_files=3)
    api.faults(rate_5xx_upload=0.15)
    it = Bench(api, tmp_path, table(tmp_path, 6, 6))
    assert it.run(concurrency=2).exit_code == 0
    assert it.quota()["used_files"] <= 3
    assert len(api.ledger().tasks) == 6


def test_files_that_the_provider_let_go_are_uploaded_anew(start: Start, tmp_path: Path) -> None:
    """Deleted behind our back: the task says so, and a retry finds its way."""
    api = start()
    it = Bench(api, tmp_path, table(tmp_path, 2, 1))
    it.run(scope=Scope(before=1))
    for (file_id,) in it.query("SELECT file_id FROM uploads"):
        assert api.http.delete(f"/api/v1/files/{file_id}").status_code == 200
    assert it.run().exit_code == 1
    assert it.query("SELECT error_code FROM attempts WHERE phase = 'failed'") == [("resource_not_found",)]
    done = retry_job.retry(it.out, Retry.FAILED, it.order.connection, Settings(), Tally())
    assert done.exit_code == 0
    assert it.quota()["used_files"] == 1


def test_a_provider_without_a_files_api_is_told_apart_before_anything_is_sent(tmp_path: Path) -> None:
    """Each row is named."""
    order = Order(EXAMPLE, out=tmp_path / "out", connection=Connection("local-unified"))
    with pytest.raises(ManifestError) as caught:
        run_job.run(order, Settings(), Tally())
    takes_none = [problem for problem in caught.value.problems if "takes no files" in problem.message]
    assert len(takes_none) == 4
    assert not (tmp_path / "out").exists()
