"""Outages: nothing is risked while the provider is down, and the run goes on, or ends, by itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.limits.breaker import TRIP
from nanobanana_batch.engine.limits.outcomes import MaxFailures
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.model import Request, RowStatus
from nanobanana_batch.providers.base import Idempotency, NotSent, Unknown
from nanobanana_batch.providers.http import Reply
from tests.unit.beside import interrupted_at, stop_now_at
from tests.unit.fake_provider import Answer, FakeProvider
from tests.unit.night import Night
from tests.unit.test_engine_pace import DAY_S, HOUR_S, PROMPTS, Watched, night
from tests.unit.wire import BAD_GATEWAY, BAD_REQUEST, UNAVAILABLE, error, reply, slow

DONE, UNKNOWN, PENDING, FAILED = RowStatus.COMPLETED, RowStatus.UNKNOWN, RowStatus.PENDING, RowStatus.FAILED
LOST = Unknown("no reply")
SUBMITTERS = 8


def between(begin_s: float, end_s: float, outcome: Answer) -> Callable[[int], Answer]:
    """An outage by the clock."""
    return lambda n: outcome if begin_s < anyio.current_time() < end_s else None


def account_down(begin_s: float, end_s: float) -> Callable[[int], Reply | None]:
    """The account cannot be asked either, for that time."""
    return lambda n: BAD_GATEWAY if begin_s < anyio.current_time() < end_s else None


def during(provider: Watched, begin_s: float, end_s: float) -> list[float]:
    """When something was submitted within a time."""
    return [at for at, _ in provider.sent if begin_s < at < end_s]


@pytest.mark.parametrize("outcome", [LOST, NotSent("connection refused"), BAD_GATEWAY])
def test_during_an_outage_nothing_is_submitted(tmp_path: Path, outcome: Answer) -> None:
    """Two hours: what was on the wire fails, then only free questions are asked; afterwards all completes."""
    provider = Watched(on_submit=between(30, 2 * HOUR_S, outcome), on_account=account_down(30, 2 * HOUR_S))
    it = night(tmp_path, provider, 120, concurrency=32)
    it.run(interrupted_at(DAY_S))
    assert len(during(provider, 30, 2 * HOUR_S)) <= 2 * SUBMITTERS
    assert it.statuses() == [DONE] * 120
    assert set(provider.paid().values()) == {1}
    assert it.took_s < 2.5 * HOUR_S


def test_free_questions_are_asked_at_growing_distances(tmp_path: Path) -> None:
    """In two hours about one each half minute, none of them a minute late."""
    provider = Watched(on_submit=between(5, 2 * HOUR_S, LOST), on_account=account_down(5, 2 * HOUR_S))
    night(tmp_path, provider, 60, submit_concurrency=1).run(interrupted_at(DAY_S))
    asked = [at for at in provider.account_reads if at < 2 * HOUR_S]
    pauses = [after - before for before, after in pairwise(asked)]
    assert sum(pauses[:3]) < 15.0
    assert 20.0 < sum(pauses) / len(pauses) < 45.0
    assert max(pauses) < 61.0


@pytest.mark.parametrize("length_s", [25.0, 120.0, 1200.0, 3 * HOUR_S])
def test_after_an_outage_it_goes_on_soon(tmp_path: Path, length_s: float) -> None:
    """Some seconds after a short one, a minute or so after a long one: the first answer opens the way."""
    ends_s = 30 + length_s
    provider = Watched(on_submit=between(30, ends_s, BAD_GATEWAY), on_account=account_down(30, ends_s))
    provider.on_batch = lambda n: BAD_GATEWAY if 30 < anyio.current_time() < ends_s else None
    it = night(tmp_path, provider, 120, concurrency=64, submits_per_min=120.0)
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) >= 110
    idle_s = min(at for at, _ in provider.sent if at > ends_s) - ends_s
    assert idle_s <= min(5.0 + 0.15 * length_s, 65.0)
    assert len([at for at, _ in provider.sent if ends_s < at < ends_s + idle_s + 10.0]) >= 16


def test_all_who_waited_for_a_trial_go_when_it_has_worked(tmp_path: Path) -> None:
    """One goes ahead; not each of the others after the one before it was answered."""
    provider = Watched(on_submit=between(5, 60, NotSent("refused")), on_account=account_down(5, 60))
    provider.submit_s = 2.0
    it = night(tmp_path, provider, 60, concurrency=16, submit_concurrency=16)
    it.run(interrupted_at(DAY_S))
    trial = min(at for at, _ in provider.sent if at > 60)
    assert len([at for at, _ in provider.sent if trial < at < trial + 3.0]) >= 8


def test_a_read_that_works_opens_the_way(tmp_path: Path) -> None:
    """The account is never answered again; a task that can be read shows as well that the provider is up."""
    provider = Watched(on_submit=between(30, 630, NotSent("refused")), on_account=lambda n: "refused")
    provider.on_batch = lambda n: "refused" if 30 < anyio.current_time() < 630 else None
    it = night(tmp_path, provider, 60, concurrency=16, submits_per_min=60.0)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert min(at for at, _ in provider.sent if at > 631) < 630 + 65


@pytest.mark.parametrize("answer", [UNAVAILABLE, BAD_GATEWAY, reply(500, b"")], ids=["503", "502", "500"])
@pytest.mark.parametrize("account", [None, UNAVAILABLE], ids=["account-answers", "account-does-not"])
def test_an_outage_from_the_start_is_waited_out_like_any_other(
    tmp_path: Path, answer: Reply, account: Reply | None
) -> None:
    """A whole reply, be it a 5xx, is contact: not ten minutes, but `--max-outage`."""
    provider = Watched(on_submit=between(-1, HOUR_S, answer), idempotency=Idempotency.HONOURED)
    provider.on_account = lambda n: account if anyio.current_time() < HOUR_S else None
    it = night(tmp_path, provider, 30)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 30, "")


def test_an_account_that_answers_is_contact(tmp_path: Path) -> None:
    """Submits reach nobody, and the account is told each time: the address is right."""
    provider = Watched(on_submit=between(-1, HOUR_S, LOST), idempotency=Idempotency.HONOURED)
    it = night(tmp_path, provider, 10)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 10, "")


def test_reads_that_answer_5xx_are_contact(tmp_path: Path) -> None:
    """A resumed run whose tasks cannot be read for an hour, from its start, collects them then."""
    provider = Watched(latency_s=100.0)
    it = night(tmp_path, provider, 4)
    it.run(stop_now_at(50.0))
    provider.on_batch = lambda n: UNAVAILABLE if anyio.current_time() < HOUR_S else None
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 4, "")


NO_CHANNEL = reply(503, error("no_available_channel", "no channel for this model"))


def test_no_channel_is_waited_for_as_an_outage_and_nothing_is_in_doubt(tmp_path: Path) -> None:
    """An hour of it: few requests, one line that says so, and all complete; nothing was ever unknown."""
    said: list[str] = []
    provider = Watched(on_submit=between(5, HOUR_S, NO_CHANNEL), lists_tasks=False, remembers_keys=False)
    it = night(tmp_path, provider, 60, concurrency=8)
    it.on_announce = said.append
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert len(during(provider, 30, HOUR_S)) < 200
    assert len([text for text in said if "no_available_channel" in text]) == 1
    assert it.took_s < HOUR_S + 600


def test_no_channel_for_ever_ends_the_run(tmp_path: Path) -> None:
    """After `--max-outage`, with the provider's words."""
    it = night(tmp_path, Watched(on_submit=lambda n: NO_CHANNEL), 20, max_outage_s=2 * HOUR_S)
    it.run(interrupted_at(DAY_S))
    assert "no_available_channel" in it.stop.reason
    assert 2 * HOUR_S <= it.took_s < 2.2 * HOUR_S
    assert it.statuses() == [PENDING] * 20


