"""What is told of payments beside a state: another state can be made of it, and an older one is found out."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.payments import PAYMENTS_NAME, Payments, last_told, lines
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, Request, TaskMade, row_key
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.rebuild import LINKS, rebuild
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

STATE = "state.sqlite3"
PRIVATE = "a cat in a secret place"
NOT_TOLD = ("body", "fingerprint", "links", "request_id")


class Folder:
    """An output folder with its state and its witness."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.state = path / STATE

    def work(self, *batches: Sequence[Fact], prompts: int = 6) -> None:
        """Open it, take a manifest, write facts in so many commits, and close it."""
        with Payments(self.path, Disk()) as payments:
            store = Store(self.state, payments)
            try:
                take(store, prompts)
                for batch in batches:
                    store.apply(batch)
            finally:
                store.close()

    def attempts(self) -> list[dict[str, object]]:
        """What the state says of each, but what is told nowhere, with its row's key and name.

        And then of each request, and of each image.
        """
        with closing(sqlite3.connect(self.state)) as db:
            db.row_factory = sqlite3.Row
            found = [dict(row) for query in _ALL for row in db.execute(query)]
        return [{k: v for k, v in row.items() if k not in (*NOT_TOLD, "row")} for row in found]

    def told(self) -> list[dict[str, object]]:
        """All facts."""
        return [entry for line in lines(self.path) if "fact" in (entry := json.loads(line))]


_ALL = (
    "SELECT attempts.*, row_key, stem, rows.attempt AS latest FROM attempts JOIN rows USING (row) ORDER BY 1",
    "SELECT * FROM requests ORDER BY request",
    "SELECT * FROM images ORDER BY attempt, number",
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "out")


def take(store: Store, prompts: int) -> None:
    problems = ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(
            (Draft("t", Request("m", f"{PRIVATE} {n}"), f"id-{n}") for n in range(prompts)), problems
        )
        store.take_manifest(Taken(roster, "test", ()))


def key_of(row: int) -> str:
    """Of the n-th row (1-based)."""
    return row_key(Request("m", f"{PRIVATE} {row - 1}"), 1)


def intent(row: int, attempt: int, number: int = 1) -> facts.Intent:
    return facts.Intent(
        *(
            row,
            attempt,
            number,
            f"id-{row - 1}",
            "p@host",
            "me",
            PRIVATE.encode(),
            "f" * 64,
            f"key-{attempt}",
        ),
        *(1.0 + attempt, 4.0),
        row_key=key_of(row),
        model="m",
    )


def accepted(attempt: int) -> facts.Accepted:
    return facts.Accepted(attempt, TaskMade(f"task-{attempt}", "req", 4.0, 20.0), 30.0 + attempt)


def ready(attempt: int) -> facts.Ready:
    return facts.Ready(attempt, ("https://secret.example/1",), 99.0, 3.0, 40.0)


def saved(attempt: int) -> facts.Saved:
    image = Image(f"images/id-{attempt}.png", "image/png", 8, 6, 12, "a" * 64, 55.25)
    return facts.Saved(attempt, image, 50.0)


ALL: tuple[tuple[Fact, ...], ...] = (
    (intent(1, 1), intent(2, 2)),
    (accepted(1), facts.Unanswered(2, "cut")),
    (ready(1), intent(3, 3), facts.SentAgain(2, 60.0)),
    (saved(1), facts.NotSent(3, "refused"), facts.Unanswered(2, "cut again")),
    (intent(3, 4, 2), accepted(4), facts.Failed(4, "service_error", "no", True, False, 61.0)),
    (intent(3, 5, 3), accepted(5), facts.Expired(5, "gone", 62.0)),
    (intent(3, 6, 4), accepted(6), facts.Failed(6, "content_filter", "no", False, True, 63.0)),
    (intent(4, 7), facts.Rejected(7, "invalid", "no", False, "r", 64.0)),
    (intent(5, 8), accepted(8), ready(8), saved(8), facts.Lost(8)),
    (intent(6, 9), facts.Unanswered(9, "x"), facts.GivenUp(9, 65.0)),
    (intent(4, 10, 2), facts.Unanswered(10, "x"), facts.Rested(10, 66.0), facts.Moved(10, "q", "you")),
    (ready(5), saved(5)),
)
"""Of each kind, and an image that came after its row was paid for once more."""


