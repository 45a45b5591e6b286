"""Unknown requests: found, repeated safely or held, and never paid for twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import (
    Idempotency,
    KeyAnswer,
    KeyQuestion,
    Listing,
    SubmitOutcome,
    Unknown,
)
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.scope import Scope
from tests.unit.beside import stop_now_at, within
from tests.unit.fake_provider import Answer, FakeProvider, FakeTask, Turn, script, stranger
from tests.unit.night import NEVER_S, night, paid, phases, unknown_row
from tests.unit.watched import SlowLinks, Stubborn, Watched
from tests.unit.wire import CONFLICT, FORBIDDEN, NO_CREDITS, UNAVAILABLE, accepted, slow

DONE, PENDING, UNKNOWN = RowStatus.COMPLETED, RowStatus.PENDING, RowStatus.UNKNOWN
HONOURED, UNPROVEN, IGNORED = Idempotency.HONOURED, Idempotency.UNPROVEN, Idempotency.IGNORED


def test_a_request_that_went_out_late_is_looked_for_at_its_own_time(tmp_path: Path) -> None:
    """Not sent for ten minutes, then sent and lost: its task is as old as the last sending."""
    provider = Watched(remembers_keys=False, down_from=0.1, down_until=600.0)
    provider.on_submit = lambda n: "lost" if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 2
    assert paid(it) == [1, 1]


@pytest.mark.parametrize("trust", [HONOURED, UNPROVEN])
@pytest.mark.parametrize("edit", ["left", "limit"])
def test_an_unknown_request_that_nobody_wants_any_more_is_never_sent(
    tmp_path: Path, trust: Idempotency, edit: str
) -> None:
    """It never arrived: repeating it would pay for a row that left the manifest or lies beyond --limit."""
    provider = FakeProvider(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: Unknown("reset") if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1, resolve_tries=0)
    it.run()
    assert it.statuses() == [DONE, UNKNOWN]
    provider.on_submit = lambda n: None
    it.settings = Settings(scope=Scope(before=1)) if edit == "limit" else Settings()
    it.prompts = it.prompts[: 1 if edit == "left" else 2]
    it.run(within(NEVER_S))
    assert len(provider.tasks) == 1


@pytest.mark.parametrize("trust", [HONOURED, UNPROVEN])
def test_an_unwanted_request_that_did_arrive_is_followed(tmp_path: Path, trust: Idempotency) -> None:
    """What is paid for is collected although its row has left the manifest."""
    provider = FakeProvider(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: "lost" if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1, resolve_tries=0)
    it.run()
    it.settings, it.prompts = Settings(), it.prompts[:1]
    it.run(within(NEVER_S))
    assert len(list((tmp_path / "images").iterdir())) == 2
    assert paid(it) == [1, 1]


def test_a_request_that_never_arrived_is_sent_under_a_key_that_would_be_remembered(tmp_path: Path) -> None:
    """The key of an accepted request is known to the provider, so the lost one can be repeated safely."""
    provider = FakeProvider(lists_tasks=False, on_submit=lambda n: Unknown("reset") if n == 1 else None)
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 2
    assert paid(it) == [1, 1]


@pytest.mark.parametrize("created", [-120.0, 120.0])
def test_a_task_of_another_time_is_not_adopted(tmp_path: Path, created: float) -> None:
    """Two minutes before or after the request it was someone else's."""
    provider = FakeProvider(idempotency=IGNORED, tasks=stranger(created))
    provider.on_submit = lambda n: Unknown("reset")
    it = night(tmp_path, provider, 1)
    it.run()
    it.run()
    assert it.statuses() == [UNKNOWN]


def test_a_task_of_another_model_is_not_adopted(tmp_path: Path) -> None:
    """Same moment, other model: someone else's."""
    provider = FakeProvider(idempotency=IGNORED, tasks=stranger(0.1, "model-b"))
    provider.on_submit = lambda n: Unknown("reset")
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [UNKNOWN]


def test_a_listed_task_that_cannot_be_read_under_its_id_is_not_adopted(tmp_path: Path) -> None:
    """A list with ids of its own: the row would wait for a task that nobody knows, and never be collected."""

    class OwnIds(FakeProvider):
        is_mended = False

        async def list_recent(self, age_s: float, turn: Turn) -> Listing:
            listing = await super().list_recent(age_s, turn)
            tasks = [task if self.is_mended else replace(task, task_id="list-7") for task in listing.tasks]
            return replace(listing, tasks=tuple(tasks))

    provider = OwnIds(idempotency=IGNORED, on_submit=lambda n: "lost")
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [UNKNOWN]
    provider.is_mended = True
    it.run(within(NEVER_S))
    assert (it.statuses(), paid(it)) == ([DONE], [1])


