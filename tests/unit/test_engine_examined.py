"""What an examiner with another server found: each was a run that ended wrongly, too late, or too dear."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.limits.outcomes import MaxFailures, Outcomes
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.stages.answers import stop_sentence
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.log import NO_LOG
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import KeyAnswer, KeyMemory, KeyQuestion, NotSent, Rejected, Unknown
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import Answer, FakeProvider
from tests.unit.night import Night
from tests.unit.test_engine_budget import Shop
from tests.unit.wire import BAD_GATEWAY, BAD_REQUEST, PAGE, error, finished, reply

PROMPTS = [f"a picture of the number {n}" for n in range(200)]
DONE, FAILED, PENDING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING
DAY_S = 86400.0
NO_SUCH_API = reply(404, PAGE)


def night(folder: Path, provider: FakeProvider, count: int, **settings: object) -> Night:
    """A run over so many rows."""
    return Night(folder, provider, PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]


def test_a_strange_page_after_it_has_worked_is_an_outage(tmp_path: Path) -> None:
    """Some answers of a proxy in the middle of the night say nothing of the address."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: NO_SUCH_API if 20 <= n < 23 else None), 60)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 60, "")


def test_a_strange_page_at_first_is_a_wrong_address(tmp_path: Path) -> None:
    """Nothing has ever worked there: say so at once."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: NO_SUCH_API), 60)
    it.run(interrupted_at(DAY_S))
    assert "--base-url" in it.stop.reason
    assert it.took_s < 60


def test_a_few_bad_prompts_at_the_beginning_do_not_end_the_run(tmp_path: Path) -> None:
    """They end at once, the good ones between them only when their images are there."""
    bad = {9, 19, 29, 39, 49}
    it = night(tmp_path, FakeProvider(on_submit=lambda n: BAD_REQUEST if n in bad else None), 100)
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason == ""
    assert (it.statuses().count(FAILED), it.statuses().count(DONE)) == (5, 95)


def test_every_request_rejected_alike_ends_the_run(tmp_path: Path) -> None:
    """Five in a row, and what is on the wire."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: BAD_REQUEST), 100)
    it.run(interrupted_at(DAY_S))
    assert "in a row" in it.stop.reason
    assert it.statuses().count(PENDING) > 80


def test_a_share_is_taken_of_all_that_was_answered() -> None:
    """Ten of a hundred and twenty requests were rejected, when fifty rows had ended."""
    stop = Stop()
    ends = Outcomes(MaxFailures(share=0.1), stop, Tally(), NO_LOG)
    for _ in range(110):
        ends.accepted()
    for _ in range(10):
        ends.rejected("invalid_request", "bad")
    for _ in range(60):
        ends.completed()
    ends.failed("service_error", "busy")
    assert not stop.asked
    for _ in range(2):
        ends.failed("service_error", "busy")
    assert stop.asked


@pytest.mark.parametrize("code", ["unauthorized", 401, "", "invalid_key"])
def test_a_rejected_key_is_told_as_one_however_it_is_coded(code: str | int) -> None:
    """By its status: codes are words or numbers."""
    outcome = read_submit_reply(reply(401, error(code, "no")))
    assert isinstance(outcome, Rejected)
    assert "API key" in stop_sentence(outcome)


@pytest.mark.parametrize("outcome", [NotSent("refused"), BAD_GATEWAY, Unknown("cut")])
def test_an_outage_is_given_up_on_time(tmp_path: Path, outcome: Answer) -> None:
    """Ten seconds were allowed: pauses are cut to that, and what cannot be read is not tried for long."""

    def is_dead() -> bool:
        return anyio.current_time() >= 30

    provider = FakeProvider(on_submit=lambda n: outcome if is_dead() else None, lists_tasks=False)
    provider.on_batch = provider.on_account = lambda n: BAD_GATEWAY if is_dead() else None
    it = night(tmp_path, provider, 200, max_outage_s=10.0, submits_per_min=300)
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason
    assert it.took_s < 30 + 10 + 10


def test_what_waits_for_its_turn_looks_again_whether_the_provider_is_up(tmp_path: Path) -> None:
    """Five requests a second were queued when trouble came: not one of them is sent for it to be lost."""
    sent: list[float] = []

    def dies(n: int) -> Answer:
        sent.append(anyio.current_time())
        return NotSent("refused") if 20 <= anyio.current_time() < 400 else None

    provider = FakeProvider(on_submit=dies, submit_s=0.01, latency_s=1.0)
    provider.on_account = provider.on_batch = lambda n: (
        "refused" if 20 <= anyio.current_time() < 400 else None
    )
    it = night(tmp_path, provider, 200, submits_per_min=300)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 200
    assert len([at for at in sent if 20 <= at < 400]) <= 5


def test_what_tasks_cost_in_the_end_is_learnt(tmp_path: Path) -> None:
    """Reserved is one, used are five: after the first image all are counted as five."""

    class Dear(Shop):
        def used(self, task: object) -> float:
            return 5.0

    it = night(tmp_path, Dear(price_of=lambda body: 1.0), 200, max_credits=200.0, concurrency=4)
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == 40
    assert "costs 5" in it.stop.reason


def test_a_provider_that_names_no_price_is_not_asked_twice(tmp_path: Path) -> None:
    """The first run paid for one request to learn that; the second one knows."""
    shop = Shop(price_of=lambda body: None)
    shop.on_read = lambda n, task: (
        finished(task.id, f"https://links.example/{task.id}/0", credits=None)
        if anyio.current_time() >= task.done_at
        else None
    )
    it = night(tmp_path, shop, 20, max_credits=100.0)
    for _ in range(2):
        it.run(interrupted_at(DAY_S))
        assert "prices" in it.stop.reason
        assert len(shop.tasks) == 1


def test_a_provider_that_cannot_be_asked_is_not_said_to_forget(tmp_path: Path) -> None:
    """The question about keys got no answer: that says nothing about its memory."""

    class Mute(FakeProvider):
        async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
            await anyio.sleep(0.1)
            return KeyAnswer(KeyMemory.NO_ANSWER, Unknown("no reply"))

    said: list[str] = []
    it = night(tmp_path, Mute(on_submit=lambda n: "lost" if n == 3 else None), 10)
    it.on_announce = said.append
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) >= 9
    assert not [text for text in said if "does not remember" in text]
