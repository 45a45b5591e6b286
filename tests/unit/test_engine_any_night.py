"""Any night: random scripts of what can go wrong, with kills at random commits; the ledger is the judge."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanobanana_batch.engine.limits.outcomes import MaxFailures
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, NotSent, Rejected, SubmitOutcome, Unknown
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from nanobanana_batch.state.reader import open_reader
from tests.unit.fake_provider import Answer, FakeProvider, FakeTask
from tests.unit.night import Beside, Night
from tests.unit.test_engine_run import KilledAt, killed
from tests.unit.wire import BAD_GATEWAY, BAD_REQUEST, REFUSED, Task, failed, finished, slow, working

ROWS = 6
MOST_ATTEMPTS = 3
PRICE = 2.0
ANSWERS: dict[str, Answer] = {
    "fine": None,
    "lost": "lost",
    "dead": Unknown("connection reset"),
    "502": BAD_GATEWAY,
    "busy": slow(5.0),
    "unsent": NotSent("connection refused"),
    "refused": REFUSED,
    "bad": BAD_REQUEST,
}
FATES = ("completes", "fails for now", "fails", "refused", "stuck", "unclear", "linkless", "unfetched")
PASSING = frozenset({"stuck", "unclear", "linkless", "unfetched"})
"""What comes to an end when the provider is well."""
CODES = {"fails for now": "service_error", "fails": "invalid_parameters", "refused": "content_filter"}


class Script(NamedTuple):
    """A provider's night, and when the process dies."""

    answers: list[str]
    fates: list[str]
    kills: list[tuple[int, bool]]
    """At which commit, and whether after it was written."""
    remembers: bool
    lists: bool
    max_credits: float | None
    submitters: int


FINE = Script([], [], [], remembers=True, lists=True, max_credits=None, submitters=1)


@dataclass
class Judge(FakeProvider):
    """Follows a script, keeps the account, and notes each payment that should not have been."""

    script: Script = FINE
    is_well: bool = False
    told: set[str] = field(default_factory=set)
    """Tasks of which a read has said that a new one may be paid for."""
    refunded: set[str] = field(default_factory=set)
    wrongs: list[str] = field(default_factory=list)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """What the script says; a key that has a task is never turned down."""
        before = set(self.tasks)
        outcome = await super().submit(body, idempotency_key)
        for id_ in self.tasks.keys() - before:
            self._judge(self.tasks[id_])
        known = [task for task in self.tasks.values() if task.key == idempotency_key]
        if isinstance(outcome, Rejected) and outcome.is_verdict and known:
            return read_submit_reply(self.made(known[0], is_replay=True))
        return outcome

    def answer(self, n: int) -> Answer:
        """Of the n-th submit."""
        return None if self.is_well or n >= len(self.script.answers) else ANSWERS[self.script.answers[n]]

    def fate(self, task: FakeTask) -> str:
        """What becomes of a task."""
        fate = (self.script.fates or ["completes"])[int(task.id[5:]) % max(1, len(self.script.fates))]
        return "completes" if fate in PASSING and self.is_well else fate

    def report(self, n: int, task: FakeTask) -> Task | None:
        """What a read says of it."""
        fate = self.fate(task)
        if fate == "stuck":
            return working(task.id)
        if fate == "unclear":
            return {"id": task.id, "status": "marinating"}
        if fate in ("completes", "unfetched") or anyio.current_time() < task.done_at:
            return None
        if fate == "linkless":
            return finished(task.id)
        self.refunded.add(task.id)
        if fate == "fails for now":
            self.told.add(task.id)
        return failed(task.id, CODES[fate])

    def link(self, n: int, task: FakeTask) -> LinkFailed | None:
        """What its link is answered with."""
        return LinkFailed("no", dead=n % 2 == 0) if self.fate(task) == "unfetched" else None

    def of(self, body: bytes) -> list[FakeTask]:
        """The tasks of a row."""
        return [task for task in self.tasks.values() if task.body == body]

    def _judge(self, new: FakeTask) -> None:
        others = [task for task in self.of(new.body) if task is not new]
        if not all(task.id in self.told for task in others):
            self.wrongs.append(f"{new.id}: paid for although an earlier task may complete")
        if len(others) >= MOST_ATTEMPTS:
            self.wrongs.append(f"{new.id}: attempt {len(others) + 1}")
        spent = PRICE * (len(self.tasks) - len(self.refunded))
        if self.script.max_credits is not None and spent > self.script.max_credits:
            self.wrongs.append(f"{new.id}: {spent:g} credits are spent")


