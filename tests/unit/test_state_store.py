"""No fact that could cost money is written out of turn, half, or into a file that is not ours."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, Request, RowStatus, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.doubts import EARLIER_ONES, LATER_ONES, UsedKey
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.reports import RowReport
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.schema import APPLICATION_ID, VERSION
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.store import Repeat, Store
from nanobanana_batch.state.taking import Taken
from nanobanana_batch.state.writers import WRITERS
from tests.unit.connections import answer, connections

IMAGE = Image("images/row-0.png", "image/png", 9, 5, 100, "ab" * 32)


def drafts(*prompts: str, ids: tuple[str, ...] = ()) -> list[Draft]:
    """One row a prompt; ids `row-<prompt>` unless given."""
    names = ids or tuple(f"row-{prompt}" for prompt in prompts)
    return [
        Draft(f"test:{n}", Request("model-a", prompt), id_, variables=(("n", str(n)),))
        for n, (prompt, id_) in enumerate(zip(prompts, names, strict=True))
    ]


def take(store: Store, rows: list[Draft], variables: tuple[str, ...] = ("n",)) -> None:
    """Make the rows the current manifest."""
    problems = ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(rows, problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, "test", variables))


def intent(row: int, attempt: int = 1, number: int = 1, **changes: Any) -> facts.Intent:
    """An intent with a key and a stem of its own."""
    values: dict[str, Any] = {
        "stem": f"row-{row}",
        "provider": "p",
        "account": "me",
        "fingerprint": "f",
        "idempotency_key": f"key-{attempt}",
    }
    return facts.Intent(row=row, attempt=attempt, number=number, body=b"{}", at=1.0, **{**values, **changes})


FACTS: dict[str, Callable[[int], Fact]] = {
    "SentAgain": lambda a: facts.SentAgain(a, 2.0),
    "NotSent": lambda a: facts.NotSent(a, "refused"),
    "Unanswered": lambda a: facts.Unanswered(a, "cut"),
    "Rejected": lambda a: facts.Rejected(a, "invalid_request", "no", False, "req", 2.0),
    "Rejected, refused": lambda a: facts.Rejected(a, "content_policy_violation", "no", True, "req", 2.0),
    "Accepted": lambda a: facts.Accepted(a, TaskMade(f"task-{a}", "req", 4.0, 20.0), 2.0),
    "Ready": lambda a: facts.Ready(a, ("https://x/1",), 99.0, 3.0, 3.0),
    "Saved": lambda a: facts.Saved(a, IMAGE, 4.0),
    "Lost": lambda a: facts.Lost(a),
    "Found": lambda a: facts.Found(a),
    "Failed": lambda a: facts.Failed(a, "service_error", "no", True, False, 5.0),
    "Failed, refused": lambda a: facts.Failed(a, "content_filter", "no", True, True, 5.0),
    "Expired": lambda a: facts.Expired(a, "gone", 5.0),
    "GivenUp": lambda a: facts.GivenUp(a, 6.0),
}
PATH_TO: dict[Phase, tuple[str, ...]] = {
    Phase.INTENT: (),
    Phase.NOT_SENT: ("NotSent",),
    Phase.UNKNOWN: ("Unanswered",),
    Phase.REJECTED: ("Rejected",),
    Phase.ACCEPTED: ("Accepted",),
    Phase.READY: ("Accepted", "Ready"),
    Phase.SAVED: ("Accepted", "Ready", "Saved"),
    Phase.FAILED: ("Accepted", "Failed"),
    Phase.REFUSED: ("Rejected, refused",),
    Phase.EXPIRED: ("Accepted", "Expired"),
}
UNSURE, AT_WORK = {Phase.INTENT, Phase.UNKNOWN}, {Phase.ACCEPTED, Phase.READY}
ALLOWED: dict[str, tuple[set[Phase], Phase]] = {
    "SentAgain": ({Phase.NOT_SENT, Phase.UNKNOWN}, Phase.INTENT),
    "NotSent": ({Phase.INTENT}, Phase.NOT_SENT),
    "Unanswered": (UNSURE, Phase.UNKNOWN),
    "Rejected": (UNSURE, Phase.REJECTED),
    "Rejected, refused": (UNSURE, Phase.REFUSED),
    "Accepted": (UNSURE, Phase.ACCEPTED),
    "Ready": (AT_WORK | {Phase.EXPIRED}, Phase.READY),
    "Saved": ({Phase.READY}, Phase.SAVED),
    "Lost": ({Phase.SAVED}, Phase.ACCEPTED),
    "Found": (set(), Phase.SAVED),
    "Failed": (AT_WORK, Phase.FAILED),
    "Failed, refused": (AT_WORK, Phase.REFUSED),
    "Expired": (AT_WORK, Phase.EXPIRED),
    "GivenUp": (UNSURE | AT_WORK, Phase.FAILED),
}
MAY_BE_PAID_AGAIN = {Phase.NOT_SENT, Phase.REJECTED, Phase.FAILED, Phase.REFUSED, Phase.EXPIRED}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the state file is to be."""
    return tmp_path / "state.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """A store with three rows."""
    store = Store(path)
    take(store, drafts("0", "1", "2"))
    yield store
    store.close()


def in_phase(store: Store, phase: Phase) -> None:
    """Bring attempt 1 of row 1 into a phase, one commit a fact."""
    store.apply([intent(1)])
    for name in PATH_TO[phase]:
        store.apply([FACTS[name](1)])


def phase_of(path: Path, attempt: int = 1) -> Phase:
    """What the file says."""
    with closing(sqlite3.connect(path)) as db:
        (found,) = db.execute("SELECT phase FROM attempts WHERE attempt = ?", (attempt,)).fetchone()
    return Phase(found)


def reports(path: Path) -> list[RowReport]:
    """What people would read."""
    with open_reader(path) as reader:
        return list(reader.rows())


def everything(path: Path) -> list[str]:
    """Each table as SQL text."""
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("phase", Phase)
def test_a_fact_is_taken_only_where_it_follows(store: Store, path: Path, phase: Phase, name: str) -> None:
    """All pairs of phase and fact: what the table above does not allow changes nothing."""
    in_phase(store, phase)
    before = everything(path)
    allowed, then = ALLOWED[name]
    if phase in allowed:
        store.apply([FACTS[name](1)])
        assert phase_of(path) is then
    else:
        with pytest.raises(StateFailed, match="Attempt 1 cannot become"):
            store.apply([FACTS[name](1)])
        assert everything(path) == before


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_about_an_attempt_that_nobody_intended_is_refused(store: Store, name: str) -> None:
    """There is no answer without a request."""
    with pytest.raises(StateFailed):
        store.apply([FACTS[name](7)])


@pytest.mark.parametrize("phase", Phase)
def test_a_row_is_paid_for_again_only_after_an_attempt_without_an_image(
    store: Store, path: Path, phase: Phase
) -> None:
    """A second attempt beside a running, unanswered or successful one would pay twice."""
    in_phase(store, phase)
    if phase in MAY_BE_PAID_AGAIN:
        store.apply([intent(1, attempt=2, number=2, stem="row-1")])
        assert phase_of(path, 2) is Phase.INTENT
        assert reports(path)[0].status is RowStatus.UNKNOWN
    else:
        with pytest.raises(StateFailed, match="cannot be paid for again"):
            store.apply([intent(1, attempt=2, number=2, stem="row-1")])
        assert phase_of(path) is phase


@pytest.mark.parametrize(
    "second",
    [
        intent(2, attempt=2, idempotency_key="key-1"),
        intent(2, attempt=2, stem="ROW-1"),
        intent(9, attempt=2),
        intent(2, attempt=1),
    ],
    ids=["same idempotency key", "same file name", "no such row", "same attempt"],
)
def test_an_intent_that_is_not_unique_is_refused(store: Store, path: Path, second: facts.Intent) -> None:
    """A shared key would return another row's task, a shared name another row's file."""
    store.apply([intent(1)])
    before = everything(path)
    with pytest.raises(StateFailed):
        store.apply([second])
    assert everything(path) == before


def test_one_task_belongs_to_one_attempt(store: Store) -> None:
    """The same task id for two rows means that something is wrong; another provider's may be called so, too.

    A provider that is called otherwise is the same one where the account is, and so is one with another key.
    """
    store.apply([intent(1), FACTS["Accepted"](1)])
    take(store, drafts("0", "1", "2", "3"))
    store.apply([intent(2, 2), intent(3, 3, provider="q"), intent(4, 4, account="you")])
    for attempt in (2, 3, 4):
        with pytest.raises(StateFailed):
            store.apply([facts.Accepted(attempt, TaskMade("task-1"), 2.0)])
    assert store.task_is_taken("q", "me", "task-1")
    assert store.task_is_taken("p", "you", "task-1")
    assert not store.task_is_taken("q", "you", "task-1")
    assert store.task_is_known("task-1")
    take(store, drafts("0", "1", "2", "3", "4"))
    store.apply([intent(5, 5, provider="q", account="you")])
    store.apply([facts.Accepted(5, TaskMade("task-1"), 2.0)])


def test_a_batch_is_written_whole_or_not_at_all(store: Store, path: Path) -> None:
    """The good facts in front of a bad one are not kept, and the store goes on working."""
    before = everything(path)
    with pytest.raises(StateFailed):
        store.apply([intent(1), FACTS["Accepted"](1), FACTS["Saved"](1)])
    assert everything(path) == before
    store.apply([intent(1), FACTS["Accepted"](1), FACTS["Ready"](1), FACTS["Saved"](1)])
    assert phase_of(path) is Phase.SAVED


def test_a_fact_is_in_the_file_when_apply_returns(store: Store, path: Path) -> None:
    """Another process sees it at once: nothing waits for a close."""
    store.apply([intent(1), FACTS["Accepted"](1)])
    code = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("
        "'SELECT phase, task_id, credits_reserved FROM requests').fetchall())"
    )
    seen = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[('accepted', 'task-1', 4.0)]"


def test_a_price_that_was_named_stays_where_a_later_read_names_none(store: Store, path: Path) -> None:
    """Its download failed, and the task was read once more: what it has cost is what it was told to."""
    unnamed = facts.Ready(1, ("https://x/2",), 99.0, None, 4.0)
    store.apply([intent(1), FACTS["Accepted"](1), FACTS["Ready"](1), unnamed, FACTS["Saved"](1)])
    with open_reader(path) as reader:
        assert reader.credits().used == 3.0


def test_a_price_of_a_results_file_stays_where_a_later_answer_names_none(store: Store, path: Path) -> None:
    """The file was had twice, since somebody has deleted it in between."""
    job = intent(1, kind="job", name="1")
    named, unnamed = facts.Answered(1, "answers/a", 2.5, 3.0), facts.Answered(1, "answers/a", None, 4.0)
    store.apply([job, FACTS["Accepted"](1), named, unnamed])
    store.apply([facts.Ready(1, (), 0.0, None, 5.0), FACTS["Saved"](1)])
    with open_reader(path) as reader:
        assert reader.credits().used == 2.5


def test_every_commit_is_synced(store: Store, path: Path) -> None:
    """WAL stands in the file, FULL holds for the connection that writes: together they survive power loss."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with connections() as made, closing(Store(path)):
        (writes,) = [db for db in made if answer(db, "query_only") == 0]
        assert (answer(writes, "synchronous"), answer(writes, "foreign_keys")) == (2, 1)


