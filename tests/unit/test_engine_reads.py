"""Tasks are read in company: few requests where many run, and nobody waits for one that does not come."""

from __future__ import annotations

from pathlib import Path

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.model import RowStatus
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night
from tests.unit.test_engine_pace import DAY_S, Watched, night
from tests.unit.wire import slow


def test_many_tasks_share_a_read(tmp_path: Path) -> None:
    """Two rows a second, 60 in flight: about eight tasks a read, though they are due at all times."""
    provider = FakeProvider(latency_s=30.0)
    it = Night(
        tmp_path, provider, [f"p{n}" for n in range(400)], Settings(concurrency=64, submits_per_min=120.0)
    )
    it.run(interrupted_at(DAY_S))
    amid = [count for at, count in provider.batches if 60.0 < at < 180.0]
    assert sum(amid) / len(amid) > 6
    assert it.took_s < 260.0


def test_a_task_alone_waits_for_nobody(tmp_path: Path) -> None:
    """The last image of a run is there when it is read at the provider's own interval."""
    it = night(tmp_path, FakeProvider(latency_s=20.0), 1)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [RowStatus.COMPLETED]
    assert it.took_s < 20.0 + 3.0 + 1.0


def test_where_tasks_are_read_one_by_one_none_waits(tmp_path: Path) -> None:
    """A provider without a batch: company would save nothing."""
    provider = FakeProvider(latency_s=20.0, read_at_once=1)
    it = night(tmp_path, provider, 6)
    it.run(interrupted_at(DAY_S))
    assert it.took_s < 20.0 + 3.0 + 1.0


def test_while_nothing_may_be_sent_tasks_are_read_less_often(tmp_path: Path) -> None:
    """A slot that becomes free is of no use before the wait is over."""

    def reads_amid(name: str, *, is_held: bool) -> int:
        provider = Watched(latency_s=300.0)
        if is_held:
            provider.on_submit = lambda n: slow(600.0) if n == 10 else None
        it = night(tmp_path / name, provider, 11 if is_held else 10)
        it.run(interrupted_at(DAY_S))
        assert it.statuses() == [RowStatus.COMPLETED] * len(it.prompts)
        return len([at for at, _ in provider.batches if 20.0 < at < 60.0])

    assert reads_amid("held", is_held=True) <= 0.4 * reads_amid("free", is_held=False)


def test_few_tasks_in_flight_are_read_together(tmp_path: Path) -> None:
    """A limit each dozen requests leaves few in flight: reads wait for company, else more than one a row."""
    asks = slow(1.0)
    provider = FakeProvider(on_submit=lambda n: asks if n % 12 == 5 else None)
    it = Night(tmp_path, provider, [f"a picture of the number {n}" for n in range(200)])
    it.run()
    assert it.statuses() == [RowStatus.COMPLETED] * 200
    assert len(provider.batches) < 0.7 * 200
