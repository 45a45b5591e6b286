"""A stretch of work on an opened folder: when it connects, what the engine is given, how its end is told."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from nanobanana_batch.engine.assembly import Parts
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import StateFailed
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, Folder
from nanobanana_batch.jobs.connection import CheckedConnection
from nanobanana_batch.jobs.session import Session, Worked, work
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store
from tests.unit.beside import stop_now_at
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import engine_in_its_place, night, phases
from tests.unit.watched import Watched
from tests.unit.wire import NO_CREDITS, Task


def worked(
    folder: Path, provider: FakeProvider, settings: Settings | None = None, *, embedded: bool = False
) -> Worked:
    """Work on a folder with a provider in memory, under its own name, until nothing is left."""
    name = provider.capabilities.name
    line = CheckedConnection("evolink", name, embedded, True, lambda path, seen: nullcontext(provider))
    with closing(Store(folder / STATE_NAME)) as store:
        used = settings or Settings()
        return work(Session(store, Disk(), Folder(folder, folder), line, used, Tally()))


@pytest.mark.parametrize(("embedded", "longest_s"), [(True, 20.0), (False, 8 * 3600.0)])
def test_only_a_service_of_our_own_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool, longest_s: float
) -> None:
    """It cannot come back by itself, a provider can."""
    night(tmp_path, FakeProvider(on_submit=lambda n: NO_CREDITS), 1).run()
    used: list[Settings] = []
    engine_in_its_place(monkeypatch, lambda parts: used.append(parts.settings))
    worked(tmp_path, FakeProvider(), embedded=embedded)
    assert used[0].max_outage_s == longest_s


def test_a_lone_intent_is_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run that left nothing but a request without an answer has to be asked about."""
    night(tmp_path, FakeProvider(submit_s=50.0), 1).run(stop_now_at(1.0))
    assert phases(tmp_path) == [Phase.INTENT]
    driven: list[Parts] = []
    engine_in_its_place(monkeypatch, driven.append)
    assert worked(tmp_path, FakeProvider(), Settings(new_rows=False)).had_work
    assert len(driven) == 1


@pytest.mark.parametrize(("name", "waits"), [("fake", True), ("other", False)])
def test_a_run_waits_for_older_work_of_its_own_provider(tmp_path: Path, name: str, waits: bool) -> None:
    """Nothing new is sent before that was looked at; another provider's tasks will not be."""
    earlier = FakeProvider()
    night(tmp_path, earlier, 4, scope=Scope(before=3)).run(stop_now_at(5.0))
    older, steps = set(earlier.tasks), []

    def read(n: int, task: FakeTask) -> Task | None:
        steps.append(task.id)
        return None

    offers: dict[str, object] = {
        "name": name,
        "account": "one" if waits else "another",
        "poll_interval_s": 0.01,
    }
    quick = Watched(tasks=earlier.tasks, latency_s=0.0, submit_s=0.0, offers=offers)
    quick.on_read, quick.on_submit = read, lambda n: steps.append("submit")
    worked(tmp_path, quick)
    before = steps[: steps.index("submit")]
    assert set(before) == (older if waits else set())


def test_what_stops_an_engine_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error of ours, not a group of them: exit code and sentence hang on it."""
    night(tmp_path, FakeProvider(on_submit=lambda n: NO_CREDITS), 1).run()

    def fail(parts: Parts) -> None:
        raise StateFailed("the disk is gone")

    engine_in_its_place(monkeypatch, fail)
    with pytest.raises(StateFailed, match="the disk is gone"):
        worked(tmp_path, FakeProvider())