def test_a_question_does_not_wait_for_a_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may take its time to sync: whoever asks sees what was committed before, at once."""
    store.apply([intent(1), FACTS["Accepted"](1)])
    write, asked = WRITERS[facts.Ready], []

    def slowly(db: sqlite3.Connection, fact: facts.Fact) -> None:
        write(db, fact)
        with ThreadPoolExecutor(1) as pool:
            asked.append(pool.submit(store.task_is_known, "task-1").result(timeout=60))
        asked.append(any(store.open_attempts(Phase.READY)))

    monkeypatch.setitem(WRITERS, facts.Ready, slowly)
    store.apply([FACTS["Ready"](1)])
    assert asked == [True, False]
    assert any(store.open_attempts(Phase.READY))


def test_whoever_reads_cannot_write(store: Store, path: Path) -> None:
    """Facts have one way into the file."""
    with connections() as made, closing(Store(path)):
        (reads,) = [db for db in made if answer(db, "query_only") == 1]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reads.execute("DELETE FROM attempts")


def test_all_facts_of_an_attempt_come_back(store: Store) -> None:
    """What a resumed run needs is what was written."""
    store.apply([intent(1, stem="a"), FACTS["Accepted"](1), FACTS["Ready"](1)])
    (known,) = store.open_attempts(Phase.READY)
    assert (known.attempt, known.row, known.id, known.stem, known.model) == (1, 1, "row-0", "a", "model-a")
    assert (known.body, known.idempotency_key, known.provider) == (b"{}", "key-1", "p")
    assert known.task_id == "task-1"
    assert [(image.links, image.dies_at) for image in known.images] == [(("https://x/1",), 99.0)]
    assert (known.intended_at, known.accepted_at, known.estimated_s) == (1.0, 2.0, 20.0)


def test_links_that_die_first_come_first(store: Store) -> None:
    """A resumed run fetches what has the least time left."""
    for row, dies in ((1, 30.0), (2, 10.0), (3, 20.0)):
        store.apply([intent(row, attempt=row), FACTS["Accepted"](row)])
        store.apply([facts.Ready(row, ("https://x/1",), dies, None, 3.0)])
    assert [known.row for known in store.open_attempts(Phase.READY)] == [2, 3, 1]


def test_attempt_numbers_go_on_after_a_restart(store: Store, path: Path) -> None:
    """A number is never used for two requests."""
    assert store.next_attempt() == 1
    store.apply([intent(1, attempt=store.next_attempt())])
    store.close()
    again = Store(path)
    assert again.next_attempt() == 3
    again.close()


def test_only_rows_without_any_attempt_are_new(store: Store) -> None:
    """Whatever became of an attempt, its row is not sent by itself; limits are positions."""
    store.apply([intent(2), FACTS["Unanswered"](1)])
    assert [row.position for row in store.new_rows(-1, EVERY_ROW, 10)] == [0, 2]
    assert [row.position for row in store.new_rows(0, EVERY_ROW, 10)] == [2]
    assert [row.position for row in store.new_rows(-1, Scope(before=2), 10)] == [0]
    assert [row.position for row in store.new_rows(-1, EVERY_ROW, 1)] == [0]


def test_rows_to_be_retried_keep_their_file_name(store: Store) -> None:
    """Chosen by how their latest attempt ended; the next attempt has the next number."""
    store.apply([intent(1, stem="first-name"), FACTS["Rejected"](1)])
    store.apply([intent(2, attempt=2), FACTS["Unanswered"](2)])
    which = Repeat(frozenset({Phase.REJECTED, Phase.FAILED}))
    assert list(store.rows_to_repeat(which, EVERY_ROW)) == [1]
    row = store.row_to_send(1)
    assert (row.row, row.number, row.stem) == (1, 2, "first-name")
    store.apply([intent(1, attempt=3, number=2, stem="first-name"), FACTS["Accepted"](3)])
    assert list(store.rows_to_repeat(which, EVERY_ROW)) == []


def test_names_of_files_are_compared_without_case(store: Store) -> None:
    """Some file systems would take one for the other."""
    store.apply([intent(1, stem="Cat")])
    assert store.stem_is_taken("cAT")
    assert not store.stem_is_taken("cats")


@pytest.mark.parametrize("phase", PATH_TO)
@pytest.mark.parametrize("is_paid_again", [False, True])
def test_whether_anything_is_open_is_what_reading_it_would_show(
    store: Store, phase: Phase, is_paid_again: bool
) -> None:
    """In each phase, of each provider, also of what another attempt has come after."""
    store.apply([intent(1), *(FACTS[name](1) for name in PATH_TO[phase])])
    if is_paid_again and phase in {Phase.FAILED, Phase.REFUSED, Phase.REJECTED, Phase.EXPIRED}:
        store.apply([intent(1, 2, 2), FACTS["Rejected"](2)])
    for other in Phase:
        for provider in ("p", "q"):
            shown = [one for one in store.open_attempts(other) if one.provider == provider]
            for with_resting in (True, False):
                is_any = store.is_any_open(other, provider, with_resting=with_resting)
                assert is_any == any(with_resting or not one.rests for one in shown)


def test_what_rests_is_open_only_for_who_asks_for_that(store: Store) -> None:
    """Its row has left the manifest, and all that is free was asked about it."""
    store.apply([intent(1), FACTS["Unanswered"](1)])
    take(store, drafts("other"))
    store.apply([facts.Rested(1, 5.0)])
    assert [one.rests for one in store.open_attempts(Phase.UNKNOWN)] == [True]
    assert store.is_any_open(Phase.UNKNOWN, "p", with_resting=True)
    assert not store.is_any_open(Phase.UNKNOWN, "p", with_resting=False)


def test_what_belongs_to_another_provider_is_counted(store: Store) -> None:
    """Only unfinished attempts, each under its provider's name."""
    store.apply([intent(1, attempt=1, provider="a"), FACTS["Accepted"](1)])
    store.apply([intent(2, attempt=2, provider="b"), FACTS["Unanswered"](2)])
    store.apply([intent(3, attempt=3, provider="b"), FACTS["Rejected"](3)])
    assert store.open_elsewhere("a") == {"b": 1}
    assert store.open_elsewhere("c") == {"a": 1, "b": 1}