def test_one_task_for_two_unknown_requests_is_not_guessed(tmp_path: Path) -> None:
    """Only one of the two arrived, and nobody can say which."""
    provider = FakeProvider(idempotency=IGNORED)
    provider.on_submit = lambda n: "lost" if n == 0 else Unknown("reset")
    it = night(tmp_path, provider, 2)
    it.run()
    assert it.statuses() == [UNKNOWN] * 2


def test_two_tasks_that_fit_are_not_guessed_apart(tmp_path: Path) -> None:
    """A stranger's task of the same moment may be ours as well as the one that is."""
    provider = FakeProvider(idempotency=IGNORED, tasks=stranger(0.1), on_submit=lambda n: "lost")
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [UNKNOWN]


def test_the_list_of_another_account_is_not_searched(tmp_path: Path) -> None:
    """What this key's account has made cannot be the request of another."""
    provider = FakeProvider(on_submit=lambda n: Unknown("reset"), lists_tasks=False)
    night(tmp_path, provider, 1, resolve_tries=0).run()
    it = night(tmp_path, FakeProvider(account="two", tasks=stranger(0.1)), 1)
    it.run()
    assert it.statuses() == [UNKNOWN]


class SlowAnswers(Watched):
    """Makes the task at once and answers late; its list takes a while to come."""

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        if not self.submits:
            self.submits += 1
            return Unknown("reset")
        task = self.make(body, idempotency_key)
        await anyio.sleep(20.0)
        return read_submit_reply(accepted(task.id))

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        await anyio.sleep(10.0)
        return await super().list_recent(age_s, turn)


def test_a_request_that_went_out_while_the_list_came_is_counted(tmp_path: Path) -> None:
    """Its task is on the list and its answer is not here yet: it is not another request's."""
    provider = SlowAnswers(idempotency=IGNORED)
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [UNKNOWN, DONE]


def test_a_question_without_an_answer_is_asked_again(tmp_path: Path) -> None:
    """The provider is busy twice when it is asked for the key: the third time counts."""
    provider = Watched(lists_tasks=False, answers_probe=lambda n: n >= 2)
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]
    assert provider.probed_at[2] > provider.probed_at[0]


def test_a_key_that_nobody_could_ask_about_is_not_trusted(tmp_path: Path) -> None:
    """No answer is not a yes."""
    provider = Watched(lists_tasks=False, remembers_keys=False, answers_probe=lambda n: False)
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert (provider.submits, it.statuses()) == (1, [UNKNOWN])


def test_each_key_is_asked_about_once(tmp_path: Path) -> None:
    """A question is a request as well; its answer holds for the run."""
    provider = Watched(lists_tasks=False, on_submit=lambda n: "lost" if n in (3, 4, 5) else None)
    it = night(tmp_path, provider, 8, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 8
    assert len(provider.probed_at) <= 3


def test_new_evidence_is_used_as_soon_as_it_is_there(tmp_path: Path) -> None:
    """A held row is tried again after the first acceptance of the run, not after the last."""
    provider = Watched(lists_tasks=False, on_submit=lambda n: Unknown("reset") if n == 0 else None)
    it = night(tmp_path, provider, 10, concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 10
    assert provider.bodies.index(provider.bodies[0], 1) < 5


def test_what_is_held_does_not_ask_again_with_every_acceptance(tmp_path: Path) -> None:
    """One held row costs a few looks at the list, not one for each row of the manifest."""
    provider = Watched(remembers_keys=False, on_submit=lambda n: Unknown("reset") if n == 0 else None)
    it = night(tmp_path, provider, 30)
    it.run(within(NEVER_S))
    assert it.statuses().count(UNKNOWN) == 1
    assert len(provider.listed_at) <= 4


def test_what_is_held_is_looked_for_once_more_at_the_end(tmp_path: Path) -> None:
    """The list could not be read when the answer was lost; before the run ends it can."""

    class Late(FakeProvider):
        async def list_recent(self, age_s: float, turn: Turn) -> Listing:
            return (
                await super().list_recent(age_s, turn)
                if anyio.current_time() > 10
                else Listing(failure="no reply")
            )

    provider = Late(remembers_keys=False, on_submit=lambda n: "lost" if n == 0 else None)
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 2


def test_a_repeated_request_keeps_the_providers_pace(tmp_path: Path) -> None:
    """ "Retry after 200 seconds" holds for a repetition as for any request."""
    provider = Watched(idempotency=HONOURED, lists_tasks=False)
    provider.on_submit = script({0: "lost", 1: slow(200.0)})
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]
    assert provider.submitted_at[2] - provider.submitted_at[1] >= 200


def test_a_repetition_that_hangs_is_cut_short(tmp_path: Path) -> None:
    """New rows do not wait for ever for an old one."""
    it = unknown_row(tmp_path, FakeProvider(idempotency=HONOURED, lists_tasks=False))
    it.provider.submit_s, it.settings = 5000.0, Settings(max_outage_s=1800.0)
    it.run()
    assert it.took_s < 3600
    assert it.statuses() == [UNKNOWN]


@pytest.mark.parametrize(
    "answer",
    [NO_CREDITS, FORBIDDEN, UNAVAILABLE, CONFLICT],
    ids=["402", "403", "503", "conflict"],
)
def test_a_resumed_request_without_a_good_answer_blocks_nothing(tmp_path: Path, answer: Reply) -> None:
    """The row stays held, the run ends, and other rows go on unless the account is empty."""
    it = unknown_row(tmp_path, Stubborn(idempotency=HONOURED, lists_tasks=False), 2)
    assert isinstance(it.provider, Stubborn)
    it.provider.always = {it.provider.tasks["task-0"].body: answer}
    it.run(within(NEVER_S))
    assert it.statuses() == [UNKNOWN, PENDING if answer is NO_CREDITS else DONE]
    assert (it.stop.reason != "") == (answer is NO_CREDITS)


def test_a_conflict_is_not_asked_about_again_and_again(tmp_path: Path) -> None:
    """The same key with other bytes: no repetition will change that."""
    it = unknown_row(tmp_path, Watched(idempotency=HONOURED, lists_tasks=False, on_submit=lambda n: CONFLICT))
    it.run(within(NEVER_S))
    assert it.provider.submits <= 3


def test_a_no_that_passes_does_not_lose_the_repeated_request(tmp_path: Path) -> None:
    """A proxy's 403 to a repetition leaves the row held; the look at the end of the run finds its task."""
    provider = FakeProvider(idempotency=HONOURED, lists_tasks=False)
    provider.on_submit = script({0: "lost", 1: FORBIDDEN})
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]
    assert paid(it) == [1]


