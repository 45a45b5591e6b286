"""No test reads or writes the cache, or what is remembered, of the person who runs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nanobanana_batch.service import embedded
from tests.warm import CopiedService


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of their own, also for the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_services() -> Iterator[pytest.MonkeyPatch]:
    """The embedded services of the tests are real processes, which have imported everything already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "subprocess", CopiedService)
        yield patch
