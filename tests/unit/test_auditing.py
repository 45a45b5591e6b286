"""What an audit says of requests that were sent twice, and of a folder that a run is at work on."""

from __future__ import annotations

import errno
import gc
import hashlib
import sqlite3
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from benchmarks.finished import finished_folder
from nanobanana_batch.cli.text import audit_lines
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.errors import LinkFailed, StateFailed
from nanobanana_batch.files import standing as looking
from nanobanana_batch.files.folder import STATE_NAME, Folder, find
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.jobs import audit as auditing
from nanobanana_batch.jobs.audit import Audit, make_audit
from nanobanana_batch.jobs.session import fetch_anew
from nanobanana_batch.model import Image, RowStatus, TaskMade
from nanobanana_batch.state import facts, schema
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.state.store import Store
from tests.unit.beside import stop_now_at
from tests.unit.fake_provider import picture
from tests.unit.night import done_folder, night
from tests.unit.test_state_store import FACTS, drafts, intent, take
from tests.unit.watched import Watched

DONE, RUNNING = RowStatus.COMPLETED, RowStatus.RUNNING


def folder_with(path: Path, *attempts: Iterable[str]) -> Path:
    """A folder in which each row has one attempt, with these facts after its intent."""
    (path / "images").mkdir(parents=True)
    store = Store(path / "state.sqlite3")
    take(store, drafts(*(str(number) for number in range(len(attempts)))))
    for number, names in enumerate(attempts, start=1):
        store.apply([intent(number, attempt=number), *(fact(path, name, number) for name in names)])
    store.close()
    return path


def fact(path: Path, name: str, attempt: int) -> facts.Fact:
    """A fact, and where it says so, the file that goes with it."""
    if name == "Replayed":
        return facts.Accepted(attempt, TaskMade(f"task-{attempt}", "req", 4.0, 20.0, is_replay=True), 2.0)
    if name != "Saved":
        return FACTS[name](attempt)
    content = f"image {attempt}".encode()
    (path / "images" / f"{attempt}.png").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return facts.Saved(attempt, Image(f"images/{attempt}.png", "image/png", 9, 5, len(content), digest), 4.0)


def audited(path: Path) -> tuple[list[tuple[str, str]], Audit]:
    """The findings as (kind, row or file), and everything."""
    found = make_audit(find(path))
    return [(one.kind, one.what) for one in found.findings], found


RESENT = ("Unanswered", "SentAgain", "Accepted")


@pytest.mark.parametrize("after", [(), ("Ready", "Saved"), ("Failed",), ("Expired",)])
def test_a_request_that_was_sent_again_may_have_been_paid_twice(
    tmp_path: Path, after: tuple[str, ...]
) -> None:
    """The answer to the second sending does not say what became of the first, however it ends."""
    path = folder_with(tmp_path / "out", (*RESENT, *after), ("Accepted", "Ready", "Saved"))
    findings, found = audited(path)
    assert found.exit_code == 1
    (resent,) = [one for one in found.findings if one.kind == "resent"]
    assert resent.what == findings[0][1]
    assert "task-1" in resent.detail
    assert "sent 2 times" in resent.detail
    assert "the first time may have been paid too" in resent.detail
    assert "look in your account" in resent.advice


def test_each_further_sending_counts(tmp_path: Path) -> None:
    """Three of one request: two of them nobody knows about."""
    path = folder_with(tmp_path / "out", ("Unanswered", "SentAgain", *RESENT))
    (_, resent) = audited(path)[1].findings
    assert "sent 3 times" in resent.detail
    assert "each of the first 2 times" in resent.detail


