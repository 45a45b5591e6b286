"""Somebody puts Python files beside a manifest; they are never imported, and the child knows no secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.options import ServiceOptions

MODULES = ("yaml", "starlette", "uvicorn", "PIL", "json", "httpx", "nanobanana_batch", "sitecustomize")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder of modules that leave a trace when they are imported."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    return tmp_path


@pytest.mark.parametrize("paths", ["", ".", f"{os.pathsep}./"])
def test_modules_beside_a_manifest_are_not_imported_by_the_service(
    trap: Path, monkeypatch: pytest.MonkeyPatch, paths: str
) -> None:
    """Neither since it is the working directory, nor by way of an entry that means it."""
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PYTHONPATH", paths)
    with EmbeddedService(ServiceOptions(data_dir=trap / "data")) as service:
        assert service.base_url
    assert not (trap / "imported").exists()


def test_the_service_gets_only_the_variables_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key of anybody, whatever it is called."""
    secrets = ("EVOLINK_API_KEY", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "MY_PASSWORD", "PYTHONSTARTUP")
    for name in secrets:
        monkeypatch.setenv(name, "a-secret")
    with EmbeddedService(ServiceOptions(data_dir=tmp_path)) as service:
        environment = Path(f"/proc/{service.pid}/environ").read_bytes()
    assert b"a-secret" not in environment
    assert b"PATH=" in environment


def test_the_command_itself_imports_nothing_of_the_working_directory(trap: Path) -> None:
    """As it is installed: a script, whose own folder comes first."""
    script = Path(sys.executable).with_name("nanobanana-batch")
    done = subprocess.run([script, "models"], cwd=trap, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (trap / "imported").exists()


def test_nor_does_the_module(trap: Path) -> None:
    """`python -m` would look there first, for all but the package that it was asked for."""
    for name in ("nanobanana_batch", "sitecustomize"):
        (trap / f"{name}.py").unlink()
    words = [sys.executable, "-m", "nanobanana_batch", "models"]
    done = subprocess.run(words, cwd=trap, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (trap / "imported").exists()