def test_a_request_that_was_replaced_is_not_sent_again(store: Store, path: Path) -> None:
    """Both would be paid for: the later attempt is the row's, the earlier one is over."""
    store.apply([intent(1), FACTS["NotSent"](1), intent(1, attempt=2, number=2)])
    assert not any(store.open_attempts(Phase.NOT_SENT))
    with pytest.raises(StateFailed, match="later one"):
        store.apply([FACTS["SentAgain"](1)])
    assert phase_of(path) is Phase.NOT_SENT


@pytest.mark.parametrize("then", [(), ("Ready",), ("Expired",)])
def test_a_lost_file_that_is_back_counts_again(store: Store, path: Path, then: tuple[str, ...]) -> None:
    """With all that was known of it, whatever was tried meanwhile."""
    in_phase(store, Phase.SAVED)
    before = reports(path)
    store.apply([FACTS[name](1) for name in ("Lost", *then)])
    assert [known.is_saved for known in store.saved_files()] == [False]
    store.apply([facts.Found(1)])
    assert reports(path) == before
    (known,) = store.saved_files()
    assert (known.attempt, known.path, known.size_bytes) == (1, IMAGE.path, IMAGE.size_bytes)
    assert (known.sha256, known.is_saved) == (IMAGE.sha256, True)