def test_a_state_that_is_made_of_what_was_told_knows_the_same(folder: Folder, tmp_path: Path) -> None:
    """All of each attempt but what is private."""
    folder.work(*ALL)
    made = Folder(tmp_path / "made")
    rebuild(made.state, lines(folder.path), None)
    assert made.attempts() == folder.attempts()


def test_what_is_told_anew_from_a_state_makes_the_same_state(folder: Folder, tmp_path: Path) -> None:
    """Where the file was lost it comes back with the next run; when a task expired before is not known."""
    folder.work(*ALL)
    (folder.path / PAYMENTS_NAME).unlink()
    folder.work()
    made = Folder(tmp_path / "made")
    rebuild(made.state, lines(folder.path), None)
    found, known = made.attempts(), folder.attempts()
    assert found[4].pop("ended_at") != known[4].pop("ended_at")
    assert found == known


def saved_one(attempt: int, number: int, *, is_last: bool) -> facts.Saved:
    """One image of several."""
    return replace(saved(attempt), number=number, is_last=is_last)


def job(row: int, attempt: int, number: int = 1) -> facts.Intent:
    return replace(intent(row, attempt, number), kind="job", name=key_of(row))


def joined(row: int, attempt: int, request: int, number: int = 1) -> facts.Joined:
    return facts.Joined(row, attempt, request, number, f"id-{row - 1}", key_of(row), key_of(row), "m")


TWO = replace(
    ready(1), links=("https://secret.example/1", "https://secret.example/2"), images=2, stems=("b",)
)
IN_FILE = replace(TWO, links=(), dies_at=0.0, credits_used=None)
SEVERAL: dict[str, tuple[Fact, ...]] = {
    "one of two images": (intent(1, 1), accepted(1), TWO, saved_one(1, 2, is_last=False)),
    "both, and one is lost": (
        *(intent(1, 1), accepted(1), TWO),
        *(saved_one(1, 2, is_last=False), saved_one(1, 1, is_last=True), facts.Lost(1, 2)),
    ),
    "one is lost, one was never there": (
        *(intent(1, 1), accepted(1), TWO, saved_one(1, 1, is_last=False), facts.Lost(1, 1)),
    ),
    "one, and the other has expired": (
        *(intent(1, 1), accepted(1), TWO, saved_one(1, 1, is_last=False), facts.Expired(1, "", 70.0)),
    ),
    "a reply": (
        *(replace(intent(1, 1), kind="direct"), facts.Answered(1, "answers/a", 2.0, 40.0)),
        *(replace(IN_FILE, at=40.0, credits_used=2.0), saved_one(1, 1, is_last=False)),
    ),
    "a job that has failed, its rows paid for once more": (
        *(job(1, 1), joined(2, 2, 1), accepted(1)),
        *(facts.Failed(1, "busy", "no", True, False, 61.0), facts.Failed(2, "busy", "no", True, False, 61.0)),
        *(job(1, 3, 2), joined(2, 4, 3, 2)),
    ),
    "a job that has failed for some of its rows": (
        *(job(1, 1), joined(2, 2, 1), joined(3, 3, 1), accepted(1)),
        *(facts.Answered(1, "answers/a", 2.0, 40.0), facts.Failed(1, "no_result", "", False, False, 61.0)),
        *(replace(IN_FILE, attempt=2, at=40.0, credits_used=2.0), saved_one(2, 1, is_last=False)),
        *(saved_one(2, 2, is_last=True), facts.Failed(3, "refused", "no", False, True, 61.0)),
    ),
    "a job that nobody answers": (
        *(job(1, 1), joined(2, 2, 1), facts.Unanswered(1, "x"), facts.GivenUp(2, 9.0)),
    ),
}


@pytest.mark.parametrize("is_anew", [False, True])
@pytest.mark.parametrize("what", SEVERAL)
def test_several_images_and_rows_of_a_request_are_told(
    folder: Folder, tmp_path: Path, what: str, *, is_anew: bool
) -> None:
    """As they became known, and anew from a state."""
    folder.work(*((fact,) for fact in SEVERAL[what]))
    if is_anew:
        (folder.path / PAYMENTS_NAME).unlink()
        folder.work()
    made = Folder(tmp_path / "made")
    rebuild(made.state, lines(folder.path), folder.state)
    assert made.attempts() == folder.attempts()


