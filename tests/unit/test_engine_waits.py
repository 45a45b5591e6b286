"""A wait that the provider asks for is obeyed and said up to `--max-outage`; beyond it the run collects."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from nanobanana_batch.engine.limits.gate import SubmitGate
from nanobanana_batch.engine.limits.pace import Outage
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.log import NO_LOG
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency
from nanobanana_batch.providers.http import Reply
from tests.unit.beside import interrupted_at, stop_now_at
from tests.unit.fake_provider import Answer, FakeProvider
from tests.unit.night import Night, in_virtual_time
from tests.unit.test_engine_pace import DAY_S, HOUR_S, Watched, night
from tests.unit.wire import BAD_GATEWAY, error, failed, reply, slow, unavailable

T = TypeVar("T")

DONE, PENDING, FAILED, UNKNOWN, RUNNING = (
    RowStatus.COMPLETED,
    RowStatus.PENDING,
    RowStatus.FAILED,
    RowStatus.UNKNOWN,
    RowStatus.RUNNING,
)
_NINE_THOUSAND = "Fri, 31 Dec 9999 23:59:59 GMT"
ABSURD = ["999999999", "9" * 6000, "1e300", "1E+16", _NINE_THOUSAND, "99999999999999999999.5"]
NONSENSE = ["-5", "nan", "NaN", "inf", "soon", "", "\xe9", "1e", "0x10", "32 Foo 2026 99:00:00 GMT"]


def told(code: int, header: str) -> Reply:
    """A reply with that `Retry-After`."""
    return reply(code, error("rate_limit_exceeded", "no more just now"), retry_after=header)


def listening(it: Night) -> list[str]:
    """What a person is told from now on."""
    lines: list[str] = []
    it.on_announce = lines.append
    return lines


def after_six(answer: Reply) -> Watched:
    """A provider that takes six requests and then has one answer."""
    return Watched(latency_s=600.0, on_submit=lambda n: answer if n >= 6 else None)


# --- beyond --max-outage -------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ABSURD)
def test_an_absurd_wait_ends_the_run_and_loses_nothing(tmp_path: Path, header: str) -> None:
    """Nobody waits for years: it is said in the reply's words, all that is paid for is read and saved."""
    provider = after_six(told(429, header))
    it = night(tmp_path, provider, 12)
    it.run(interrupted_at(DAY_S))
    assert not it.stop.interrupted
    assert "asks to wait for over a month" in it.stop.reason
    assert "no more just now" in it.stop.reason
    assert it.stop.reason.endswith("run again later.")
    assert (it.statuses().count(DONE), it.statuses().count(PENDING)) == (6, 6)
    assert it.took_s < 800


def test_a_wait_that_is_a_little_too_long_says_when_to_come_back(tmp_path: Path) -> None:
    """Nine hours, eight are allowed: the time is named."""
    it = night(tmp_path, after_six(told(429, "32400")), 12)
    it.run(interrupted_at(DAY_S))
    assert "asks to wait 9 h 0 min" in it.stop.reason
    assert re.search(r"run again after \d{4}-\d\d-\d\d \d\d:\d\d\.$", it.stop.reason)


@pytest.mark.parametrize("answer", [unavailable(1e9), reply(502, error("upstream_error"), retry_after=1e9)])
def test_an_absurd_wait_of_an_outage_ends_the_run(tmp_path: Path, answer: Reply) -> None:
    """A 5xx asks for it: what is on the wire stays unknown, and the next run settles it."""
    provider = after_six(answer)
    provider.idempotency = Idempotency.HONOURED
    it = night(tmp_path, provider, 12, submit_concurrency=1)
    it.run(interrupted_at(DAY_S))
    assert "asks to wait for over a month" in it.stop.reason
    assert (it.statuses().count(DONE), it.statuses().count(UNKNOWN)) == (6, 1)
    provider.on_submit = lambda n: None
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 12
    assert set(provider.paid().values()) == {1}


def test_an_absurd_wait_of_the_account_ends_the_run(tmp_path: Path) -> None:
    """The free question is asked in an outage, and answered with it."""
    provider = after_six(BAD_GATEWAY)
    provider.lists_tasks, provider.idempotency = False, Idempotency.IGNORED
    provider.on_account = lambda n: unavailable(1e9)
    it = night(tmp_path, provider, 12, submit_concurrency=1)
    it.run(interrupted_at(DAY_S))
    assert "asks to wait for over a month" in it.stop.reason
    assert it.took_s < 800
    assert it.statuses().count(DONE) == 6