def test_a_key_to_ask_about_is_an_accepted_one_of_the_same_age(store: Store) -> None:
    """The newest accepted before the attempt, else one soon after; of this provider and account."""
    for row in (1, 2, 3):
        store.apply([intent(row, attempt=row)])
    ours = store.doubts("p", "me")
    assert ours.accepted_key_near(2, 60.0) is None
    store.apply([facts.Accepted(3, TaskMade("t3"), 50.0)])
    assert ours.accepted_key_near(2, 60.0) == UsedKey("key-3", 1.0)
    assert ours.accepted_key_near(2, 10.0) is None
    store.apply([facts.Accepted(1, TaskMade("t1"), 90.0)])
    assert ours.accepted_key_near(2, 10.0) == UsedKey("key-1", 1.0)
    assert store.doubts("q", "you").accepted_key_near(2, 60.0) is None
    assert store.doubts("p", "you").accepted_key_near(2, 60.0) is None


def test_unanswered_requests_are_counted_by_model(store: Store) -> None:
    """An intent without an answer counts like an unknown one."""
    store.apply([intent(1), intent(2, attempt=2), FACTS["Unanswered"](2)])
    store.apply([intent(3, attempt=3), FACTS["Accepted"](3)])
    assert [one.model for one in store.doubts("p", "me").unanswered()] == ["model-a", "model-a"]
    assert not any(store.doubts("q", "you").unanswered())