@pytest.mark.parametrize(
    "names",
    [
        ("NotSent", "SentAgain", "Accepted", "Ready", "Saved"),
        ("Unanswered", "Accepted", "Ready", "Saved"),
        ("Unanswered", "SentAgain", "Replayed", "Ready", "Saved"),
    ],
    ids=["never arrived", "found", "replayed"],
)
def test_what_was_paid_once_for_sure_is_no_finding(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Sent again because nothing had arrived; found by itself; or known by its key to be one and the same."""
    assert audited(folder_with(tmp_path / "out", names))[0] == []


def test_what_a_run_has_in_flight_is_no_finding(tmp_path: Path) -> None:
    """Requests on the wire, tasks, links, and files that are not written down yet; what is held is one."""
    path = folder_with(
        tmp_path / "out",
        (),
        ("Accepted",),
        ("Accepted", "Ready"),
        ("Unanswered",),
        ("Accepted", "Ready", "Saved"),
        ("Accepted", "Ready", "Expired"),
    )
    (path / "images" / "3.png").write_bytes(b"just placed")
    with only_writer(path):
        findings, found = audited(path)
        text = "\n".join(audit_lines(found))
    assert [kind for kind, _ in findings] == ["unknown", "orphan"]
    assert found.in_flight == 3
    assert "A run is going on: 3 requests in flight not looked at." in text
    assert "2 findings." in text
    findings, found = audited(path)
    assert sorted(kind for kind, _ in findings) == [
        "orphan",
        "orphan",
        "orphan",
        "stray",
        "unknown",
        "unknown",
    ]
    assert found.in_flight is None
    assert "going on" not in "\n".join(audit_lines(found))


def test_a_run_that_ends_meanwhile_counts_as_one_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read belongs to the time when it was still at work."""
    path = folder_with(tmp_path / "out", ("Accepted",))
    with ExitStack() as run:
        run.enter_context(only_writer(path))

        @contextmanager
        def read(state: Path, *_: object) -> Iterator[Reader]:
            with open_reader(state) as reader:
                yield reader
            run.close()

        monkeypatch.setattr(auditing, "open_reader", read)
        assert audited(path)[0] == []


def test_a_lost_file_is_found_also_during_a_run(tmp_path: Path) -> None:
    """What the state calls saved was saved before it said so."""
    path = folder_with(tmp_path / "out", ("Accepted", "Ready", "Saved"))
    (path / "images" / "1.png").unlink()
    with only_writer(path):
        assert audited(path)[0] == [("missing", "images/1.png")]


def test_one_is_one(tmp_path: Path) -> None:
    """1 request, 1 finding."""
    text = "\n".join(audit_lines(audited(folder_with(tmp_path / "out", ("Accepted",)))[1]))
    assert "1 request, 1 task, 0 images saved, 0 files" in text
    assert text.endswith("1 finding.")


def test_a_folder_of_the_first_version_can_be_audited(tmp_path: Path) -> None:
    """Reading changes nothing, so the tables are as that version left them."""
    path = folder_with(tmp_path / "out", ("Accepted",))
    with sqlite3.connect(tmp_path / "old.sqlite3") as db:
        db.executescript(schema._V1)
        db.execute("ATTACH ? AS new", (str(path / "state.sqlite3"),))
        paid = "request, kind, provider, account, body, fingerprint, idempotency_key, intended_at, task_id"
        paid += (
            ", request_id, credits_reserved, estimated_s, accepted_at, answered_at AS ready_at, credits_used"
        )
        made = "attempt, links, dies_at, path, media_type, width, height, size_bytes, sha256, saved_at"
        db.execute(
            "CREATE TEMP VIEW attempts AS SELECT * FROM new.attempts"
            f" JOIN (SELECT {paid}, answered_at AS ready_at FROM new.requests) USING (request)"
            f" LEFT JOIN (SELECT {made} FROM new.images) USING (attempt)"
        )
        held = {"meta": "new.meta", "rows": "new.rows", "attempts": "temp.attempts"}
        for table, source in held.items():
            columns = ", ".join(name for _, name, *_ in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM {source}")
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    (tmp_path / "old.sqlite3").replace(path / "state.sqlite3")
    assert [kind for kind, _ in audited(path)[0]] == ["orphan"]


def test_an_image_that_this_user_may_not_read_is_not_taken_for_a_changed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may be in order: repair fetches nothing in its place, and the row stays completed."""
    path = folder_with(tmp_path / "out", ("Accepted", "Ready", "Saved"))

    def closed(path: Path) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(looking, "open_own", closed)
    with closing(Store(path / "state.sqlite3")) as store:
        fetch_anew(store, path)
    assert audited(path)[0] == [("unreadable", "images/1.png")]


def kinds(folder: Path) -> list[str]:
    """The kinds of an audit's findings."""
    found = make_audit(Folder(folder, folder))
    assert found.exit_code == (1 if found.findings else 0)
    return sorted(finding.kind for finding in found.findings)


PAST: dict[str, tuple[Fact, ...]] = {
    "intent": (),
    "unknown": (facts.Unanswered(9, "cut"),),
    "accepted": (facts.Accepted(9, TaskMade("task-x", None, 2.0, None), 1.0),),
    "failed": (
        facts.Accepted(9, TaskMade("task-x", None, 2.0, None), 1.0),
        facts.Failed(9, "x", "no", True, False, 1.0),
    ),
    "ready": (
        facts.Accepted(9, TaskMade("task-x", None, 2.0, None), 1.0),
        facts.Ready(9, ("https://x/1",), 1.0, None, 1.0),
    ),
    "expired": (
        facts.Accepted(9, TaskMade("task-x", None, 2.0, None), 1.0),
        facts.Expired(9, "gone", 1.0),
    ),
    "given up": (
        facts.Accepted(9, TaskMade("task-x", None, 2.0, None), 1.0),
        facts.GivenUp(9, 1.0),
    ),
}


@pytest.mark.parametrize(
    ("past", "found", "used", "refunded"),
    [
        ("intent", ["unknown"], 0.0, 0.0),
        ("unknown", ["unknown"], 0.0, 0.0),
        ("accepted", ["orphan"], 0.0, 0.0),
        ("ready", ["orphan"], 0.0, 0.0),
        ("failed", [], 0.0, 2.0),
        ("expired", ["orphan"], 2.0, 0.0),
        ("given up", ["given_up"], 2.0, 0.0),
    ],
)
def test_an_audit_explains_every_unfinished_attempt(
    tmp_path: Path, past: str, found: list[str], used: float, refunded: float
) -> None:
    """What may be paid, what is paid and not here, what came back; credits where nobody told the price."""
    folder = done_folder(tmp_path, 2)
    with closing(Store(folder / STATE_NAME)) as store:
        take(store, drafts("0", "1", "2"))
        new = store.new_rows(-1, EVERY_ROW, 9)[-1]
        store.apply([intent(new.row, attempt=9), *PAST[past]])
    assert kinds(folder) == found
    totals = make_audit(Folder(folder, folder)).totals
    assert (totals.credits_used, totals.credits_refunded) == (4.0 + used, refunded)


def test_an_audit_tells_a_second_payment_and_the_same_bytes_apart(tmp_path: Path) -> None:
    """A row that was expired and made again was paid twice; that both have the same bytes is no finding."""
    provider = Watched(
        offers={"link_lifetime_s": 10.0}, on_link=lambda n, task: LinkFailed("gone", dead=True)
    )
    it = night(tmp_path, provider, 2)
    it.run()
    assert kinds(tmp_path) == ["orphan", "orphan"]
    provider.on_link = lambda n, task: (
        LinkFailed("gone", dead=True) if task.id in ("task-0", "task-1") else picture("one for all")
    )
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.EXPIRED}))
    it.run(stop_now_at(5.0))
    assert it.statuses() == [RUNNING] * 2
    assert kinds(tmp_path) == ["duplicate", "duplicate", *["orphan"] * 4]
    it.run()
    assert it.statuses() == [DONE] * 2
    assert kinds(tmp_path) == ["duplicate", "duplicate", "orphan", "orphan", "same_bytes"]


