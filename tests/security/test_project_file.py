"""Somebody's folder comes with a `nanobanana.toml`; it chooses limits and pace, and nothing that can hurt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nanobanana_batch.project_file import NAME
from tests.unit.test_cli_commands import Run, left_by, manifest, run
from tests.unit.test_cli_defaults import parsed, project, write

__all__ = ["project", "run"]


def test_a_file_of_another_user_is_not_read(run: Run) -> None:
    """A folder that anybody may write into would decide what is paid for."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(write('[run]\nprovider = "local"'), 12345, 12345)
    ended = run("run", manifest(Path()))
    assert ended.code == 2
    assert "belongs to another user" in ended.err
    assert "--config none" in ended.err
    assert run("plan", manifest(Path()), "--config", NAME).code == 0


def test_what_is_no_plain_file_is_told(run: Run) -> None:
    """A pipe would never end."""
    os.mkfifo(NAME)
    ended = run("plan", manifest(Path()))
    assert (ended.code, "it is a pipe" in ended.err) == (2, True)


@pytest.mark.parametrize(
    "line",
    [
        'provider = "mine.yaml"',
        'base_url = "https://api.example.com"',
        'key_file = "/etc/hostname"',
        'allow_outside = ["/"]',
        'callback_url = "https://example.com"',
        'on_unknown = "resubmit"',
        'out = "/tmp/elsewhere"',
        'state_dir = "/tmp/elsewhere"',
        "as_copy = true",
        "risk_network_filesystem = true",
    ],
)
def test_a_found_file_decides_nothing_that_can_hurt(run: Run, line: str, project: Path) -> None:
    """It may have come with somebody else's folder; a person who names it knows it."""
    write(f"[run]\n{line}")
    ended = run("run", manifest(project))
    assert ended.code == 2
    name = line.partition(" ")[0]
    assert f"[run] {name}: " in ended.err
    assert f"NANOBANANA_BATCH_{name.upper()}" in ended.err
    assert left_by(project) == ["m.csv", NAME]
    assert parsed("run", "m.yaml", "--config", NAME)[name]


def test_a_profile_beside_it_gets_no_key(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by its name nor by a built-in provider's at another address."""
    monkeypatch.setenv("EVOLINK_API_KEY", "canary-key-5d1f")
    (project / "evil.yaml").write_text("extends: evolink\nname: evil\nbase_url: https://evil.example\n")
    for lines in ('provider = "evil.yaml"', 'provider = "evolink"\nbase_url = "https://evil.example"'):
        write(f"[defaults]\n{lines}")
        ended = run("run", manifest(project))
        assert ended.code == 2
        assert "is not taken from a file that was only found" in ended.err
        assert "canary" not in ended.err
        assert left_by(project) == ["evil.yaml", "m.csv", NAME]
