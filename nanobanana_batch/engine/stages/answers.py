"""What an answer to a paid request means for its row, for the record, and for everybody who sends."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nanobanana_batch.engine.limits.outcomes import Outcomes
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.limits.quota import DailyQuota
from nanobanana_batch.engine.limits.submit_pace import SubmitPace
from nanobanana_batch.engine.parts import Files, Record, Wire
from nanobanana_batch.engine.work import Work
from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.files.answers import keep_answer
from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers.base import Answered, Decision, NotSent, Rejected, SubmitOutcome, Unknown
from nanobanana_batch.state import facts

_KEEPING = "keep"
"""What is in trouble while replies wait for the disk."""
_DENIALS = frozenset({"model_access_denied", "key_model_not_allowed", "permission_denied"})
"""Rejections that hold for every row of a model."""
_STOPS = {
    "key_disabled": "The API key is disabled ({}); use another one, or have it enabled, and run again.",
    "key_expired": "The API key has expired ({}); use another one and run again.",
    "user_disabled": "The account is disabled ({}); ask the provider why, and run again.",
    "insufficient_token_quota": "The API key's own quota is used up ({}); raise it, or use another key.",
    "key_quota_exhausted": "The API key's own quota is used up ({}); raise it, or use another key.",
}
"""What the codes that end a run mean, and what to do."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Where an answer is written down and kept, and who slows down for it."""

    wire: Wire
    record: Record
    files: Files
    pace: SubmitPace
    quota: DailyQuota


def slow_down(answers: Answers, outcome: Rejected, sent_at: float) -> None:
    """The provider takes no request just now, and none was made: the same one may be sent again later.

    It was sent at `sent_at` (loop time). How long it asks to wait holds for everybody. Without that the pace
    of submits says when.
    """
    answers.wire.outage.contact()
    if outcome.decision is Decision.WAIT_FOR_RESET:
        answers.quota.used_up(outcome)
        return
    if outcome.retry_after_s is not None:
        answers.wire.gate.hold(outcome.retry_after_s, reason(outcome))
    if outcome.decision is not Decision.SLOW_DOWN:
        answers.wire.breaker.failed(reason(outcome), may_cost=False)
        return
    answers.pace.rejected(outcome.message, sent_at, is_waited=bool(outcome.retry_after_s))
    answers.record.log(
        "rate_limited",
        code=outcome.code,
        retry_after_s=outcome.retry_after_s,
        in_flight_at_most=answers.pace.bound,
    )
    answers.wire.breaker.busy(reason(outcome))


def note_rejection(outcomes: Outcomes, work: Work, outcome: Rejected) -> None:
    """The provider judged a request: its row has failed."""
    outcomes.rejected(outcome.code, outcome.message, refused=outcome.decision is Decision.REFUSE)
    if outcome.code in _DENIALS:
        outcomes.denied(work.model, outcome.code, outcome.message)


async def record_answer(
    answers: Answers, work: Work, outcome: SubmitOutcome, *, is_anew: bool = False
) -> SubmitOutcome:
    """Write an answer down, and return it as it is to be understood.

    A task that belongs to another attempt already is no answer to this one. `is_anew`: the sending that it
    answers was recorded as one that may be paid for itself.
    """
    if not isinstance(outcome, TaskMade | Answered):
        fact = answer(work, outcome, answers.record.now())
        if isinstance(fact, facts.Unanswered) and is_anew:
            fact = replace(fact, came_to_nothing=isinstance(outcome, NotSent | Rejected))
        await answers.record.journal.record(fact)
        return outcome
    if isinstance(outcome, Answered):
        await keep(answers, work, outcome.reply, outcome.credits_used)
        return outcome
    offered, task_id = answers.wire.provider.capabilities, outcome.task_id
    journal, store = answers.record.journal, answers.record.store
    if task_id in journal.arriving or store.task_is_taken(offered.name, offered.account, task_id):
        return await record_answer(
            answers, work, Unknown(f"answered with another row's task {outcome.task_id}")
        )
    journal.arriving.add(outcome.task_id)
    try:
        await journal.record(answer(work, outcome, answers.record.now()))
    finally:
        journal.arriving.discard(outcome.task_id)
    return outcome


async def keep(answers: Answers, work: Work, reply: bytes, credits_used: float | None = None) -> None:
    """Put the reply to a request into a file, and write that down; a disk that refuses is asked again.

    Else what is paid for, and held in memory only, would be lost.

    Raises:
        StateFailed: the journal has failed, so that nothing can be written down any more.
    """
    tries = 0
    while True:
        try:
            path = await answers.record.blocking(
                lambda: keep_answer(answers.files.disk, answers.files.folder, work.idempotency_key, reply)
            )
            break
        except DiskFailed as error:
            words = error.message.rstrip(".")
            answers.record.tally.trouble(
                f"{words}: replies that are paid for wait in memory until that works. Make room for them; a"
                " second Ctrl-C loses them.",
                _KEEPING,
            )
            tries += 1
            await answers.record.journal.pause(backoff_s(tries))
    if tries:
        answers.record.tally.all_well(_KEEPING, "Replies can be saved again.")
    await note_answer(answers.record, work, path, credits_used)


async def note_answer(record: Record, work: Work, path: str, credits_used: float | None) -> None:
    """Write down that what came of a request stands in a file of the folder."""
    work.results, work.accepted_at = path, record.now()
    await record.journal.record(facts.Answered(work.request, path, credits_used, work.accepted_at))


def answer(work: Work, outcome: SubmitOutcome, now: float) -> facts.Fact:
    """The fact that an outcome of a paid request is; fills in what the attempt has learnt.

    `now`: when it came, in Unix seconds.
    Of a doubtful attempt only a task, or the provider's verdict on the request itself, settles anything.
    """
    match outcome:
        case TaskMade():
            work.task_id, work.estimated_s, work.accepted_at = outcome.task_id, outcome.estimated_s, now
            return facts.Accepted(work.request, outcome, now)
        case Rejected(decision=Decision.FAIL_ROW | Decision.REFUSE | Decision.NEW_ATTEMPT) if (
            outcome.is_verdict or not work.is_doubtful
        ):
            refused = outcome.decision is Decision.REFUSE
            return facts.Rejected(
                work.request, outcome.code, outcome.message, refused, outcome.request_id, now
            )
        case NotSent() | Rejected() if not work.is_doubtful:
            return facts.NotSent(work.request, reason(outcome))
        case _:
            return facts.Unanswered(work.request, f"may have been paid: {reason(outcome)}")


def reason(outcome: SubmitOutcome) -> str:
    """What an answer was, for a person."""
    match outcome:
        case Unknown() | NotSent():
            return outcome.reason
        case Rejected():
            return f"{outcome.code}: {outcome.message}"
        case TaskMade():
            return outcome.task_id
        case Answered():
            return "answered"


def stop_sentence(outcome: Rejected) -> str:
    """Why the provider's answer ends the run, and what to do, in one sentence."""
    said = reason(outcome).rstrip(": .")
    if (sentence := _STOPS.get(outcome.code.strip().lower().replace("-", "_"))) is not None:
        return sentence.format(said)
    if outcome.code == "unauthorized" or outcome.status == 401:
        return f"The provider rejects the API key ({said}); check it and run again."
    if outcome.is_address:
        return f"There is no such API at this address ({said}); check --base-url."
    return f"The account's credits or quota are used up ({said}); top up and run again."