# --- the manifest changes --------------------------------------------------------------------------


def test_a_manifest_may_be_reordered_renamed_and_cut_without_paying_again(store: Store, path: Path) -> None:
    """Attempts follow the request, not the place or the name of a row."""
    store.apply([intent(1), FACTS["Accepted"](1), intent(2, attempt=2), FACTS["Unanswered"](2)])
    take(store, drafts("9", "1", "0", ids=("new", "one", "zero")))
    found = {report.request.prompt: report for report in reports(path)}
    assert list(found) == ["9", "1", "0"]
    assert (found["0"].id, found["0"].status, found["0"].task_id) == ("zero", RowStatus.RUNNING, "task-1")
    assert (found["1"].id, found["1"].status) == ("one", RowStatus.UNKNOWN)
    assert found["9"].status is RowStatus.PENDING
    assert [row.id for row in store.new_rows(-1, EVERY_ROW, 10)] == ["new"]


def test_rows_that_leave_are_kept_only_if_something_was_sent(store: Store, path: Path) -> None:
    """What is paid for is still collected; what never was sent is forgotten; both may come back."""
    store.apply([intent(1), FACTS["Accepted"](1)])
    take(store, drafts("5"))
    assert [report.request.prompt for report in reports(path)] == ["5"]
    with open_reader(path) as reader:
        assert reader.counts()[RowStatus.PENDING] == 1
        assert sum(reader.left_counts().values()) == 1
        assert reader.left_counts()[RowStatus.RUNNING] == 1
    assert [known.task_id for known in store.open_attempts(Phase.ACCEPTED)] == ["task-1"]
    take(store, drafts("1", "0"))
    assert [report.status for report in reports(path)] == [RowStatus.PENDING, RowStatus.RUNNING]


def test_swapped_places_do_not_clash(store: Store, path: Path) -> None:
    """Every place is unique, also while they change."""
    take(store, drafts("2", "1", "0"))
    assert [report.request.prompt for report in reports(path)] == ["2", "1", "0"]