def test_an_absurd_wait_of_a_repeated_request_ends_the_run(tmp_path: Path) -> None:
    """Also where it was asked again under its own key; it stays unknown for the next run."""
    provider = FakeProvider(idempotency=Idempotency.HONOURED, lists_tasks=False)
    provider.on_submit = lambda n: "lost" if n == 0 else reply(502, error("upstream_error"), retry_after=1e9)
    it = night(tmp_path, provider, 1)
    it.run(interrupted_at(DAY_S))
    assert "asks to wait for over a month" in it.stop.reason
    assert it.statuses() == [UNKNOWN]
    assert it.took_s < 100


def test_waits_within_an_outage_do_not_make_it_longer(tmp_path: Path) -> None:
    """Each time three hours, and nothing is ever taken: eight hours are the end of it."""
    it = night(tmp_path, after_six(slow(3 * HOUR_S)), 12, submit_concurrency=1)
    it.run(interrupted_at(2 * DAY_S))
    assert not it.stop.interrupted
    assert it.took_s < 8 * HOUR_S
    assert it.statuses().count(DONE) == 6


def test_an_absurd_wait_of_reads_is_bounded_by_the_outage(tmp_path: Path) -> None:
    """Each read is told so: looked at each quarter of an hour, then the run ends and says so."""
    it = night(tmp_path, Watched(on_batch=lambda n: told(429, "999999999")), 3)
    lines = listening(it)
    it.run(interrupted_at(2 * DAY_S))
    assert "cannot be reached" in it.stop.reason
    assert 8 * HOUR_S <= it.took_s < 8.5 * HOUR_S
    assert it.statuses() == [RUNNING] * 3
    assert [line for line in lines if "asked again in 15 min" in line]


# --- within --max-outage -------------------------------------------------------------------------------


def test_a_wait_of_hours_is_obeyed_and_said_once(tmp_path: Path) -> None:
    """Five hours: one line says until when and why, the log too; tasks are read at much their usual pace."""
    provider = Watched(latency_s=600.0)
    over = 30.0 + 5 * HOUR_S

    def answer(n: int) -> Answer:
        now = anyio.current_time()
        return slow(over - now, "maintenance") if 30.0 < now < over else None

    provider.on_submit = answer
    it = night(tmp_path, provider, 40, submits_per_min=20.0)
    lines = listening(it)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 40, "")
    said = [line for line in lines if "asks to wait" in line]
    assert len(said) == 1
    assert re.search(
        r"5 h 0 min \(rate_limit_exceeded: maintenance\); new requests wait until \d{4}-", said[0]
    )
    assert [line for line in lines if "takes new requests again" in line] == [
        "The provider takes new requests again."
    ]
    logged = [fields for event, fields in it.events if event == "asked_to_wait"]
    assert logged
    assert logged[0]["said"] == "rate_limit_exceeded: maintenance"
    assert [at for at, _ in provider.sent if 31.0 < at < over] == []
    reads = [at for at, _ in provider.batches if 31.0 < at < 700.0]
    assert len(reads) > 20


def test_a_longer_wait_is_news(tmp_path: Path) -> None:
    """First half a minute, then three hours: a person hears of both, and not of the third of a kind."""
    answers: dict[int, Answer] = {2: slow(30.0), 3: slow(3 * HOUR_S), 4: slow(40.0)}
    it = night(tmp_path, Watched(on_submit=answers.get), 6, submit_concurrency=1)
    lines = listening(it)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 6
    said = [line for line in lines if "asks to wait" in line]
    assert [("30 s" in line, "3 h 0 min" in line) for line in said[:2]] == [(True, False), (False, True)]


def test_short_waits_are_not_told(tmp_path: Path) -> None:
    """A few seconds now and then are how an ordinary limit looks."""
    it = night(tmp_path, Watched(on_submit=lambda n: slow(5.0) if n % 7 == 3 else None), 30)
    lines = listening(it)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 30
    assert [line for line in lines if "wait" in line] == []