def test_rows_of_a_model_without_a_channel_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """One model has none for an hour: the other's rows complete long before, then its own do."""

    off = set[int]()

    class Partly(Watched):
        async def submit(self, body: bytes, idempotency_key: str):  # type: ignore[no-untyped-def]
            if b"model-b" in body and anyio.current_time() < HOUR_S:
                off.add(self.submits)
            return await super().submit(body, idempotency_key)

    provider, said = Partly(on_submit=lambda n: NO_CHANNEL if n in off else None), list[str]()
    it = night(tmp_path, provider, 120, concurrency=32)
    it.request_of = lambda prompt: Request("model-b" if int(prompt.split()[-1]) % 2 else "model-a", prompt)
    it.on_announce = said.append
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 120
    of_a = [task.created for task in provider.tasks.values() if task.model == "model-a"]
    assert (it.tally.completed, it.tally.failed) == (120, 0)  # what was put off had not failed
    assert max(of_a) < 1200
    assert len([text for text in said if "takes nothing for model-b" in text]) == 1
    assert it.took_s < 1.3 * HOUR_S


def test_a_429_closes_the_breaker(tmp_path: Path) -> None:
    """The trial after an outage is told to slow down: who says that is up, and nobody waits for a probe."""
    provider = Watched(on_submit=between(5, 120, NotSent("refused")), on_account=account_down(5, 120))
    first = provider.on_submit
    later: list[float] = []

    def then_busy(n: int) -> Answer:
        if anyio.current_time() > 120:
            later.append(anyio.current_time())
        return slow() if len(later) == 1 else first(n)

    provider.on_submit = then_busy
    it = night(tmp_path, provider, 20, concurrency=4, submits_per_min=60.0)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 20
    assert later[1] - later[0] < 3.0
    assert [event for event, _ in it.events].count("breaker_closed") == 1