@pytest.mark.parametrize(
    ("trust", "created", "first"),
    [(HONOURED, 0.0, "lost"), (HONOURED, -1000.0, Unknown("reset")), (UNPROVEN, 0.0, Unknown("reset"))],
    ids=["a-replayed-answer", "a-stranger-of-another-time", "a-provider-that-proved-it"],
)
def test_a_stranger_on_the_list_does_not_make_keys_distrusted(
    tmp_path: Path, trust: Idempotency, created: float, first: Answer
) -> None:
    """Someone else's task is no sign that a key was ignored: the next lost request is still repeated."""
    provider = FakeProvider(idempotency=trust, tasks=stranger(created) | stranger(created + 1.0))
    provider.tasks["task-x"] = FakeTask("task-x", b"other", "other-key", "model-a", created, created)
    provider.on_submit = script({1: first, 5: Unknown("reset")})
    it = night(tmp_path, provider, 6, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 6


def test_an_attempt_that_is_found_while_others_are_resumed_is_not_taken_twice(tmp_path: Path) -> None:
    """Its task is found while finished images still wait for a slot: one follows it, not two."""
    provider = SlowLinks(lists_tasks=False, on_link=lambda n, task: LinkFailed("503"), latency_s=1.0)
    night(tmp_path, provider, 4, download_tries=1).run()
    provider.on_submit, provider.latency_s = (lambda n: "lost"), 300.0
    night(tmp_path, provider, 5, resolve_tries=0, download_tries=1).run()
    provider.on_submit, provider.on_link = (lambda n: None), (lambda n, task: None)
    it = night(tmp_path, provider, 5, concurrency=2)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 5
    assert paid(it) == [1] * 5


def test_a_resubmitted_row_that_left_the_manifest_is_not_paid_for(tmp_path: Path) -> None:
    """`--on-unknown resubmit` sends rows of the manifest only."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False)
    provider.on_submit = lambda n: Unknown("reset") if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run()
    it.settings, it.prompts = Settings(on_unknown=OnUnknown.RESUBMIT), it.prompts[:1]
    it.run()
    assert provider.submits == 2


def test_nothing_new_is_sent_before_older_requests_were_asked_about(tmp_path: Path) -> None:
    """However long the provider takes to answer."""

    class Sleepy(Watched):
        async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
            await anyio.sleep(50.0)
            return await super().proves_idempotency(used_key, question)

    it = unknown_row(tmp_path, Sleepy(lists_tasks=False), 5)
    assert isinstance(it.provider, Watched)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 5
    assert it.provider.bodies[0] == it.provider.bodies[1]


def test_an_attempt_that_was_cut_off_by_a_kill_is_in_doubt(tmp_path: Path) -> None:
    """Only its intent is on disk: a later no does not say that nothing was paid."""
    provider = FakeProvider(idempotency=HONOURED, lists_tasks=False, submit_s=50.0)
    night(tmp_path, provider, 1).run(stop_now_at(1.0))
    assert phases(tmp_path) == [Phase.INTENT]
    provider.submit_s, provider.on_submit = 0.2, lambda n: NO_CREDITS
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert phases(tmp_path) == [Phase.UNKNOWN]
