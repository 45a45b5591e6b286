"""Rows that a program writes into a pipe are made, resumed and paid for once, like those of a file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from nanobanana_batch.results import read_results
from tests.process.harness import MODEL, Bench, bench, small_manifest, start_cli


def piped(given: Bench, rows: str) -> subprocess.CompletedProcess[str]:
    """A run with these rows in its standard input."""
    words = ["run", "-", "--out", str(given.out), "--provider", str(given.folder / "quick.yaml")]
    process = start_cli(*words, "--base-url", given.service.base_url, cwd=given.folder, stdin=subprocess.PIPE)
    out, err = process.communicate(rows, timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_rows_from_a_pipe_are_those_of_a_file(tmp_path: Path) -> None:
    """The second run, with the same rows as CSV and one more, pays for that one only."""
    rows = [
        {"id": f"row-{n}", "prompt": f"picture {n} of small", "model": MODEL, "aspect_ratio": "1:1"}
        for n in range(3)
    ]
    lines = "".join(json.dumps({**row, "resolution": "0.5K", "n": n}) + "\n" for n, row in enumerate(rows))
    manifest = small_manifest(tmp_path, 4)
    with bench(tmp_path, manifest) as given:
        ended = piped(given, lines)
        assert ended.returncode == 0, ended.stderr
        assert list(read_results(given.out)["n"]) == ["0", "1", "2"]
        assert len(given.tasks_paid()) == 3
        ended = piped(given, manifest.read_text())
        assert ended.returncode == 0, ended.stderr
        assert len(given.tasks_paid()) == 4
        assert set(given.bodies_paid().values()) == {1}
