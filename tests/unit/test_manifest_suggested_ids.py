"""Rows that are nothing but combinations are called by them; folders keep the names that they know."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.jobs.plan import make_plan
from nanobanana_batch.manifest.rows import expand
from nanobanana_batch.state.comparison import Prospect
from nanobanana_batch.state.reader import open_reader
from tests.unit.test_pipeline import put_in_their_place
from tests.unit.watched import Watched

MATRIX = """\
defaults: {model: nano-banana-beta}
prompt: "{style} skyline of {city}"
matrix:
  style: [Ink, film photograph]
  city: [Tōkyō, Lagos]
"""


def ids(manifest: Path, text: str) -> list[str]:
    """What a manifest's rows are called."""
    manifest.write_text(text, encoding="utf-8")
    with expanded(open_ordered(Order(manifest))) as roster:
        return [row.id for row in roster.rows()]


def test_combinations_without_rows_are_called_by_their_values(tmp_path: Path) -> None:
    """With the variant; where two would be called the same the second gets a number."""
    path = tmp_path / "m.yaml"
    assert ids(path, MATRIX) == ["ink-tōkyō", "ink-lagos", "film-photograph-tōkyō", "film-photograph-lagos"]
    twice = "variants: 2\n" + MATRIX.replace("[Tōkyō, Lagos]", "[Tōkyō]")
    assert ids(path, twice) == [
        "ink-tōkyō",
        "ink-tōkyō-v2",
        "film-photograph-tōkyō",
        "film-photograph-tōkyō-v2",
    ]
    blocks = "blocks: [{}, {prompt: 'a {style} {city}'}]\n" + MATRIX.replace(
        "  city: [Tōkyō, Lagos]\n", "  city: [Rome]\n"
    )
    assert ids(path, blocks) == ["ink-rome", "film-photograph-rome", "ink-rome-2", "film-photograph-rome-2"]
    assert ids(path, MATRIX + "rows: [{mood: calm}]\n")[0].startswith("ink-skyline-of-t")


def test_a_folder_that_was_run_before_keeps_its_names_and_pays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are found, its rows are called as they were, and only new combinations are sent."""
    manifest, out = tmp_path / "m.yaml", tmp_path / "out"
    manifest.write_text(MATRIX, encoding="utf-8")
    order = Order(manifest, out, Connection("local"))
    provider = Watched(latency_s=0.0, submit_s=0.0, offers={"poll_interval_s": 0.01})
    put_in_their_place(provider, monkeypatch)
    with monkeypatch.context() as before:
        before.setattr(expand, "_suggested_id", lambda cell, variant: "")
        run_job.run(order, Settings(), Tally())
    old, files = known(out), sorted(path.name for path in (out / "images").iterdir())
    assert all(id_.rpartition("-")[2] == key[3:13] for key, id_ in old.items())
    plan = make_plan(order)
    assert plan.counts[Prospect.DONE] == 4
    assert [row.id for row in plan.first_rows] == list(old.values())
    paid = sum(provider.paid().values())
    assert run_job.run(order, Settings(), Tally()).exit_code == 0
    assert (sum(provider.paid().values()), known(out)) == (paid, old)
    manifest.write_text(MATRIX.replace("Lagos]", "Lagos, Rome]"), encoding="utf-8")
    assert run_job.run(order, Settings(), Tally()).exit_code == 0
    assert sum(provider.paid().values()) == paid + 2
    new = set(known(out).values()) - set(old.values())
    assert new == {"ink-rome", "film-photograph-rome"}
    assert set(files) < {path.name for path in (out / "images").iterdir()}


def test_a_new_combination_takes_no_name_that_a_folder_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the next one: a file and other manifests call the old row so."""
    manifest, out = tmp_path / "m.yaml", tmp_path / "out"
    text = 'defaults: {model: nano-banana-beta}\nprompt: "a {s} cat"\nmatrix: {s: [In Oil, ink]}\n'
    manifest.write_text(text)
    order = Order(manifest, out, Connection("local"))
    provider = Watched(latency_s=0.0, submit_s=0.0, offers={"poll_interval_s": 0.01})
    put_in_their_place(provider, monkeypatch)
    assert run_job.run(order, Settings(), Tally()).exit_code == 0
    old = known(out)
    assert set(old.values()) == {"in-oil", "ink"}
    for values in ("[in oil!, IN OIL, In Oil, INK, ink]", "[ink, INK, In Oil, IN OIL, in oil!]"):
        manifest.write_text(text.replace("[In Oil, ink]", values))
        rows = {row.request.prompt: row.id for row in make_plan(order).first_rows}
        assert (rows["a In Oil cat"], rows["a ink cat"]) == ("in-oil", "ink")
        assert len({*rows.values()}) == len(rows) == 5
        assert run_job.run(order, Settings(), Tally()).exit_code == 0
        assert known(out).items() >= old.items()
        old = known(out)


def known(out: Path) -> dict[str, str]:
    """Row keys with the ids by which a folder knows them."""
    with open_reader(out / STATE_NAME) as reader:
        return {row.row_key: row.id for row in reader.rows()}