def test_new_variables_are_taken_over(store: Store, path: Path) -> None:
    """They are no part of the request, but people read them."""
    take(store, [Draft("t", Request("model-a", "0"), "row-0", variables=(("mood", "é"),))], ("mood",))
    (report,) = reports(path)
    assert report.variables == {"mood": "é"}
    with open_reader(path) as reader:
        assert reader.variables() == ["mood"]


def test_an_unchanged_manifest_is_not_written_again(store: Store, path: Path) -> None:
    """A second run over a million rows begins at once."""
    with closing(sqlite3.connect(path)) as db:
        (before,) = db.execute("PRAGMA data_version").fetchone()
        take(store, drafts("0", "1", "2"))
        assert db.execute("PRAGMA data_version").fetchone() == (before,)
        take(store, drafts("0", "1", "3"))
        assert db.execute("PRAGMA data_version").fetchone() != (before,)


def test_what_is_remembered_is_there_after_a_restart(store: Store, path: Path) -> None:
    """Small facts of the folder: the last value counts."""
    assert store.meta("x") is None
    store.remember("x", "1")
    store.remember("x", "zwei")
    store.close()
    again = Store(path)
    assert again.meta("x") == "zwei"
    again.close()


# --- files that are not ours, or not whole ---------------------------------------------------------


def made(path: Path, rows: int = 200) -> bytes:
    """A state file of some pages with one running task, closed; its bytes."""
    store = Store(path)
    take(store, drafts(*(f"{n} {'x' * 100}" for n in range(rows)), ids=tuple(f"r{n}" for n in range(rows))))
    store.apply([intent(1), FACTS["Accepted"](1)])
    store.close()
    return path.read_bytes()


