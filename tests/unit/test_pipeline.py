"""The commands that pay or collect: which rows each sends, and with which code it ends."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import FolderInUse, LinkFailed, UsageError
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.jobs import collect as collect_job
from nanobanana_batch.jobs import retry as retry_job
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs.audit import repair_folder
from nanobanana_batch.jobs.connection import LAST, CheckedConnection, Connection
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.jobs.retry import Retry
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, NotSent, Observer, Provider, SubmitOutcome, Unknown
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.scope import Scope
from tests.no_pauses import without_pauses
from tests.unit.beside import stop_at, stop_now_at, within
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import NEVER_S, Night, done_folder, engine_in_its_place, night, phases
from tests.unit.watched import Watched
from tests.unit.wire import BAD_REQUEST, Task, failed

DONE, PENDING = RowStatus.COMPLETED, RowStatus.PENDING


@pytest.mark.parametrize(
    ("completed", "reason", "interrupted", "code"),
    [
        (3, "", False, 0),
        (3, "Interrupted.", True, 0),
        (2, "", False, 1),
        (2, "full", False, 3),
        (2, "", True, 130),
    ],
)
def test_the_exit_code_tells_how_a_run_ended(
    completed: int, reason: str, interrupted: bool, code: int
) -> None:
    """0 only when every row that was asked for is completed."""
    counts = Counter({DONE: completed, PENDING: 3 - completed})
    outcome = Outcome(
        folder=Path(),
        results=Path(),
        rows=3,
        counts=counts,
        credits_used=0.0,
        credits_reserved=0.0,
        same_bytes=0,
        not_as_asked=0,
        elsewhere={},
        had_work=True,
        stop_reason=reason,
        interrupted=interrupted,
    )
    assert outcome.exit_code == code


class Mixed(Watched):
    """Fails, refuses, loses and forgets as the prompts say."""

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        if (answer := ANSWERS.get(prompt_of(body))) is None:
            return await super().submit(body, idempotency_key)
        return answer

    def ends(self, n: int, task: FakeTask) -> Task | None:
        """The code with which a task fails."""
        code = {"failed": "x", "tried again": "x", "refused": "content_policy_violation"}
        return failed(task.id, code[prompt]) if (prompt := prompt_of(task.body)) in code else None


ANSWERS: dict[str, SubmitOutcome] = {
    "rejected": read_submit_reply(BAD_REQUEST),
    "unknown": Unknown("reset"),
    "never sent": NotSent("refused"),
}
PROMPTS = ["failed", "rejected", "refused", "expired", "unknown", "done", "tried again", "never sent", "new"]


def prompt_of(body: bytes) -> str:
    """Which row it is."""
    return str(json.loads(body)["prompt"])


def mixed(tmp_path: Path) -> Night:
    """A folder of rows that ended in all ways; one was to be made again and could not be sent."""
    provider = Mixed(idempotency=Idempotency.IGNORED, lists_tasks=False, offers={"link_lifetime_s": 10.0})
    provider.on_read = provider.ends
    provider.on_link = lambda n, task: (
        LinkFailed("gone", dead=True) if prompt_of(task.body) == "expired" else None
    )
    it = Night(tmp_path / "out", provider, PROMPTS, Settings(max_attempts=1, scope=Scope(before=7)))
    it.run(within(NEVER_S))
    it.settings = Settings(scope=Scope(only=frozenset({7})))
    it.run(stop_at(1.0))
    it.settings = Settings(
        new_rows=False, retried=frozenset({Phase.FAILED}), scope=Scope(only=frozenset({6}))
    )
    it.provider.on_submit = lambda n: NotSent("refused")
    it.run(stop_at(1.0))
    return it


def put_in_their_place(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A provider in memory is connected, whichever is asked for; returns how often it was, by its name."""
    name, connected = provider.capabilities.name, list[str]()

    def connect(path: Path, seen: Observer | None) -> nullcontext[Provider]:
        connected.append(name)
        return nullcontext(provider)

    line = CheckedConnection("evolink", name, False, True, connect)
    monkeypatch.setattr(run_job, "prepare", lambda *given, **how: line)
    monkeypatch.setattr(collect_job, "prepare", lambda *given, **how: line)
    return connected


