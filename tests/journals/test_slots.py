"""A journal has one writer at a time, and who comes next knows all that those before it have told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanobanana_batch.errors import RunStopped, StateFailed, Superseded, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.journals.place import Place, SharedFolder, place_of
from nanobanana_batch.journals.slots import Slots
from tests.journals.places import RUN, Memory, writer


def told(slots: Slots) -> bytes:
    return b"".join(slots.lines())


@pytest.fixture(params=["memory", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Memory() if request.param == "memory" else SharedFolder(tmp_path / "shared" / "j", Disk())


def test_who_comes_next_knows_all_that_was_told(place: Place) -> None:
    first = Slots(place, RUN)
    first.take_over()
    first.write(b"one\n")
    first.write(b"two\nthree\n")
    second = Slots(place, RUN)
    second.take_over()
    assert told(second) == b"one\ntwo\nthree\n"
    assert list(second.last_lines()) == [b"three\n", b"two\n", b"one\n"]
    assert second.journal == first.journal


def test_the_writer_of_before_finds_out_before_it_tells_anything(place: Place) -> None:
    first, second = Slots(place, RUN), Slots(place, RUN)
    first.take_over()
    second.take_over()
    with pytest.raises(Superseded, match="taken over"):
        first.write(b"about to pay\n")
    second.write(b"mine\n")
    with pytest.raises(Superseded):
        first.write(b"about to pay\n")
    third = Slots(place, RUN)
    third.take_over()
    assert told(third) == b"mine\n"


@pytest.mark.parametrize("how", ["before", "after"])
def test_what_nobody_knows_to_be_written_is_written_once(how: str) -> None:
    """The answer may be lost after the file was made: the same call again finds its own file."""
    place = Memory()
    slots = writer(place)
    place.fails = lambda: how
    with pytest.raises(RunStopped):
        slots.write(b"one\n")
    place.fails = lambda: ""
    slots.write(b"one\n")
    slots.write(b"two\n")
    assert told(writer(place)) == b"one\ntwo\n"


def test_a_place_where_names_are_given_twice_is_refused() -> None:
    """Two machines would not see each other there."""
    place = Memory()
    place.writes_over = True
    with pytest.raises(UsageError, match="written over"):
        writer(place)


def test_a_journal_of_another_run_is_refused() -> None:
    place = Memory()
    writer(place).write(b"one\n")
    with pytest.raises(UsageError, match="another run's"):
        Slots(place, {"manifest": "dogs"}).take_over()
    assert len(place.files) == 2


def test_a_journal_that_lacks_a_part_is_refused() -> None:
    place = Memory()
    slots = writer(place)
    slots.write(b"one\n")
    slots.write(b"two\n")
    del place.files["00000002.jsonl"]
    with pytest.raises(StateFailed, match="a part of it is missing"):
        writer(place)


@pytest.mark.parametrize("damage", [b"", b'{"slot":2}\nhalf a li', b"no header\nx\n"])
def test_a_part_that_is_damaged_is_refused(damage: bytes) -> None:
    place = Memory()
    slots = writer(place)
    slots.write(b"one\n")
    slots.write(b"two\n")
    place.files["00000002.jsonl"] = damage
    with pytest.raises(StateFailed, match="part 2 cannot be understood"):
        told(writer(place))


def test_what_stands_there_and_is_no_journal_is_left_alone() -> None:
    place = Memory()
    place.files["holiday.png"] = b"x"
    with pytest.raises(UsageError, match="no journal"):
        writer(place)
    assert list(place.files) == ["holiday.png"]


def test_what_is_told_anew_counts_when_all_of_it_is_there() -> None:
    """A kill in the middle leaves what was told before."""
    place = Memory()
    slots = writer(place)
    slots.write(b"old\n")

    def pieces(until: int) -> Iterator[bytes]:
        for number in range(3):
            if number == until:
                raise KeyboardInterrupt
            yield b"new %d\n" % number

    with pytest.raises(KeyboardInterrupt):
        slots.tell_anew(pieces(2))
    again = writer(place)
    assert told(again) == b"old\n"
    again.tell_anew(pieces(9))
    again.write(b"later\n")
    assert told(writer(place)) == b"new 0\nnew 1\nnew 2\nlater\n"


def test_a_file_of_a_shared_folder_is_synced_before_it_has_its_name(tmp_path: Path) -> None:
    """And the name is synced before anybody relies on it."""
    steps: list[str] = []

    class Watched(Disk):
        def sync(self, fd: int) -> None:
            steps.append(f"sync {sorted(os.listdir(tmp_path / 'j'))[-1]}")
            super().sync(fd)

        def sync_folder(self, path: Path) -> None:
            steps.append(f"folder {sorted(os.listdir(path))}")
            super().sync_folder(path)

    slots = Slots(SharedFolder(tmp_path / "j", Watched()), RUN)
    slots.take_over()
    steps.clear()
    slots.write(b"one\n")
    assert steps == ["sync 00000001.jsonl", "folder ['00000001.jsonl', '00000002.jsonl']"]
    assert oct((tmp_path / "j" / "00000002.jsonl").stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize("address", ["", "ftp://there/x", "s3://bucket", "s3://bucket/../x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--journal"):
        place_of(address, Disk())