def test_a_newer_file_is_refused_and_left_as_it_is(path: Path) -> None:
    """Guessing at facts about money is worse than stopping; both writer and reader say so."""
    made(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(StateFailed, match=rf"version {VERSION + 1}.*knows {VERSION}.*newer"):
        Store(path)
    with pytest.raises(StateFailed, match="newer"), open_reader(path):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("owner", [0, 12345])
def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path, owner: int) -> None:
    """Not a byte of it is changed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE photos (id INTEGER)")
        db.execute(f"PRAGMA application_id = {owner}")
    before = path.read_bytes()
    with pytest.raises(StateFailed, match="another program"):
        Store(path)
    with pytest.raises(StateFailed, match="not written by this program"), open_reader(path):
        pass
    assert path.read_bytes() == before


def test_a_file_that_was_cut_is_refused_at_every_length(path: Path) -> None:
    """Above all one of no bytes: it must not pass for a new state that has paid for nothing."""
    whole = made(path)
    assert len(whole) > 10 * 4096
    for length in [0, 1, 15, 16, 99, 100, 511, 512, 1000, *range(4096, len(whole), 4096)]:
        path.write_bytes(whole[:length])
        for side in ("-wal", "-shm"):
            path.with_name(path.name + side).unlink(missing_ok=True)
        with pytest.raises(StateFailed, match=str(path)):
            Store(path).close()
        assert path.read_bytes() == whole[:length]


@pytest.mark.parametrize("body", [b"\0" * 8192, b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_garbage_is_refused(path: Path, body: bytes) -> None:
    """With the path, and what it means for money."""
    path.write_bytes(body)
    with pytest.raises(StateFailed, match=str(path)) as caught:
        Store(path)
    assert caught.value.exit_code == 3
    with pytest.raises(StateFailed, match=str(path)), open_reader(path) as reader:
        list(reader.rows())


def dated(store: Store, *times: float) -> None:
    """Attempts that were begun in this order, with these dates."""
    take(store, drafts(*map(str, range(len(times)))))
    for number, at in enumerate(times, 1):
        store.apply([replace(intent(number, attempt=number), at=at)])


def test_requests_dated_after_later_ones_are_found(path: Path) -> None:
    """By more than is asked for; answered ones are not asked about, and tell all the same."""
    store = Store(path)
    assert store.doubts("p", "me").dated_after_later_ones(60.0) == frozenset()
    dated(store, 900.0, 100.0, 165.0, 104.0, 950.0)
    doubts = store.doubts("p", "me")
    assert doubts.dated_after_later_ones(60.0) == {1, 3}
    assert doubts.dated_after_later_ones(61.0) == {1}
    store.apply([facts.Accepted(2, TaskMade("t2"), 800.0)])  # its own intent was dated too early
    assert doubts.dated_after_later_ones(60.0) == {1, 3}
    store.apply([facts.Accepted(4, TaskMade("t4"), 104.0)])
    assert doubts.dated_after_later_ones(60.0) == {1, 3}
    store.apply([facts.Accepted(1, TaskMade("t1"), 100.0)])
    assert doubts.dated_after_later_ones(60.0) == {3}
    store.close()


def test_a_later_one_counts_by_its_acceptance(path: Path) -> None:
    """Its intent was dated before the first reply of its run had told the time."""
    store = Store(path)
    dated(store, 500.0, 100.0)
    store.apply([facts.Accepted(2, TaskMade("t2"), 480.0)])
    assert store.doubts("p", "me").dated_after_later_ones(60.0) == frozenset()
    store.close()


def test_requests_dated_before_earlier_ones_are_found(path: Path) -> None:
    """With the latest date of those; of a task the date of its acceptance counts."""
    store = Store(path)
    dated(store, 100.0, 900.0, 200.0, 300.0, 950.0)
    doubts = store.doubts("p", "me")
    assert doubts.dated_before_earlier_ones(60.0) == {3: 900.0, 4: 900.0}
    store.apply([facts.Accepted(3, TaskMade("t3"), 899.0)])
    assert doubts.dated_before_earlier_ones(60.0) == {4: 900.0}
    store.apply([facts.Accepted(2, TaskMade("t2"), 150.0)])  # its own intent was dated wrong
    assert doubts.dated_before_earlier_ones(60.0) == {}
    store.close()


@pytest.mark.parametrize("gap", [-601.0, 601.0])
def test_a_key_is_not_asked_about_whose_own_dates_disagree(path: Path, gap: float) -> None:
    """The clock was set between its intent and its acceptance: nobody knows how old it is."""
    store = Store(path)
    dated(store, 1000.0, 1010.0)
    store.apply([facts.Accepted(1, TaskMade("t1"), 1000.0 + gap)])
    assert store.doubts("p", "me").accepted_key_near(2, 600.0) is None
    store.close()


def test_what_looks_for_dates_reads_attempts_once(path: Path) -> None:
    """By their numbers, in order: no sorting, nothing within a loop."""
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        for query in (LATER_ONES, EARLIER_ONES):
            plan = [str(step[3]) for step in db.execute(f"EXPLAIN QUERY PLAN {query}", (60.0,))]
            assert not [step for step in plan if "B-TREE" in step or "CORRELATED" in step]
            assert sum(step in ("SCAN attempts", _BY_NUMBER) for step in plan) == 1


_BY_NUMBER = "SEARCH attempts USING INTEGER PRIMARY KEY (rowid>?)"


def test_a_killed_creation_leaves_no_state_that_counts(path: Path) -> None:
    """Until it is whole the file has another name, and what is left of that is cleared away."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(b"half")
    new.with_name(f"{new.name}-journal").write_bytes(b"half")
    store = Store(path)
    take(store, drafts("0"))
    store.close()
    assert sorted(found.name for found in path.parent.iterdir()) == [path.name]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_a_state_that_cannot_be_written_stops_the_run(path: Path) -> None:
    """A failed write is an error, never a lost fact."""
    made(path)
    with connections() as those, closing(Store(path)) as store:
        for db in those:
            with suppress(sqlite3.ProgrammingError):
                db.execute("PRAGMA query_only = ON")
        with pytest.raises(StateFailed, match="Nothing more was sent"):
            store.apply([FACTS["Ready"](1)])
    assert phase_of(path) is Phase.ACCEPTED


