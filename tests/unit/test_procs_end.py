"""How a run in several processes ends where one of them has no outcome."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.api.orders import settings_of
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.procs.run import _Crew


def test_who_was_interrupted_hears_what_the_others_have_paid(tmp_path: Path) -> None:
    """One was interrupted before its work had begun; two rows were made by another one."""
    told: list[str] = []
    tally = Tally(announce=told.append)
    crew = _Crew(
        Order(tmp_path / "m.csv", None, Connection("local")), settings_of({}), tally, None, tmp_path, 2
    )
    tally.total, tally.completed, tally.credits, tally.in_flight = 10, 2, 12.0, 1
    crew.shards[1].error = (130, "it ended with 130")
    with pytest.raises(KeyboardInterrupt):
        crew.ended()
    assert told == [
        "All shards together: 2 of 10 rows completed; credits used so far: 12;"
        " on their way, and paid for: 1 image."
    ]
