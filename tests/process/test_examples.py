"""The examples that people begin with: each is what it says it is, and runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from nanobanana_batch.cli import commands
from nanobanana_batch.results import read_results
from tests.process.harness import cli, wrong_hashes

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "manifests").glob("*.yaml"))
FEW = 10


def said(path: Path) -> int:
    """How many images the opening lines of an example promise."""
    opening = path.read_text(encoding="utf-8").splitlines()[1]
    count = re.search(r"([\d,]+) (?:images|prompts from a table)", opening)
    assert count, opening
    return int(count[1].replace(",", ""))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_an_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a copy, on the embedded service: as many images as it says, and all of them are made."""
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    promised = said(path)
    wanted = min(promised, FEW) if promised > 100 else promised
    manifest = f"manifests/{path.name}"
    monkeypatch.chdir(tmp_path)
    planned = CliRunner().invoke(commands, ["plan", manifest, "--provider", "local", "--json"])
    assert (planned.exit_code, planned.stderr) == (0, "")
    plan = json.loads(planned.stdout)
    assert (plan["rows"], plan["to_submit"], plan["warnings"]) == (promised, promised, [])
    limit = ["--limit", str(wanted)] if wanted < promised else []
    run = cli("run", manifest, "--provider", "local", *limit, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    out = tmp_path / "outputs" / path.stem
    statuses = list(read_results(out)["status"])
    assert (len(statuses), statuses.count("completed")) == (promised, wanted)
    assert wrong_hashes(out) == []


def test_the_readme_names_every_example() -> None:
    """With as many images as it makes."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| \[[^]]+\]\((manifests/[^)]+)\) \|.*\| ([\d,]+) \|$", page, re.M))
    assert told == {f"manifests/{path.name}": f"{said(path):,}" for path in EXAMPLES}


def test_what_the_readme_shows_can_be_typed(tmp_path: Path) -> None:
    """From the first command on, with `--provider local` at their end, as it says for who has no key."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    manifest = re.search(r"Save this as `([^`]+)`:\n\n```yaml\n(.*?)^```", page, re.M | re.S)
    shown = re.findall(r"^(cd|nanobanana-batch \w+) (.*?)(?: *#.*)?$", page, re.M)
    names = [name.removeprefix("nanobanana-batch ") for name, _ in shown]
    assert manifest
    assert names == [
        *("init", "cd", "plan", "run", "doctor", "plan", "run", "run"),
        *("gallery", "report", "check", "run", "export"),
    ]
    place, ends = tmp_path, []
    for name, (_, words) in zip(names, shown, strict=True):
        if name == "cd":
            place = place / words
            (place / manifest[1]).write_text(manifest[2], encoding="utf-8")
            continue
        is_free = name not in ("doctor", "plan", "run") or "--provider" in words
        provider = [] if is_free else ["--provider", "local"]
        ends.append(cli(name, *shlex.split(words), *provider, cwd=place, key=None))
    placeholders_found = {"check": 1}  # they are nothing to train on
    codes = [placeholders_found.get(name, 0) for name in names if name != "cd"]
    assert [end.returncode for end in ends] == codes, [end.stderr for end in ends]
    for end, rows in zip((ends[2], ends[5], ends[6], ends[10]), (4, 4, 8, 4), strict=True):
        assert f"{rows} of {rows} rows completed" in end.stderr