def test_links_of_the_old_state_are_found_without_looking_through_it(folder: Folder, tmp_path: Path) -> None:
    """Once for each image: else a state of 20,000 rows takes minutes, and a large one for ever."""
    folder.work((intent(1, 1), accepted(1), TWO))
    made = Folder(tmp_path / "made")
    rebuild(made.state, lines(folder.path), folder.state)
    links = "SELECT links FROM images ORDER BY number"
    with closing(sqlite3.connect(made.state)) as db:
        assert [json.loads(found) for (found,) in db.execute(links)] == [[link] for link in TWO.links]
        db.execute("ATTACH ? AS old", (str(folder.state),))
        plan = [str(step[3]) for step in db.execute(f"EXPLAIN QUERY PLAN {LINKS}")]
    assert [step for step in plan if "SCAN" in step or "AUTOMATIC" in step] == ["SCAN images"]
    (of_job,) = [step for step in plan if step.startswith("SEARCH share ")]
    assert "(row=? AND number=?)" in of_job  # and not all rows of a job for each of them


def test_no_prompt_and_no_link_is_told(folder: Folder) -> None:
    """The file may be shown to others, as the log may."""
    folder.work(*ALL)
    text = (folder.path / PAYMENTS_NAME).read_text()
    assert PRIVATE not in text
    assert "https://" not in text


def test_each_moment_of_the_past_is_found_out(folder: Folder, tmp_path: Path) -> None:
    """A state that has not come past the last fact that was told would ask, or pay, once more."""
    copies = []
    for number, batch in enumerate(ALL):
        folder.work(batch)
        copies.append(tmp_path / f"copy-{number}")
        shutil.copy(folder.state, copies[-1])
    for copy in copies[:-1]:
        shutil.copy(copy, folder.state)
        with pytest.raises(StateFailed, match=r"lacks the last \d+"):
            folder.work()
        with (
            pytest.raises(StateFailed, match=r"lacks the last \d+"),
            open_reader(folder.state, last_told(folder.path)),
        ):
            pass
    shutil.copy(copies[-1], folder.state)
    folder.work()


def test_a_state_with_another_past_is_found_out_although_it_is_longer(folder: Folder, tmp_path: Path) -> None:
    """A copy that went on elsewhere does not know what was paid here."""
    folder.work((intent(1, 1), accepted(1)))
    other = Folder(tmp_path / "other")
    shutil.copy(folder.state, other.state)
    shutil.copy(folder.path / PAYMENTS_NAME, other.path / PAYMENTS_NAME)
    folder.work((intent(2, 2),))
    other.work((intent(3, 2), intent(4, 3), intent(5, 4)), (intent(6, 5),))
    shutil.copy(other.state, folder.state)
    with pytest.raises(StateFailed, match="does not know these"):
        folder.work()