def test_an_audit_sees_files_below_folders(tmp_path: Path) -> None:
    """A stray image in a folder of its own is listed too."""
    folder = done_folder(tmp_path, 1)
    (folder / "images" / "more").mkdir()
    (folder / "images" / "more" / "b.png").write_bytes(b"x")
    assert kinds(folder) == ["stray"]


def peak_of_audit(folder: Path) -> int:
    """The most bytes that Python has had at once for it."""
    gc.collect()
    tracemalloc.start()
    assert make_audit(find(folder)).findings == ()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_an_audit_takes_no_more_memory_for_more_rows(tmp_path: Path) -> None:
    """Requests, files and their names are not kept: a list of them took 1.5 KB a row."""
    small = finished_folder(tmp_path / "small", 1500)
    large = finished_folder(tmp_path / "large", 6000)
    peak_of_audit(small)  # what is imported and compiled once
    assert peak_of_audit(large) - peak_of_audit(small) < 400_000


def test_every_image_of_many_is_looked_at(tmp_path: Path) -> None:
    """They are asked for some at a time, and an attempt's images may fall on both sides of the cut."""
    folder = finished_folder(tmp_path / "out", 2100)
    with closing(sqlite3.connect(folder / STATE_NAME)) as db:
        with db:
            db.execute(
                "INSERT INTO images SELECT 1000, 2, phase, links, dies_at, stem, 'images/second.png',"
                " media_type, width, height, size_bytes, sha256 || 'x', file_time, saved_at"
                " FROM images WHERE attempt = 1000"
            )
        paths = [path for (path,) in db.execute("SELECT path FROM images ORDER BY attempt, number")]
    gone = [paths[number] for number in (0, 998, 999, 1000, 1001, 2100)]
    for path in gone:
        (folder / path).unlink(missing_ok=True)
    assert "images/second.png" in gone
    found = [one.what for one in make_audit(find(folder)).findings if one.kind == "missing"]
    assert found == gone


