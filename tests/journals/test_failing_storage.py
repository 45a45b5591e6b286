"""Object storage that fails, answers late or not at all, or keeps no promise, by a server on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.errors import RunStopped, Superseded, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.journals import place
from nanobanana_batch.journals.journal import FarJournal
from nanobanana_batch.journals.place import place_of
from nanobanana_batch.journals.slots import Slots
from nanobanana_batch.object_storage import Storage
from nanobanana_batch.ray_runner.bringing import bring, fetch_back
from tests.journals.places import RUN
from tests.journals.storage import Asked, FarStorage, far_storage
from tests.process.harness import bench, small_manifest

pytestmark = pytest.mark.filterwarnings("ignore")
Fate = Callable[[Asked], str]


@pytest.fixture(params=["s3", "gs"])
def scheme(request: pytest.FixtureRequest) -> str:
    pytest.importorskip("s3fs" if request.param == "s3" else "gcsfs")
    return str(request.param)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[FarStorage]:
    with far_storage(monkeypatch) as found:
        yield found


def slots(scheme: str) -> Slots:
    return Slots(place_of(f"{scheme}://bucket/journals/cats", Disk()), RUN, lambda seconds: None)


def writer(scheme: str) -> Slots:
    made = slots(scheme)
    made.take_over()
    return made


def told(scheme: str) -> bytes:
    return b"".join(writer(scheme).lines())


def once(how: str, *, of: str = "") -> Fate:
    """What becomes of the first request whose name ends so."""
    left = [how]
    return lambda asked: left.pop() if left and asked.name.endswith(of) else ""


def test_the_writer_of_before_finds_out(storage: FarStorage, scheme: str) -> None:
    """Also where the storage says no more than that a condition did not hold, as most do."""
    first = writer(scheme)
    first.write(b"one\n")
    second = writer(scheme)
    with pytest.raises(Superseded):
        first.write(b"about to pay\n")
    second.write(b"two\n")
    assert told(scheme) == b"one\ntwo\n"


@pytest.mark.parametrize("how", ["no answer", "lost", "slow down"])
def test_one_failure_is_seen_to_at_once_and_nothing_is_written_twice(
    storage: FarStorage, scheme: str, how: str
) -> None:
    """`no answer`: it was written, and only reading it back tells."""
    it = writer(scheme)
    storage.fate = once(how, of="00000003.jsonl")
    it.write(b"one\n")
    it.write(b"two\n")
    assert told(scheme) == b"one\ntwo\n"


@pytest.mark.parametrize("how", ["lost", "slow down", "denied", "expired"])
def test_a_storage_that_goes_on_failing_is_told_soon(storage: FarStorage, how: str) -> None:
    """Its library alone would try for the better part of a minute, and a person would hear nothing."""
    it = FarJournal(writer("s3"))
    storage.fate = lambda asked: how
    before = storage.creations()
    it.append(b"one\n")
    with pytest.raises(RunStopped, match=r"could not take 00000002\.jsonl"):
        it.write()
    assert it.kept < it.told, "who waits for it does not send"
    assert storage.creations() - before <= 4
    storage.fate = lambda asked: ""
    it.write()
    assert (it.kept, told("s3")) == (it.told, b"one\n")


def test_a_refusal_in_the_night_is_told_as_one(storage: FarStorage, scheme: str) -> None:
    """Keys that were good until then: it is not over, and nothing says that nothing was sent."""
    it = writer(scheme)
    storage.fate = lambda asked: "denied"
    with pytest.raises(RunStopped, match="access is denied") as found:
        it.write(b"one\n")
    assert "nothing was sent" not in str(found.value)


def test_a_refusal_at_the_start_is_a_matter_of_keys(storage: FarStorage, scheme: str) -> None:
    storage.fate = lambda asked: "denied"
    with pytest.raises(UsageError, match=r"access is denied; nothing was sent"):
        writer(scheme)


def test_a_storage_that_does_not_answer_is_not_waited_for_long(
    storage: FarStorage, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library would wait for minutes. What was on its way meanwhile is found by the next try."""
    _answers_within(monkeypatch, 0.3)
    it = writer(scheme)
    storage.fate = lambda asked: "silence"
    with pytest.raises(RunStopped, match=r"does not answer|ReadTimeoutError"):
        it.write(b"one\n")
    storage.fate = lambda asked: ""
    it.write(b"one\n")
    assert told(scheme) == b"one\n"


