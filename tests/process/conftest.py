"""What the tests of odd surroundings share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.options import ServiceOptions
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
