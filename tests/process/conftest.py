"""What the tests of odd surroundings share."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanobanana_batch.cli import main
from nanobanana_batch.commands import PROGRAM
from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.options import ServiceOptions
from tests.campaign.strict.client import Strict, strict
from tests.campaign.strict.mutations import KEY
from tests.no_pauses import without_pauses
from tests.process.desk import PROFILE, Desk, Ended
from tests.process.harness import small_manifest
from tests.process.surroundings import Place
from tests.process.tls_world import HOST


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """Quick, and one for all tests of a file."""
    data = tmp_path_factory.mktemp("service")
    options = ServiceOptions(data_dir=data, latency_s=0.05, names=(HOST,))
    with EmbeddedService(options) as running:
        yield running


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may write to: pytest shuts its own again and again."""
    with tempfile.TemporaryDirectory(prefix="nanobanana-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
def place(service: EmbeddedService, tmp_path: Path) -> Place:
    """Where a test runs."""
    return Place(tmp_path, service)


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Strict]:
    """One for all."""
    with strict() as it:
        yield it


@pytest.fixture
def desk(
    strict_server: Strict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    """A new account at it, three rows, and a folder to work in."""
    strict_server.ask(
        "reset", {"time_scale": 0.001, "task_s": [1.0, 1.0], "keys": "ignored", "listing": False}
    )
    strict_server.ask("mutation")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    without_pauses(monkeypatch)
    (tmp_path / "strict.yaml").write_text(PROFILE)
    small_manifest(tmp_path, 3)

    def call(words: list[str]) -> Ended:
        monkeypatch.setattr(sys, "argv", [PROGRAM, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out + printed.err)

    return Desk(tmp_path, strict_server, call)