def _answers_within(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    settings: dict[str, Any] = {
        "s3": {"config_kwargs": {**place.JOURNALS.settings["s3"]["config_kwargs"], "read_timeout": seconds}},
        "gs": {**place.JOURNALS.settings["gs"], "requests_timeout": seconds},
    }
    assert place.JOURNALS.settings["gs"]["requests_timeout"] == 15
    monkeypatch.setattr(place, "JOURNALS", dataclasses.replace(place.JOURNALS, settings=settings))


@pytest.mark.parametrize("first", [True, False], ids=["the first", "a later one"])
def test_a_beginning_has_patience(storage: FarStorage, first: bool) -> None:
    """Sixty machines that begin together are told to slow down just then."""
    if not first:
        writer("s3").write(b"one\n")
    left = ["slow down"] * 9
    storage.fate = lambda asked: left.pop() if left else ""
    it = writer("s3")
    it.tell_on(iter([b"two\n"]))
    assert not left
    assert told("s3") == b"one\n" * (not first) + b"two\n"


def test_a_new_journal_whose_first_answer_was_lost_is_still_a_new_one(storage: FarStorage) -> None:
    """Else it would be taken for another folder's, and refused for ever."""
    storage.fate = once("no answer", of="00000001.jsonl")
    assert writer("s3").before is None
    assert writer("s3").before is not None


def test_a_storage_that_takes_no_notice_of_conditions_is_refused(storage: FarStorage, scheme: str) -> None:
    """Two machines could not see each other there."""
    storage.is_blind = True
    with pytest.raises(UsageError, match=r"written over.*pay twice"):
        writer(scheme)


def test_a_storage_that_knows_no_conditions_is_refused(storage: FarStorage) -> None:
    storage.fate = lambda asked: "not implemented" if asked.creates else ""
    with pytest.raises(UsageError, match=r"written over.*pay twice"):
        writer("s3")


def test_a_large_file_is_fetched_back_in_pieces(
    storage: FarStorage, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never all of it in memory; one that is shorter than was said takes no name."""
    folder = tmp_path / "shard-1-of-2"
    (folder / "images").mkdir(parents=True)
    (folder / "images/a.png").write_bytes(bytes(range(256)) * 40_000)
    (folder / "state.sqlite3").write_bytes(b"state")
    bring(folder, f"{scheme}://bucket/far", Disk())
    other = tmp_path / "other" / folder.name
    largest = _pieces_written(monkeypatch)
    assert fetch_back(other, f"{scheme}://bucket/far", Disk()) == 2
    assert (other / "images/a.png").read_bytes() == (folder / "images/a.png").read_bytes()
    assert len(largest) == 4
    (other / "state.sqlite3").unlink()
    assert fetch_back(other, f"{scheme}://bucket/far", Disk()) == 1, "the image is there already"


def _pieces_written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    write = Disk.write

    def watched(disk: Disk, fd: int, data: bytes | memoryview) -> None:
        sizes.append(len(data))
        write(disk, fd, data)

    monkeypatch.setattr(Disk, "write", watched)
    return sizes


def test_half_a_file_is_not_taken_for_one(
    storage: FarStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has fewer bytes than were listed."""
    storage.objects |= {"far/shard-1-of-2/state.sqlite3": b"state" * 1000}
    monkeypatch.setattr(Storage, "sizes", lambda far: {"state.sqlite3": 5001})
    other = tmp_path / "shard-1-of-2"
    with pytest.raises(RunStopped, match=r"could not give state\.sqlite3"):
        fetch_back(other, "s3://bucket/far", Disk())
    assert not (other / "state.sqlite3").exists()


def test_keys_that_expire_in_the_night_stop_the_run_and_cost_nothing_twice(
    storage: FarStorage, tmp_path: Path
) -> None:
    """The whole program: no row is paid for whose intent is not there, a person is told, and it goes on."""
    manifest = small_manifest(tmp_path, 12)
    with bench(tmp_path, manifest, latency_s=0.3, idempotency="ignored") as it:
        storage.fate = lambda asked: "expired" if _told(storage, "Accepted") >= 3 else ""
        words = ("--journal", "s3://bucket/j/night", "--concurrency", "2", "--max-outage", "2s")
        stopped = it.finish(*words)
        assert stopped.returncode == 3, stopped.stderr
        assert "The journal cannot be written" in stopped.stderr
        assert "access is denied" in stopped.stderr
        assert 3 <= len(it.tasks_paid()) <= _told(storage, "Intent") < 12
        storage.fate = lambda asked: ""
        done = it.finish(*words)
        assert done.returncode == 0, done.stderr
        assert len(it.tasks_paid()) == sum(it.bodies_paid().values()) == 12
        assert max(it.bodies_paid().values()) == 1
        assert _told(storage, "Intent") >= 12


def _told(storage: FarStorage, fact: str) -> int:
    return b"".join(list(storage.objects.values())).count(f'"fact":"{fact}"'.encode())