@pytest.mark.parametrize("at", range(6))
def test_a_kill_between_the_state_and_what_is_told_is_made_good(
    folder: Folder, tmp_path: Path, at: int
) -> None:
    """The state is first; what was not told, or in half, is told by the next run."""
    left = [at]

    class Cut(Payments):
        def append(self, text: bytes) -> None:
            if text and not left[0]:
                super().append(text[: len(text) // 2])
                raise KeyboardInterrupt
            left[0] -= bool(text)
            super().append(text)

    batches = ([intent(1, 1), intent(2, 2)], [accepted(1)], [ready(1)], [saved(1)], [accepted(2)], [ready(2)])

    def work(store: Store) -> None:
        for batch in batches:
            store.apply(batch)

    with Cut(folder.path, Disk()) as payments:
        store = Store(folder.state, payments)
        take(store, 6)
        with pytest.raises(KeyboardInterrupt):
            work(store)
        store.close()
    folder.work((intent(3, 3),))
    made = Folder(tmp_path / "made")
    rebuild(made.state, lines(folder.path), None)
    names = ("task_id", "credits_used", "sha256")
    known = [[one.get(name) for name in names] for one in folder.attempts()]
    assert [[one.get(name) for name in names] for one in made.attempts()] == known


def test_half_a_line_is_no_line(folder: Folder) -> None:
    """Power loss may leave one; the next begins where it began."""
    folder.work((intent(1, 1),))
    with (folder.path / PAYMENTS_NAME).open("ab") as file:
        file.write(b'{"fact":"Intent","attempt":2,"numb')
    folder.work((accepted(1),))
    assert [entry["fact"] for entry in folder.told()] == ["Intent", "Accepted"]


@pytest.mark.parametrize("change", ["missing", "changed", "no JSON", "another order"])
def test_a_damaged_telling_makes_no_state(folder: Folder, tmp_path: Path, change: str) -> None:
    """A state that does not know a payment would pay again."""
    folder.work((intent(1, 1),), (intent(2, 2),), (intent(3, 3),))
    told = list(lines(folder.path))
    if change == "missing":
        del told[2]
    if change == "changed":
        told[2] = told[2].replace(b"key-2", b"key-9")
    if change == "no JSON":
        told[2] = b"{nonsense}\n"
    if change == "another order":
        told[0], told[2] = told[2], told[0]
    with pytest.raises(StateFailed, match=r"payments\.jsonl is damaged"):
        rebuild(tmp_path / "new", told, None)


_WITH_LINKS = """
SELECT attempts.phase, body, links IS NOT NULL FROM attempts JOIN requests USING (request)
LEFT JOIN images USING (attempt) ORDER BY attempt
"""


def test_rows_of_the_old_state_are_taken_over(folder: Folder, tmp_path: Path) -> None:
    """With them the bodies and links of what it knew: nothing else has them."""
    folder.work((intent(1, 1), accepted(1), ready(1)))
    old = tmp_path / "old"
    shutil.copy(folder.state, old)
    folder.work((intent(2, 2),))
    new = Folder(tmp_path / "new")
    rebuild(new.state, lines(folder.path), old)
    with closing(sqlite3.connect(new.state)) as db:
        found = db.execute(_WITH_LINKS).fetchall()
        rows = db.execute("SELECT count(*) FROM rows WHERE position IS NOT NULL").fetchone()
    assert found == [("ready", PRIVATE.encode(), 1), ("intent", b"", 0)]
    assert rows == (6,)


def test_rows_of_which_only_the_key_is_left_are_found_by_the_manifest(folder: Folder, tmp_path: Path) -> None:
    """Until then no manifest asks for them."""
    folder.work((intent(1, 1), accepted(1)))
    shutil.copytree(folder.path, tmp_path / "kept")
    folder.state.unlink()
    rebuild(folder.state, lines(folder.path), None)
    with open_reader(folder.state, last_told(folder.path)) as reader:
        assert list(reader.rows()) == []
    folder.work()
    with open_reader(folder.state, last_told(folder.path)) as reader:
        assert [row.task_id for row in reader.rows()] == ["task-1", *[None] * 5]
        assert next(iter(reader.rows())).request.prompt == f"{PRIVATE} 0"


def test_a_backup_of_hard_links_is_left_as_it_is(folder: Folder, tmp_path: Path) -> None:
    """What is told from now on is told in a file of its own."""
    folder.work((intent(1, 1),))
    backup = tmp_path / "backup"
    backup.hardlink_to(folder.path / PAYMENTS_NAME)
    before = backup.read_bytes()
    folder.work((intent(2, 2),))
    assert backup.read_bytes() == before
    assert [entry["attempt"] for entry in folder.told()] == [1, 2]


def test_the_end_is_found_behind_what_is_no_line_of_ours(folder: Folder) -> None:
    """However long it is."""
    folder.work((intent(1, 1),))
    before = last_told(folder.path)
    with (folder.path / PAYMENTS_NAME).open("ab") as file:
        file.write(b"x" * 300_000 + b"\n" + b"y\n" * 100_000)
    assert before is not None
    assert last_told(folder.path) == before


def test_lines_of_another_folder_replace_no_state(folder: Folder, tmp_path: Path) -> None:
    """What the state knows would be paid for again."""
    folder.work((intent(1, 1), accepted(1)), (intent(2, 2),))
    other = Folder(tmp_path / "other")
    other.work((facts.Intent(3, 1, 1, "z", "p", "me", b"", "", "other", 1.0, row_key="r1-z", model="m"),))
    with pytest.raises(StateFailed, match="does not tell: one of the two"):
        rebuild(tmp_path / "new", lines(other.path), folder.state)


def test_twins_are_told(folder: Folder, tmp_path: Path) -> None:
    """Or what was made for one would be taken for another's."""
    base = key_of(1)
    folder.work((replace(intent(1, 1), base_key=base),))
    rebuild(tmp_path / "new", lines(folder.path), None)
    with closing(sqlite3.connect(tmp_path / "new")) as db:
        assert db.execute("SELECT row_key, base_key FROM twins").fetchall() == [(base, base)]


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob("*.part"))
