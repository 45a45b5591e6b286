"""A folder and its journal: whichever knows more, the other is brought to know it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nanobanana_batch.errors import RunStopped, StateFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder, make
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.payments import PAYMENTS_NAME
from nanobanana_batch.jobs import journaling
from nanobanana_batch.jobs.journaling import joined
from nanobanana_batch.jobs.opening import opened
from nanobanana_batch.jobs.rebuild import rebuild_folder
from nanobanana_batch.jobs.session import notice_lost_files
from nanobanana_batch.journals.place import SharedFolder
from nanobanana_batch.journals.slots import Slots
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from tests.unit.test_state_ledger import accepted, intent, ready, saved, take

RUN = {"manifest": "cats"}


class Machine:
    """One that has a folder of its own, and sees the same journal as the others."""

    def __init__(self, shared: Path, name: str) -> None:
        self.journal = shared / "journal"
        self.out = shared / name / "out"
        self.said: list[str] = []
        self.say: Callable[[str], None] = self.said.append

    def work(self, *batches: Sequence[Fact], address: str | None = "journal", rows: int = 6) -> None:
        """As a run does: one batch of facts a commit, told elsewhere when the folder is left."""
        folder = Folder(self.out, self.out)
        where = str(self.journal) if address == "journal" else address
        make(self.out, Disk())
        with only_writer(self.out):
            far = joined(folder, where, RUN, Disk(), self.say)
            make(self.out / "images", Disk())
            with opened(folder, Disk(), far=far) as store:
                take(store, rows)
                for batch in batches:
                    store.apply(batch)

    def phases(self) -> list[Phase]:
        with open_reader(self.out / "state.sqlite3") as reader:
            return [attempt.phase for attempt in reader.attempts()]

    def lose(self) -> None:
        shutil.rmtree(self.out)


@pytest.fixture
def one(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "one")


@pytest.fixture
def two(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "two")


def unsent(attempt: int) -> facts.NotSent:
    return facts.NotSent(attempt, "held back")


def dies(machine: Machine, *batches: Sequence[Fact], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last facts are on its own disk and told nowhere else."""
    with monkeypatch.context() as patch:
        patch.setattr(journaling, "_LAST_TRIES", 0)
        patch.setattr("nanobanana_batch.jobs.opening.tell_the_rest", lambda far: None)
        machine.work(*batches)


def test_another_machine_goes_on_with_what_was_told(one: Machine, two: Machine) -> None:
    """Its folder is empty; each row that was paid for is known by its key, and a person is told."""
    one.work([intent(1, 1), intent(2, 2)], [accepted(1), ready(1), saved(1), accepted(2)])
    two.work([intent(3, 3)])
    assert two.phases() == [Phase.SAVED, Phase.ACCEPTED, Phase.INTENT]
    assert "knows more than" in two.said[0]
    assert "2 paid requests" in two.said[0]
    with open_reader(two.out / "state.sqlite3") as reader:
        assert [row.id for row in reader.rows()] == [f"id-{n}" for n in range(6)]


def test_a_folder_whose_state_was_made_anew_knows_its_journal(one: Machine, two: Machine) -> None:
    """Else it would go on untold, and who takes over the journal later would pay again."""
    one.work([intent(1, 1)], [accepted(1)])
    (one.out / "state.sqlite3").unlink()
    rebuild_folder(one.out, Disk())
    one.work([intent(2, 2)], [accepted(2)], address=None)
    two.work()
    assert two.phases() == [Phase.ACCEPTED, Phase.ACCEPTED]


def test_no_prompt_and_no_link_is_told(one: Machine) -> None:
    one.work([intent(1, 1)], [accepted(1), ready(1)])
    told = b"".join(path.read_bytes() for path in one.journal.iterdir())
    assert b"secret" not in told
    assert b"key-1" in told


def test_the_machine_that_comes_back_learns_what_was_done_meanwhile(one: Machine, two: Machine) -> None:
    one.work([intent(1, 1)], [accepted(1)])
    two.work([intent(2, 2)], [accepted(2)])
    one.work([intent(3, 3)])
    assert one.phases() == [Phase.ACCEPTED, Phase.ACCEPTED, Phase.INTENT]
    assert (one.out / "state-before-rebuild-1.sqlite3").exists()


