"""A provider that copes with few tasks at once is not asked about each of them alone."""

from __future__ import annotations

from pathlib import Path

from nanobanana_batch.model import RowStatus
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night
from tests.unit.wire import slow

ROWS = 200


def test_few_tasks_in_flight_are_read_together(tmp_path: Path) -> None:
    """A limit each dozen requests leaves few in flight: reads wait for company, else more than one a row."""
    asks = slow(1.0)
    provider = FakeProvider(on_submit=lambda n: asks if n % 12 == 5 else None)
    it = Night(tmp_path, provider, [f"a picture of the number {n}" for n in range(ROWS)])
    it.run()
    assert it.statuses() == [RowStatus.COMPLETED] * ROWS
    assert len(provider.batches) < 0.7 * ROWS