def test_strays_are_told_in_the_order_of_their_names_whatever_they_are_called(tmp_path: Path) -> None:
    """Also a name that is no text, a link and what stands in folders below; a folder itself is none."""
    folder = done_folder(tmp_path, 1)
    images = folder / "images"
    (images / "deep" / "deeper").mkdir(parents=True)
    names = ("deep/deeper/x", "deep.png", "z.png", "é.png", "\udcff.png", "\uffee.png", "🦊.png")
    for name in names:
        (images / name).write_bytes(b"x")
    (images / "link").symlink_to(images / "deep")
    found = make_audit(find(folder))
    strays = [one.what for one in found.findings if one.kind == "stray"]
    assert strays == sorted(f"images/{name}" for name in (*names, "link"))
    assert found.totals.files == 1 + len(strays)


def test_a_phase_that_there_is_not_is_a_damaged_state(tmp_path: Path) -> None:
    """No question for rows in known phases would find its attempt, and the money would go unexplained."""
    path = folder_with(tmp_path / "out", ("Accepted",))
    with closing(sqlite3.connect(path / STATE_NAME)) as db, db:
        db.execute("UPDATE attempts SET phase = 'paid'")
    with pytest.raises(StateFailed, match="no run writes") as refused:
        audited(path)
    assert "Bring back a good copy" in str(refused.value.hint)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE images SET path = NULL",
        "UPDATE rows SET request = '{}'",
        "UPDATE rows SET request = '{'",
    ],
)
def test_a_saved_image_without_a_name_or_without_a_request_is_a_damaged_state(
    tmp_path: Path, damage: str
) -> None:
    """Its file cannot be looked at, or what was asked for is not known: that is not in order."""
    path = folder_with(tmp_path / "out", ("Accepted", "Ready", "Saved"))
    assert audited(path)[1].findings == ()
    with closing(sqlite3.connect(path / STATE_NAME)) as db, db:
        db.execute(damage)
    with pytest.raises(StateFailed):
        audited(path)


def test_a_row_that_is_paid_twice_is_told_with_all_its_tasks(tmp_path: Path) -> None:
    """In the order of the first payments; a first attempt that failed was paid back, and is none."""
    path = folder_with(
        tmp_path / "out", ("Accepted", "Expired"), ("Accepted", "Failed"), ("Accepted", "Expired")
    )
    with closing(Store(path / STATE_NAME)) as store:
        for row, attempt in ((3, 4), (2, 5), (1, 6)):
            store.apply([intent(row, attempt=attempt, number=2), fact(path, "Accepted", attempt)])
    twice = [one for one in audited(path)[1].findings if one.kind == "duplicate"]
    assert [one.detail for one in twice] == ["paid 2 times (task-1, task-6)", "paid 2 times (task-3, task-4)"]