def test_what_was_not_told_in_time_is_told_by_the_next_run_here(
    one: Machine, two: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.work([intent(1, 1)])
    dies(one, [accepted(1)], [intent(2, 2)], monkeypatch=monkeypatch)
    one.work()
    two.work()
    assert two.phases() == [Phase.ACCEPTED, Phase.INTENT]


def test_a_telling_of_what_is_missing_that_is_cut_off_can_be_gone_on_with(
    one: Machine, two: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has told by then is whole commits: the same lines twice would be no telling any more."""
    one.work([intent(1, 1)])
    dies(one, [accepted(1), intent(2, 2)], [accepted(2), intent(3, 3)], monkeypatch=monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("nanobanana_batch.journals.slots._PART_BYTES", 1)
        patch.setattr(SharedFolder, "create", cut_off_after(facts_told=1))
        with pytest.raises(RunStopped):
            one.work()
    one.work()
    two.work()
    assert two.phases() == [Phase.ACCEPTED, Phase.ACCEPTED, Phase.INTENT]


def cut_off_after(facts_told: int) -> Callable[[SharedFolder, str, bytes], bool]:
    """A journal's way to write that fails after so many parts that tell something."""
    create, told = SharedFolder.create, 0

    def fails(place: SharedFolder, name: str, data: bytes) -> bool:
        nonlocal told
        if b"\n{" in data and told == facts_told:
            raise RunStopped("the storage is away.")
        told += b"\n{" in data
        return create(place, name, data)

    return fails


def test_what_was_never_told_was_never_sent(
    one: Machine, two: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that went on elsewhere knows of no such request, and one that comes back forgets it."""
    one.work([intent(1, 1)])
    dies(one, [intent(2, 2), unsent(2), intent(3, 3)], monkeypatch=monkeypatch)
    two.work([accepted(1)], [intent(2, 2)])
    one.work()
    assert one.phases() == [Phase.ACCEPTED, Phase.INTENT]


def test_a_paid_request_that_was_never_told_is_no_request_of_this_journal(
    one: Machine, two: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.work([intent(1, 1)])
    dies(one, [intent(2, 2)], [accepted(2)], monkeypatch=monkeypatch)
    two.work([accepted(1)])
    with pytest.raises(StateFailed, match=r"of which payments\.jsonl does not tell"):
        one.work()


def test_a_task_that_only_the_old_machine_knew_is_taken_over_from_it(
    one: Machine, two: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken over between its request and the answer: the other one could only hold it as unknown."""
    one.work([intent(1, 1)])
    dies(one, [accepted(1)], monkeypatch=monkeypatch)
    two.work([facts.Unanswered(1, "lost")])
    one.work()
    assert one.phases() == [Phase.ACCEPTED]
    two.work()
    assert two.phases() == [Phase.ACCEPTED]


def test_a_folder_remembers_its_journal(one: Machine, two: Machine) -> None:
    """No run leaves it out: what it paid for would be paid for again where the journal is gone on with."""
    one.work([intent(1, 1)])
    one.work([accepted(1)], address=None)
    two.work()
    assert two.phases() == [Phase.ACCEPTED]


def test_a_folder_with_another_journal_is_refused(one: Machine, two: Machine, tmp_path: Path) -> None:
    one.work([intent(1, 1)])
    two.journal = tmp_path / "other"
    two.work([intent(2, 2)])
    with pytest.raises(UsageError, match="is another journal"):
        one.work(address=str(two.journal))


def test_a_folder_may_get_a_new_journal_and_is_told_wholly_there(one: Machine, two: Machine) -> None:
    """By a person's word, where there is nothing yet; also one that had none."""
    one.work([intent(1, 1)], [accepted(1)], address=None)
    assert not one.journal.exists()
    one.work([intent(2, 2)])
    new = one.journal.with_name("new")
    one.work(address=str(new))
    assert "left behind" in one.said[-1]
    two.work(address=str(new))
    assert two.phases() == [Phase.ACCEPTED, Phase.INTENT]


def test_a_journal_moved_with_its_folder_is_still_the_same(one: Machine) -> None:
    one.work([intent(1, 1)])
    moved = one.journal.rename(one.journal.with_name("moved"))
    one.work([accepted(1)], address=str(moved))
    one.work(address=None)
    assert one.phases() == [Phase.ACCEPTED]
    assert one.said == []


def test_a_state_that_is_lost_is_made_of_the_journal(one: Machine) -> None:
    one.work([intent(1, 1)], [accepted(1)])
    for path in one.out.glob("state.sqlite3*"):
        path.unlink()
    one.work([intent(2, 2)])
    assert one.phases() == [Phase.ACCEPTED, Phase.INTENT]


def test_images_that_are_on_another_machine_are_fetched_again(one: Machine, two: Machine) -> None:
    """All of them gone at once is no accident there, and is said to be one only later."""
    one.work([intent(1, 1), intent(2, 2)], [accepted(1), ready(1), saved(1), accepted(2), ready(2), saved(2)])
    two.work()
    folder = Folder(two.out, two.out)
    with only_writer(two.out), opened(folder, Disk()) as store:
        notice_lost_files(store, two.out)
        assert len(list(store.open_attempts(Phase.ACCEPTED))) == 2


def test_what_cannot_be_told_at_the_end_is_an_error(one: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another machine would go on without it."""
    monkeypatch.setattr(journaling, "_PAUSE_S", 0.0)

    def fails(place: SharedFolder, name: str, data: bytes) -> bool:
        if b'"fact"' in data:
            raise RunStopped("the storage is away.")
        return create(place, name, data)

    create = SharedFolder.create
    monkeypatch.setattr(SharedFolder, "create", fails)
    with pytest.raises(RunStopped, match="is not told in the journal: the storage is away"):
        one.work([intent(1, 1)])
    monkeypatch.undo()
    one.work()
    assert one.phases() == [Phase.INTENT]


def test_a_telling_with_a_gap_is_refused(one: Machine, two: Machine) -> None:
    """A part that was changed does not follow from those before it."""
    one.work([intent(1, 1)], [accepted(1)])
    part = sorted(one.journal.iterdir())[-1]
    lines = [line for line in part.read_bytes().splitlines(keepends=True) if b'"Accepted"' not in line]
    part.unlink()
    part.write_bytes(b"".join(lines))
    with pytest.raises(StateFailed, match="does not follow"):
        two.work()
    assert not (two.out / "state.sqlite3").exists()


def test_each_is_the_writer_in_its_turn(one: Machine, two: Machine) -> None:
    for machine in (one, two, one, two):
        machine.work()
    heads = [json.loads(path.read_bytes().splitlines()[0]) for path in sorted(one.journal.iterdir())]
    assert len({head["writer"] for head in heads}) == 4
    slots = Slots(SharedFolder(one.journal, Disk()), RUN)
    slots.take_over()
    assert list(slots.lines()) == []
    assert (one.out / PAYMENTS_NAME).exists() is False


@pytest.mark.parametrize(("hanging", "told"), [("names", "Nothing is sent"), ("create", "All else is done")])
def test_a_place_that_hangs_is_told_with_how_to_end_that(
    one: Machine, monkeypatch: pytest.MonkeyPatch, hanging: str, told: str
) -> None:
    """The kernel holds the call, and this process hears no signal: it goes on where a person was told."""
    is_told = threading.Event()
    does = getattr(SharedFolder, hanging)

    def hang(*words: object) -> object:
        if told != "All else is done" or any(b"Intent" in word for word in words if isinstance(word, bytes)):
            assert is_told.wait(10.0), "nobody says what is waited for"
        return does(*words)

    def say(text: str) -> None:
        one.said.append(text)
        if told in text:
            is_told.set()

    monkeypatch.setattr(journaling, "_SLOW_S", 0.05)
    monkeypatch.setattr(SharedFolder, hanging, hang)
    one.say = say
    one.work([intent(1, 1)])
    (line,) = [line for line in one.said if told in line]
    assert f"The journal at {one.journal} does not answer" in line
    assert f"`kill -9 {os.getpid()}`" in line
