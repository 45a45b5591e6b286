"""What README says of training, carried out as it stands there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from nanobanana_batch.jobs.starter import make_starter
from tests.process.test_first_contact import carried_out

ROOT = Path(__file__).parents[2]
CHECKED = """
import numpy
images, texts = zip(*batch)
assert numpy.stack(images).shape == (4, 512, 512, 3)
assert len(set(texts)) > 1 and all(rows["placeholder"])
"""


def blocks(page: str, heading: str = "", kind: str = "") -> list[str]:
    """Fenced blocks of one section of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0] if heading else text
    return re.findall(rf"^```{kind}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_from_a_run_to_the_first_batch_in_five_lines(tmp_path: Path) -> None:
    """Two for the shell, three of Python."""
    make_starter(tmp_path / "pictures")
    (shell,), (python,) = blocks("README.md", "Train on it"), blocks("README.md", "Train on it", "python")
    lines = [line for line in (shell + python).splitlines() if line]
    assert len(lines) == 5
    for line in shell.splitlines():
        done = carried_out(line, tmp_path / "pictures")
        assert done.returncode == 0, done.stderr
    script = tmp_path / "pictures/train.py"
    script.write_text(python + CHECKED, encoding="utf-8")
    surroundings = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=script.parent,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", blocks("docs/training.md", kind="python"))
def test_a_page_of_lines_is_python(code: str) -> None:
    """At most five of them."""
    assert ast.parse(code)
    assert len(list(filter(None, code.splitlines()))) <= 5


def test_settings_on_the_page_can_be_read() -> None:
    """Of trainers."""
    (settings,) = blocks("docs/training.md", kind="toml")
    assert tomllib.loads(settings)["caption_extension"] == ".txt"
    (settings,) = blocks("docs/training.md", kind="yaml")
    assert yaml.safe_load(settings)[0]["caption_ext"] == "txt"