@pytest.mark.parametrize("header", NONSENSE)
def test_a_wait_that_makes_no_sense_is_none(tmp_path: Path, header: str) -> None:
    """As if there were no header at all."""
    it = night(tmp_path, Watched(on_submit=lambda n: told(429, header) if n == 3 else None), 12)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 12, "")
    assert it.took_s < 120


def test_an_interrupt_ends_the_wait_of_reads(tmp_path: Path) -> None:
    """Told to wait an hour, the run looks a few times more and ends; the tasks stay collectable."""
    provider = Watched(on_batch=lambda n: slow(HOUR_S))
    it = night(tmp_path, provider, 3)
    it.run(interrupted_at(100.0))
    assert it.took_s < 160
    assert it.statuses() == [RUNNING] * 3


def test_a_kill_while_waiting_loses_nothing(tmp_path: Path) -> None:
    """The next run sends what was told to wait, once."""
    provider = after_six(slow(5 * HOUR_S))
    it = night(tmp_path, provider, 12)
    it.run(stop_now_at(HOUR_S))
    provider.on_submit = lambda n: None
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 12
    assert set(provider.paid().values()) == {1}


def test_several_on_the_wire_are_told_of_the_same_wait() -> None:
    """The second reply of a burst comes a second later: the wait is as long as allowed, and not too long."""

    async def test() -> None:
        outage, stop = Outage(HOUR_S, HOUR_S), Stop()
        gate = SubmitGate(outage, stop, Tally(), NO_LOG, lambda: 0.0)
        outage.contact()
        gate.hold(HOUR_S, "first")
        outage.failed("submit")
        await anyio.sleep(1.0)
        gate.hold(HOUR_S, "second")
        assert not stop.asked
        await gate.passed(stop)
        assert anyio.current_time() == pytest.approx(2 * HOUR_S / 2 + 2.0)
        gate.hold(HOUR_S, "third")
        assert "third" in stop.reason

    in_virtual_time(test)


# --- a task that failed since there were too many ------------------------------------------------------


def test_a_task_that_came_too_early_holds_back_its_own_row_only(tmp_path: Path) -> None:
    """Its row waits for half a minute, since another failure costs an attempt; others go on, more slowly."""
    provider = Watched(latency_s=20.0)
    provider.on_read = lambda n, task: (
        failed(task.id, "rate_limited", "too many") if task.id == "task-0" else None
    )
    it = night(tmp_path, provider, 40, submits_per_min=30.0, concurrency=16)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 40
    at = next(float(str(fields["in_s"])) for event, fields in it.events if event == "another_attempt")
    assert at >= 30.0
    times = [at for at in provider.first_sent() if at < 80]
    assert max(after - before for before, after in pairwise(times)) < 10.0


def test_a_task_that_names_an_absurd_wait_is_left_to_the_next_run(tmp_path: Path) -> None:
    """Its row has failed for now, and still has attempts: nobody waits for it for days."""
    provider = Watched(latency_s=20.0)
    words = "too many, retry after 99999999 seconds"
    provider.on_read = lambda n, task: failed(task.id, "rate_limited", words) if task.id == "task-0" else None
    it = night(tmp_path, provider, 4)
    it.run(interrupted_at(DAY_S))
    assert it.took_s < 200
    assert it.statuses().count(FAILED) == 1
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 4


# --- on their way to the wire --------------------------------------------------------------------------


def test_a_request_that_is_being_written_down_waits_as_well(tmp_path: Path) -> None:
    """A slow disk: the wait is told while the next requests are written, and none of them goes out."""
    provider = Watched(submit_s=0.05, latency_s=5.0)
    provider.on_submit = lambda n: slow(60.0) if n == 5 else None

    async def slowly(call: Callable[[], T]) -> T:
        await anyio.sleep(0.3)
        return call()

    it = night(tmp_path, provider, 40, submits_per_min=600.0)
    it.blocking = slowly
    it.run(interrupted_at(DAY_S))
    told_at = provider.sent[5][0] + 0.05
    on_wire = [at for at, _ in provider.sent if told_at < at < told_at + 59.0]
    assert on_wire == []
    assert it.statuses() == [DONE] * 40
    assert len(provider.tasks) == 40
