"""Nothing is sent before a place elsewhere knows of it; what is paid for is collected without it, too."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.payments import Payments
from nanobanana_batch.jobs.journaling import Both
from nanobanana_batch.journals.journal import FarJournal
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, SubmitOutcome, Unknown
from nanobanana_batch.state.store import Store
from tests.journals.places import Memory, journal, writer
from tests.unit.beside import stop_at
from tests.unit.fake_provider import FakeProvider, script
from tests.unit.night import Night, night, paid

T = TypeVar("T")
DONE = RowStatus.COMPLETED


@dataclass
class World:
    """A night whose payments are told in `place`."""

    night: Night
    place: Memory
    sent_at: list[float] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    """Keys of requests that were sent and that the place did not know of."""


def world(folder: Path, rows: int = 6, **settings: object) -> World:
    place = Memory()
    far = journal(place)
    provider = FakeProvider()
    made = World(night(folder / "out", provider, rows, **settings), place)
    submit = provider.submit

    async def watched(body: bytes, idempotency_key: str) -> SubmitOutcome:
        made.sent_at.append(anyio.current_time())
        made.untold += [] if idempotency_key in place.text else [idempotency_key]
        return await submit(body, idempotency_key)

    provider.submit = watched  # type: ignore[method-assign]
    made.night.far = far
    made.night.make_store = lambda path: Store(path, witness(path.parent, far))
    return made


def witness(folder: Path, far: FarJournal) -> Both:
    return Both(Payments(folder, Disk()), far)


def at(begin: float, end: float, how: str = "before") -> Callable[[], str]:
    """Failing between these seconds of the night."""
    return lambda: how if begin <= anyio.current_time() < end else ""


def test_a_request_is_sent_when_the_journal_knows_it(tmp_path: Path) -> None:
    it = world(tmp_path)
    it.night.run()
    assert it.night.statuses() == [DONE] * 6
    assert (len(it.sent_at), it.untold) == (6, [])


def test_while_the_journal_cannot_be_written_nothing_is_paid_and_all_is_collected(tmp_path: Path) -> None:
    """What was accepted before is fetched; when the journal is back the rest is made, each row paid once."""
    it = world(tmp_path, 20, concurrency=4)
    told: list[str] = []
    it.night.on_announce = told.append
    it.place.fails = at(30.0, 330.0)
    done_meanwhile: list[int] = []

    async def beside(engine: object, stop: object) -> None:
        await anyio.sleep(300.0)
        done_meanwhile.append(it.night.statuses().count(DONE))
        await anyio.sleep_forever()

    it.night.run(beside)
    assert [moment for moment in it.sent_at if 31.0 < moment < 330.0] == []
    assert done_meanwhile[0] >= 4
    assert (paid(it.night), it.untold) == ([1] * 20, [])
    assert it.place.text.count('"fact":"NotSent"') <= 8, "who waits writes nothing down meanwhile"
    assert it.night.statuses() == [DONE] * 20
    assert [line for line in told if "journal cannot be written" in line]
    assert "The journal is written again." in told


def test_a_journal_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    """It is waited for as long as an outage; what was paid for is there, and nothing is held as unknown."""
    it = world(tmp_path, 20, concurrency=4, max_outage_s=600.0)
    it.place.fails = at(30.0, 1e9)
    it.night.run()
    assert "The journal cannot be written" in it.night.stop.reason
    assert 600 < it.night.took_s < 1000
    assert set(it.night.statuses()) == {DONE, RowStatus.PENDING}
    assert (set(paid(it.night)), it.untold) == ({1}, [])


def test_an_answer_that_was_lost_does_not_make_the_journal_pay_twice(tmp_path: Path) -> None:
    """The file is there although the storage did not say so."""
    it = world(tmp_path)
    it.place.fails = at(0.0, 5.0, "after")
    it.night.run()
    assert (paid(it.night), it.untold) == ([1] * 6, [])


def test_who_was_taken_over_pays_for_nothing_more(tmp_path: Path) -> None:
    """And collects what it has paid for."""
    it = world(tmp_path, 30, concurrency=4)

    async def beside(engine: object, stop: object) -> None:
        await anyio.sleep(30.0)
        writer(it.place)
        await anyio.sleep_forever()

    it.night.run(beside)
    assert "taken over" in it.night.stop.reason
    assert it.night.stop.needs_change
    assert max(it.sent_at) < 31.0
    assert (set(paid(it.night)), it.untold) == ({1}, [])
    assert set(it.night.statuses()) == {DONE, RowStatus.PENDING}


def lost_on_the_way(folder: Path) -> World:
    """The second request never arrives, which is told before 1 s; it is repeated from 1.5 s on."""
    it = world(folder, 2, submit_concurrency=1)
    it.night.provider.idempotency = Idempotency.HONOURED
    it.night.provider.on_submit = script({1: Unknown("reset")})
    return it


def test_who_was_taken_over_repeats_no_request_either(tmp_path: Path) -> None:
    """It may never have arrived, and the new writer may have paid for its row under another key."""
    it = lost_on_the_way(tmp_path)

    async def beside(engine: object, stop: object) -> None:
        await anyio.sleep(1.0)
        writer(it.place)
        await anyio.sleep_forever()

    it.night.run(beside)
    assert "taken over" in it.night.stop.reason
    assert (len(it.sent_at), paid(it.night)) == (2, [1])
    assert it.night.statuses() == [DONE, RowStatus.UNKNOWN]


def test_a_repeat_waits_for_the_journal(tmp_path: Path) -> None:
    """While it cannot be written nobody knows whether this is still the run that may pay."""
    it = lost_on_the_way(tmp_path)
    it.place.fails = at(1.0, 300.0)
    it.night.run()
    assert it.sent_at[2] > 300.0
    assert (it.night.statuses(), paid(it.night)) == ([DONE] * 2, [1, 1])


def test_a_person_who_interrupts_does_not_wait_for_the_journal(tmp_path: Path) -> None:
    it = world(tmp_path, 20, concurrency=4)
    it.place.fails = at(0.0, 1e9)
    it.night.run(stop_at(20.0))
    assert it.sent_at == []
    assert it.night.took_s < 30
    assert it.night.statuses() == [RowStatus.PENDING] * 20


def takes(it: World, seconds: float) -> None:
    """Each write to the place does."""

    async def blocking(call: Callable[[], T]) -> T:
        if it.night.far is not None and call == it.night.far.write:
            await anyio.sleep(seconds)
        return call()

    it.night.blocking = blocking


@pytest.mark.parametrize("seconds", [0.02, 5.0, 14.0])
def test_a_slow_journal_only_delays(tmp_path: Path, seconds: float) -> None:
    """Rows that are about to be sent share one file; a person hears of it where it takes very long."""
    it = world(tmp_path, 20, submit_concurrency=8)
    told: list[str] = []
    it.night.on_announce = told.append
    takes(it, seconds)
    it.night.run()
    assert (paid(it.night), it.untold) == ([1] * 20, [])
    assert len(it.place.files) < 40
    assert any("it does not answer" in line for line in told) == (seconds > 12.0)


def test_a_journal_that_is_too_slow_for_anything_to_be_sent_is_told_and_ends_the_run(tmp_path: Path) -> None:
    """Each write arrives, and too late: no row would ever be sent, and nobody would say why."""
    it = world(tmp_path, 20, concurrency=4, max_outage_s=600.0)
    told: list[str] = []
    it.night.on_announce = told.append
    takes(it, 40.0)
    it.night.run()
    assert it.sent_at == []
    assert [line for line in told if "it does not answer" in line]
    assert "The journal cannot be written" in it.night.stop.reason
    assert it.night.took_s < 1000


def test_who_stops_hears_that_only_a_journal_that_hangs_is_waited_for(tmp_path: Path) -> None:
    """The kernel holds the write: no signal ends it, and nobody else would say how to."""
    it = world(tmp_path, 20, concurrency=4)
    told: list[str] = []
    it.night.on_announce = told.append
    takes(it, 3600.0)
    it.night.run(stop_at(20.0))
    assert it.sent_at == []
    (line,) = [line for line in told if "it alone is waited for" in line]
    assert f"`kill -9 {os.getpid()}`" in line
