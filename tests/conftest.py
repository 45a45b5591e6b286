"""No test reads or writes the cache, or what is remembered, of its user; none is judged by time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain, groupby

import pytest
from hypothesis import HealthCheck, settings

from nanobanana_batch.service import embedded
from tests.warm import CopiedService

_LONGEST = ("run", "fuzz_state", "night", "strict_night", "mutate", "edits", "crowd", "lost_state", "between")
"""Files whose tests take longest, first of those that wait."""

# How long an example takes says how busy the machine is: no test of a property fails for that.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each worker begins with a share of the tests that wait, and has tests that work in between.

    So the processor is in use from the first minute to the last, and no long test is left alone at the end.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
    waits = sorted(filter(_rank, files), key=_rank)
    works = [tests for tests in files if not _rank(tests)]
    items[:] = chain.from_iterable(
        tests for worker in range(workers) for tests in _mixed(waits[worker::workers], works[worker::workers])
    )


def _rank(tests: Sequence[pytest.Item]) -> int:
    """Where the file stands among those that wait; 0 if it is none of them."""
    path = tests[0].path
    name = path.stem.removeprefix("test_")
    if name in _LONGEST:
        return 1 + _LONGEST.index(name)
    return 1 + len(_LONGEST) if path.parent.name == "process" else 0


def _mixed(
    waits: Sequence[Sequence[pytest.Item]], works: Sequence[Sequence[pytest.Item]]
) -> Iterator[Sequence[pytest.Item]]:
    """One that waits, then its share of the others, and so on."""
    share = -(-len(works) // max(1, len(waits)))
    for number, tests in enumerate(waits):
        yield tests
        yield from works[number * share : (number + 1) * share]
    yield from works[len(waits) * share :]


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
