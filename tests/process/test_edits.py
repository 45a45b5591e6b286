"""A finished run whose manifest is edited pays for exactly the edit; the ledger is the judge."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.results import read_results
from nanobanana_batch.service.ledger import read_ledger
from tests.process.harness import MODEL, Bench, bench

Table = list[dict[str, str]]
Edit = Callable[[Table], Table]


def a_table(rows: int, with_ids: bool) -> Table:
    """Rows as a person has them, with a variable that no request shows."""
    return [
        {
            **({"id": f"scene-{n}"} if with_ids else {}),
            "prompt": f'scene {n}, "as it was", in ink; wide',
            "model": MODEL,
            "aspect_ratio": "1:1",
            "resolution": "0.5K",
            "tag": f"tag {n % 7}",
        }
        for n in range(rows)
    ]


def write_csv(path: Path, table: Table, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)


def paid_for_by(it: Bench, *flags: str) -> list[str]:
    """The prompts that one more run pays for."""
    before = it.tasks_paid()
    done = it.finish("--concurrency", "128", "--submit-concurrency", "16", *flags)
    assert done.returncode == 0, done.stderr
    new = [task for task in read_ledger(it.data).tasks if task.id not in before]
    return sorted(json.loads(task.body)["prompt"] for task in new)


def shuffled(table: Table) -> Table:
    """The same rows in another order."""
    return random.Random(3).sample(table, len(table))


def one_cell(table: Table) -> Table:
    """One prompt changed."""
    return [*table[:50], {**table[50], "prompt": "scene 50, in gouache"}, *table[51:]]


def three_inserted(table: Table) -> Table:
    """New rows at the beginning, inside and at the end."""
    new = [{**table[0], "prompt": f"new scene {n}"} for n in range(3)]
    if "id" in table[0]:
        new = [{**row, "id": f"new-{n}"} for n, row in enumerate(new)]
    return [new[0], *table[:70], new[1], *table[70:], new[2]]


def only_words_of_ours(table: Table) -> Table:
    """A variable changed, and a column more: nothing that the provider sees."""
    return [{**row, "tag": "other", "note": f"note {n}"} for n, row in enumerate(table)]


def written_twice(table: Table) -> Table:
    """The same request once more: who writes it twice wants two images."""
    again = {**table[10], "id": "again"} if "id" in table[10] else table[10]
    return [*table, again]


def shape_of_one(table: Table) -> Table:
    """Another field of one row."""
    return [*table[:20], {**table[20], "aspect_ratio": "9:16"}, *table[21:]]


EDITS: list[tuple[Edit, list[str]]] = [
    (shuffled, []),
    (one_cell, ["scene 50, in gouache"]),
    (three_inserted, ["new scene 0", "new scene 1", "new scene 2"]),
    (only_words_of_ours, []),
    (written_twice, ['scene 10, "as it was", in ink; wide']),
    (shape_of_one, ['scene 20, "as it was", in ink; wide']),
]


@pytest.mark.parametrize(("rows", "with_ids"), [(120, True), (80, False)], ids=["ids", "no-ids"])
def test_an_edited_table_pays_for_exactly_the_changed_rows(tmp_path: Path, rows: int, with_ids: bool) -> None:
    """Each edit by itself, and back again in between for nothing: what was paid for once stays paid for."""
    original, path = a_table(rows, with_ids), tmp_path / "scenes.csv"
    write_csv(path, original)
    with bench(tmp_path, path, latency_s=0.0) as it:
        assert len(paid_for_by(it)) == rows
        for edit, wanted in EDITS:
            write_csv(path, edit(original))
            assert paid_for_by(it) == wanted, edit.__name__
        if with_ids:
            write_csv(path, [{**row, "id": f"renamed-{row['id']}"} for row in original])
            assert paid_for_by(it) == []
        write_csv(path, original, delimiter=";", encoding="utf-16")
        assert paid_for_by(it) == []
        assert list(read_results(it.out)["prompt"]) == [row["prompt"] for row in original]
        assert len(it.tasks_paid()) == rows + sum(len(wanted) for _, wanted in EDITS)


MANIFEST = """
defaults: {{model: {model}, resolution: 0.5K}}
prompt: "{{scene}} in {{style}}, {{style:upper}}"
rows:
{rows}
matrix:
  style: [{styles}]
  aspect_ratio: ["1:1", "9:16"]
variants: 2
"""


def write_yaml(path: Path, scenes: list[str], styles: list[str]) -> None:
    rows = "\n".join(f"  - {{scene: {scene}}}" for scene in scenes)
    path.write_text(MANIFEST.format(model=MODEL, rows=rows, styles=", ".join(styles)), encoding="utf-8")


def test_an_edited_matrix_pays_for_exactly_the_new_combinations(tmp_path: Path) -> None:
    """Levels, rows and their order."""
    path, scenes = tmp_path / "scenes.yaml", [f"scene {n}" for n in range(10)]
    write_yaml(path, scenes, ["ink", "wash"])
    with bench(tmp_path, path, latency_s=0.0) as it:
        assert len(paid_for_by(it)) == 80
        write_yaml(path, scenes[::-1], ["wash", "ink"])
        assert paid_for_by(it) == []
        write_yaml(path, ["scene new", *scenes], ["ink", "wash"])
        new = paid_for_by(it)
        assert len(new) == 8
        assert all(prompt.startswith("scene new in ") for prompt in new)
        write_yaml(path, scenes, ["oil", "ink", "wash"])
        new = paid_for_by(it)
        assert len(new) == 40
        assert all(" in oil, " in prompt and prompt.endswith(", OIL") for prompt in new)