def healed(it: Night, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """The same provider, in the place of any other, as it works again and makes all images at once."""
    without_pauses(monkeypatch)
    provider = Watched(
        Idempotency.IGNORED,
        lists_tasks=False,
        latency_s=0.0,
        submit_s=0.0,
        offers={"poll_interval_s": 0.01},
        tasks=it.provider.tasks,
    )
    gone = [task.id for task in provider.tasks.values() if prompt_of(task.body) == "expired"]
    provider.on_link = lambda n, task: LinkFailed("gone", dead=True) if task.id in gone else None
    put_in_their_place(provider, monkeypatch)
    return provider


@pytest.mark.parametrize(
    ("only", "sent"),
    [
        (Retry.FAILED, ["failed", "rejected", "tried again"]),
        (Retry.REFUSED, ["refused", "tried again"]),
        (Retry.EXPIRED, ["expired", "tried again"]),
        (Retry.UNKNOWN, ["unknown"]),
    ],
)
def test_retry_pays_for_one_kind_of_row_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: Retry, sent: list[str]
) -> None:
    """Neither new rows nor those that ended in another way are sent."""
    it = mixed(tmp_path)
    provider = healed(it, monkeypatch)
    retry_job.retry(it.folder, only, Connection(LAST), Settings(on_unknown=OnUnknown.RESUBMIT), Tally())
    assert sorted(map(prompt_of, provider.bodies)) == sent


def test_collecting_sends_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`audit --repair` fetches and pays for nothing."""
    it = mixed(tmp_path)
    provider, lost = healed(it, monkeypatch), it.folder / "images" / "row-5.png"
    lost.unlink()
    collect_job.collect(it.folder, Connection(), Settings(), Tally())
    assert (lost.is_file(), provider.bodies) == (True, [])


@pytest.mark.parametrize(("name", "elsewhere"), [("fake", {}), ("other", {"fake": 3})])
def test_a_folder_without_work_for_a_provider_connects_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, elsewhere: dict[str, int]
) -> None:
    """Three running tasks are work for their provider; another one is told whose they are."""
    night(tmp_path, FakeProvider(), 3).run(stop_now_at(5.0))
    engine_in_its_place(monkeypatch, lambda parts: None)
    connected = put_in_their_place(Watched(offers={"name": name}), monkeypatch)
    outcome = retry_job.retry(tmp_path, Retry.FAILED, Connection(LAST), Settings(), Tally())
    assert connected == (["fake"] if name == "fake" else [])
    assert outcome.elsewhere == elsewhere
    assert (outcome.exit_code, outcome.results.is_file()) == (1, True)


def test_a_limit_is_all_that_a_run_answers_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows are completed, the others were not asked for: exit 0, and no connection is made."""
    table = tmp_path / "m.csv"
    table.write_text("prompt,model\n" + "".join(f"picture {n},nano-banana-beta\n" for n in range(5)))
    order, first = Order(table, tmp_path / "out"), Settings(scope=Scope(before=2))
    provider = Watched(latency_s=0.0, submit_s=0.0, offers={"poll_interval_s": 0.01})
    connected = put_in_their_place(provider, monkeypatch)
    run_job.run(order, first, Tally())
    assert connected == ["fake"]
    outcome = run_job.run(order, first, Tally())
    assert (outcome.rows, outcome.exit_code, connected) == (2, 0, ["fake"])


@pytest.mark.parametrize("command", ["retry", "repair"])
def test_no_command_that_writes_works_beside_a_run(tmp_path: Path, command: str) -> None:
    """`retry` and `audit --repair` leave a folder that is in use as it is."""
    folder = done_folder(tmp_path)
    (folder / "images" / "row-1.png").unlink()
    here = Connection(provider="local")
    commands: dict[str, Callable[[], object]] = {
        "retry": lambda: retry_job.retry(folder, Retry.FAILED, here, Settings(), Tally()),
        "repair": lambda: repair_folder(folder, here, Tally()),
    }
    with only_writer(folder), pytest.raises(FolderInUse):
        commands[command]()
    assert phases(folder) == [Phase.SAVED] * 3


def test_a_manifest_without_rows_is_refused(tmp_path: Path) -> None:
    """An emptied table must not make every row of its folder one that nobody wants."""
    table = tmp_path / "m.csv"
    table.write_text("id,prompt,model\n")
    manifest = open_ordered(Order(table))
    with pytest.raises(UsageError, match="no rows"), expanded(manifest):
        pytest.fail("nobody gets here")