def test_a_folder_that_does_not_exist_is_a_state_failure(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(StateFailed):
        Store(tmp_path / "none" / "state.sqlite3")


# --- several images, several rows ------------------------------------------------------------------------


def several(links: int) -> facts.Ready:
    """What a task of attempt 1 has made."""
    named = tuple(f"https://x/{number}" for number in range(links))
    return facts.Ready(1, named, 99.0, 3.0, 3.0, links, tuple(f"row-1-{n}" for n in range(2, links + 1)))


def test_a_row_is_completed_with_the_last_of_its_images(store: Store, path: Path) -> None:
    """Whichever that is; who says otherwise has another number of them in mind, and is refused."""
    store.apply([intent(1), FACTS["Accepted"](1), several(2)])
    second = Image("images/row-1-2.png", "image/png", 9, 5, 100, "cd" * 32)
    with pytest.raises(StateFailed, match="another number of images"):
        store.apply([facts.Saved(1, second, 4.0, 2)])
    store.apply([facts.Saved(1, second, 4.0, 2, is_last=False)])
    assert phase_of(path) is Phase.READY
    (known,) = store.open_attempts(Phase.READY)
    assert [(image.number, image.stem, image.is_saved) for image in known.images] == [
        (1, "row-1", False),
        (2, "row-1-2", True),
    ]
    with pytest.raises(StateFailed, match="another number of images"):
        store.apply([facts.Saved(1, IMAGE, 4.0, is_last=False)])
    with pytest.raises(StateFailed, match="of its image 2"):
        store.apply([facts.Saved(1, second, 4.0, 2, is_last=False)])
    store.apply([facts.Saved(1, IMAGE, 4.0)])
    (row, *_) = reports(path)
    assert (row.status, row.path) == (RowStatus.COMPLETED, IMAGE.path)
    assert [file.path for file in row.other_images] == [second.path]


def test_an_image_that_is_lost_is_the_only_one_that_is_owed(store: Store, path: Path) -> None:
    """And when it is back, or fetched anew, the row is completed again."""
    second = Image("images/row-1-2.png", "image/png", 9, 5, 100, "cd" * 32)
    saved = [facts.Saved(1, IMAGE, 4.0, is_last=False), facts.Saved(1, second, 4.0, 2)]
    store.apply([intent(1), FACTS["Accepted"](1), several(2), *saved])
    store.apply([facts.Lost(1, 2)])
    assert phase_of(path) is Phase.ACCEPTED
    store.apply([several(2)])
    (known,) = store.open_attempts(Phase.READY)
    assert [image.is_saved for image in known.images] == [True, False]
    store.apply([facts.Found(1, 2)])
    assert phase_of(path) is Phase.SAVED
    store.apply([facts.Lost(1, 1), facts.Lost(1, 2), facts.Found(1, 1)])
    assert phase_of(path) is Phase.ACCEPTED
    store.apply([facts.Found(1, 2)])
    assert phase_of(path) is Phase.SAVED


def joined(row: int, attempt: int, request: int = 1) -> facts.Joined:
    """Another row of a request."""
    return facts.Joined(row, attempt, request, 1, f"row-{row}", f"name-{row}")


def test_rows_join_only_a_job_that_is_about_to_be_sent(store: Store, path: Path) -> None:
    """What was sent already has asked for other rows; a task has one."""
    store.apply([intent(1)])
    before = everything(path)
    for late in ([joined(2, 2)], [FACTS["Accepted"](1), joined(2, 2)], [joined(2, 2, request=9)]):
        with pytest.raises(StateFailed, match="no new job"):
            store.apply(late)
    assert everything(path) == before
    store.apply([intent(2, 2, kind="job", name="name-2"), joined(3, 3, request=2)])
    with pytest.raises(StateFailed, match="no new job"):
        store.apply([FACTS["Accepted"](2), joined(1, 4, request=2)])


def test_what_is_told_of_a_job_holds_for_all_of_its_rows_that_have_not_ended(
    store: Store, path: Path
) -> None:
    """One that a person has given up stays so."""
    key = "ab" * 24
    first = intent(1, kind="job", name="a", idempotency_key=key)
    store.apply([first, joined(2, 2), joined(3, 3), FACTS["Unanswered"](1)])
    store.apply([facts.GivenUp(2, 5.0), FACTS["Accepted"](1)])
    assert [phase_of(path, attempt) for attempt in (1, 2, 3)] == [
        Phase.ACCEPTED,
        Phase.FAILED,
        Phase.ACCEPTED,
    ]
    answer = f"answers/{'ab' * 24}"
    store.apply([facts.Answered(1, answer, 6.0, 7.0)])
    known = store.open_attempts(Phase.ACCEPTED)
    assert [(one.request, one.name, one.results) for one in known] == [
        (1, "a", answer),
        (1, "name-3", answer),
    ]
    store.apply([facts.Failed(1, "odd", "no", False, False, 8.0)])
    assert store.is_awaited(1)
    store.apply([facts.Ready(3, (), 0.0, None, 8.0), facts.Saved(3, IMAGE, 9.0)])
    assert not store.is_awaited(1)
    assert phase_of(path, 3) is Phase.SAVED


def test_who_stops_early_among_many_does_not_hold_up_what_is_seen(tmp_path: Path) -> None:
    """What is written after that is there for the next who asks, in the same connection."""
    store = Store(tmp_path / "state.sqlite3")
    take(store, drafts("a", "b", "c"))
    store.apply([intent(1), intent(2, attempt=2)])
    unanswered = store.doubts("p", "me").unanswered
    assert any(one.attempt for one in unanswered())
    store.apply([intent(3, attempt=3)])
    assert [one.attempt for one in unanswered()] == [1, 2, 3]
    store.close()