def test_who_seems_up_and_answers_no_submit_is_tried_seldom_and_by_one(tmp_path: Path) -> None:
    """The account answers, submits do not: each trial may cost a row, so they are few and one at a time."""
    provider = Watched(idempotency=Idempotency.IGNORED, lists_tasks=False)
    provider.on_submit = between(5, 2 * HOUR_S, LOST)
    it = night(tmp_path, provider, 120, concurrency=32)
    most: list[int] = []

    async def count(engine: object, stop: object) -> None:
        await anyio.sleep(60.0)
        provider.most_on_wire = 0
        await anyio.sleep(1.8 * HOUR_S)
        most.append(provider.most_on_wire)

    it.run(count)
    assert most == [1]
    assert 20 <= len(during(provider, 60, 1.8 * HOUR_S)) <= 90
    assert it.statuses().count(UNKNOWN) <= 90


def test_an_outage_that_does_not_end_ends_the_run(tmp_path: Path) -> None:
    """After `--max-outage`: a sentence that says what to do; what was paid for before is collected."""
    provider = Watched(on_submit=between(5, 90 * HOUR_S, LOST), on_account=account_down(5, 90 * HOUR_S))
    it = night(tmp_path, provider, 60, max_outage_s=3 * HOUR_S, concurrency=4)
    it.run(interrupted_at(DAY_S))
    assert "gives no usable answers" in it.stop.reason
    assert "run again later" in it.stop.reason
    assert not it.stop.interrupted
    assert 3 * HOUR_S <= it.took_s < 3.1 * HOUR_S
    assert it.statuses().count(DONE) == 4
    assert it.statuses().count(UNKNOWN) <= 2 * SUBMITTERS
    assert PENDING in it.statuses()


def test_a_provider_that_cannot_be_reached_is_told_as_such(tmp_path: Path) -> None:
    """The sentence names the address as what to look at; no row is in doubt."""
    unreachable = NotSent("connection refused")
    provider = Watched(
        on_submit=between(5, 90 * HOUR_S, unreachable), on_account=account_down(5, 90 * HOUR_S)
    )
    it = night(tmp_path, provider, 30, max_outage_s=HOUR_S, concurrency=4)
    it.run(interrupted_at(DAY_S))
    assert "cannot be reached (connection refused)" in it.stop.reason
    assert UNKNOWN not in it.statuses()