@dataclass
class Nights(Night):
    """Runs whose clock goes on from one to the next."""

    began_s: float = 0.0

    async def go(self, beside: Beside | None) -> None:
        await anyio.sleep(self.began_s)
        try:
            await super().go(beside)
        finally:
            self.began_s = anyio.current_time() + 30.0


def made(folder: Path, script: Script) -> Nights:
    """The runs of a script."""
    trust = Idempotency.UNPROVEN if script.remembers else Idempotency.IGNORED
    judge = Judge(trust, script.remembers, lists_tasks=script.lists, script=script, latency_s=5.0)
    judge.on_submit, judge.on_read, judge.on_link = judge.answer, judge.report, judge.link
    prompts = [f"a picture of the number {n}" for n in range(ROWS)]
    how = Settings(
        concurrency=3,
        submit_concurrency=script.submitters,
        max_credits=script.max_credits,
        max_failures=MaxFailures(share=1.0),
        max_attempts=MOST_ATTEMPTS,
        stuck_after_s=60.0,
        revisit_s=30.0,
        max_outage_s=600.0,
    )
    it = Nights(folder, judge, prompts, how)
    it.listed_price = lambda request: PRICE
    return it


async def not_for_ever(engine: Run, stop: Stop) -> None:
    """A run that goes on for a day does not end."""
    await anyio.sleep(86400.0)
    stop.ask("It did not end.", interrupted=True)
    await anyio.sleep(3600.0)
    engine.stop_now()


def shown(it: Nights) -> None:
    """What a person has seen last is what the state says."""
    tally = it.tally
    with open_reader(it.folder / STATE_NAME) as reader:
        counts = reader.counts()
    assert (tally.total, tally.in_flight) == (sum(counts.values()), 0)
    assert tally.completed == counts[RowStatus.COMPLETED]
    assert tally.not_completed == sum(
        counts[status] for status in (RowStatus.FAILED, RowStatus.REFUSED, RowStatus.EXPIRED)
    )
    assert tally.unknown == counts[RowStatus.UNKNOWN]


def judged(it: Nights) -> None:
    """Every row ends explained; what was paid for and completed is there."""
    judge, stop = it.provider, it.stop
    assert isinstance(judge, Judge)
    assert judge.wrongs == []
    assert not stop.interrupted
    for row, prompt in zip(it.rows(), it.prompts, strict=True):
        tasks = judge.of(json.dumps({"model": "model-a", "prompt": prompt}, sort_keys=True).encode())
        fates = [judge.fate(task) for task in tasks]
        match row.status:
            case RowStatus.COMPLETED:
                assert Counter(fates)["completes"] == 1
            case RowStatus.FAILED | RowStatus.REFUSED:
                assert row.error_code
                assert "completes" not in fates
                is_final = row.error_code != "fails_for_now" or len(fates) == MOST_ATTEMPTS
                assert is_final or stop.reason
            case RowStatus.UNKNOWN:
                assert row.error_message
                assert not judge.remembers_keys or all(task.id in judge.told for task in tasks)
            case other:
                assert other is RowStatus.PENDING
                assert "--max-credits" in stop.reason


answers = st.lists(st.sampled_from(sorted(ANSWERS)), max_size=30)
kills = st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=4)
scripts = st.builds(
    Script,
    answers,
    st.lists(st.sampled_from(FATES), max_size=8),
    kills,
    remembers=st.booleans(),
    lists=st.booleans(),
    max_credits=st.sampled_from([None, None, 6.0, 9.0, 14.0]),
    submitters=st.integers(1, 4),
)


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
@given(scripts)
def test_whatever_happens_nothing_is_paid_twice_and_every_row_is_explained(script: Script) -> None:
    """Killed and started again until the provider is well: then two runs bring everything to its end."""
    with tempfile.TemporaryDirectory() as folder:
        it = made(Path(folder), script)
        for at, after in script.kills:
            killed(it, KilledAt(at, after=after))
        it.run(not_for_ever)
        shown(it)
        assert not it.stop.interrupted
        assert isinstance(it.provider, Judge)
        it.provider.is_well = True
        for _ in range(2):
            it.run(not_for_ever)
            shown(it)
        judged(it)