def test_outages_that_end_in_time_are_not_added_up(tmp_path: Path) -> None:
    """Three outages of two hours with an hour's patience left over each: each begins anew."""

    def down() -> bool:
        at = anyio.current_time()
        return any(begin < at < begin + 2 * HOUR_S for begin in (60.0, 9000.0, 18000.0))

    provider = Watched(on_submit=lambda n: LOST if down() else None)
    provider.on_account = lambda n: BAD_GATEWAY if down() else None
    it = night(tmp_path, provider, 120, max_outage_s=2.5 * HOUR_S, submits_per_min=0.4)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 120
    assert set(provider.paid().values()) == {1}


def test_the_wish_to_stop_ends_waiting_for_the_provider(tmp_path: Path) -> None:
    """Nobody sits out the pause between two questions, and no trial follows."""
    provider = Watched(on_submit=between(5, 90 * HOUR_S, LOST), on_account=account_down(5, 90 * HOUR_S))
    it = night(tmp_path, provider, 30, concurrency=16)
    it.run(interrupted_at(HOUR_S))
    assert it.stop.interrupted
    assert it.took_s < HOUR_S + 120
    assert during(provider, HOUR_S, 2 * HOUR_S) == []


def test_a_verdict_shows_that_all_is_well_again(tmp_path: Path) -> None:
    """After the outage every request is turned down for its own sake: who judges is up, nobody waits."""
    provider = Watched(idempotency=Idempotency.IGNORED, lists_tasks=False)
    provider.on_submit = lambda n: LOST if n < 12 else BAD_REQUEST
    it = night(tmp_path, provider, 40, max_failures=MaxFailures(share=1.0))
    it.run(interrupted_at(DAY_S))
    assert [event for event, _ in it.events].count("breaker_closed") == 1
    assert it.statuses().count(FAILED) == 28


def test_a_person_is_told_of_an_outage_once(tmp_path: Path) -> None:
    """One line when it begins, none for each failure, and one when it is over."""
    provider = Watched(on_submit=between(5, HOUR_S, LOST), on_account=account_down(5, HOUR_S))
    it = night(tmp_path, provider, 60, concurrency=16)
    said: list[str] = []

    async def listen(engine: object, stop: object) -> None:
        it.tally.announce = said.append

    it.run(listen)
    assert len([text for text in said if "gives no usable answers" in text]) == 1
    assert [text for text in said if "again" in text][1:] == ["The provider answers again."]
    assert [event for event, _ in it.events].count("breaker_open") == 1


def test_one_lost_reply_trips_nothing(tmp_path: Path) -> None:
    """Fewer than three in a row: nobody is held back and nothing is asked."""
    provider = FakeProvider(on_submit=lambda n: "lost" if n % 5 in (0, 1) else None, submit_s=1.0)
    it = Night(tmp_path, provider, PROMPTS[:40], Settings(submit_concurrency=1))
    it.run(interrupted_at(DAY_S))
    assert TRIP == 3
    assert provider.account_reads == []
    assert it.statuses() == [DONE] * 40


def test_rate_limits_open_no_breaker(tmp_path: Path) -> None:
    """Who answers is up: twenty 429s in a row are no outage."""
    provider = FakeProvider(on_submit=lambda n: slow() if n < 20 else None)
    it = Night(tmp_path, provider, PROMPTS[:10], Settings())
    it.run(interrupted_at(DAY_S))
    assert provider.account_reads == []
    assert it.statuses() == [DONE] * 10


def test_an_outage_is_told_with_how_long_it_is_waited_out(tmp_path: Path) -> None:
    """Before anything answered that is ten minutes, afterwards what the person has given."""
    for begin_s, wanted in ((0, "for up to 10 min"), (30, "for up to 8 h 0 min")):
        said: list[str] = []
        provider = Watched(
            on_submit=between(begin_s - 1, 120, LOST), on_account=account_down(begin_s - 1, 120)
        )
        it = night(tmp_path / str(begin_s), provider, 60, concurrency=16)
        it.on_announce = said.append
        it.run(interrupted_at(HOUR_S))
        assert [text for text in said if wanted in text and "the provider" in text], said
