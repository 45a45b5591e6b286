"""The parts of a run on a cluster, without one."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.api.making import run
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import FolderInUse, RunStopped, StateFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.procs.counts import counts_of
from nanobanana_batch.ray_runner.bringing import bring, fetch_back
from nanobanana_batch.ray_runner.driver import assigned
from nanobanana_batch.ray_runner.fleet import Fleet
from nanobanana_batch.ray_runner.limiter import Limiter
from nanobanana_batch.ray_runner.together import together
from nanobanana_batch.ray_runner.values import Ended, Refused
from nanobanana_batch.sharing.values import Grant, Limits, Report
from tests.exports.test_object_storage import s3, server
from tests.process.harness import KEY, small_manifest

__all__ = ["s3", "server"]

CALM = counts_of(Tally())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def limiter(clock: Clock, *, is_restarted: bool = False, **limits: Any) -> Limiter:
    return Limiter(Limits(2, 10, **limits), is_restarted=is_restarted, now=clock)


def asked(to: Limiter, shard: int, **report: Any) -> Grant:
    told = Report(shard, f"process-{shard}", wanted=10, rows_left=100, **report)
    return Grant.from_json(to.exchange(told.as_json(), CALM, ["hello"]))


def test_a_limiter_that_was_started_again_grants_nothing_new_before_it_has_heard_all() -> None:
    """Another shard may have been granted what it does not know of yet."""
    clock = Clock()
    again = limiter(clock, is_restarted=True)
    held = asked(again, 1, concurrency=6, in_flight=6)
    assert (held.may_send, held.concurrency) == (False, 6)
    assert not asked(again, 2, concurrency=4, in_flight=4).may_send
    clock.now = 20.0  # so long a shard that cannot reach it goes on with what it was granted
    assert not asked(again, 1, concurrency=6, in_flight=6).may_send
    clock.now = 22.0
    grants = [asked(again, 1, concurrency=6, in_flight=6), asked(again, 2, concurrency=4, in_flight=4)]
    assert all(grant.may_send for grant in grants)
    assert sum(grant.concurrency for grant in grants) <= 10


def test_what_a_shard_has_cost_that_has_ended_counts_for_the_next_limiter() -> None:
    """It does not tell that any more: the driver does."""
    clock = Clock()
    again = limiter(clock, is_restarted=True, max_credits=100.0, waits_for_all=True)
    clock.now = 22.0
    assert not asked(again, 1, could_use=50.0, next_price=10.0).may_send
    again.ended(2, CALM, 80.0)
    granted = asked(again, 1, could_use=50.0, next_price=10.0)
    assert granted.may_send
    assert granted.credits == 20.0


def test_what_shards_say_is_handed_on_once() -> None:
    clock = Clock()
    it = limiter(clock)
    asked(it, 1)
    asked(it, 2)
    assert it.look().said == ((1, "hello"), (2, "hello"))
    assert it.look().said == ()


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    manifest = small_manifest(tmp_path, 3)
    return Order(manifest, tmp_path / "out", Connection("evolink"), journal=str(tmp_path / "journal"))


def test_no_task_has_the_key_in_it(order: Order, tmp_path: Path) -> None:
    """Ray shows what tasks are called with, and may write it down."""
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    order = replace(order, connection=Connection("evolink", key_file=key_file))
    from nanobanana_batch.api.orders import settings_of

    jobs, key = assigned(order, settings_of({}), None, Fleet("here", 2))
    assert key == KEY
    assert len(jobs) == 2
    assert KEY.encode() not in pickle.dumps(jobs)
    assert [str(job.order.out) for job in jobs] == [str(tmp_path / "out" / f"shard-{n}-of-2") for n in (1, 2)]


def test_without_a_journal_nothing_is_begun(order: Order) -> None:
    """A shard may be begun elsewhere while its worker is still at work, cut off: the journal parts them."""
    from nanobanana_batch.api.orders import settings_of

    with pytest.raises(UsageError, match="--ray needs --journal"):
        assigned(replace(order, journal=None), settings_of({}), None, Fleet("here", 2))


@pytest.mark.parametrize(
    "options",
    [{"shards": 2}, {"bring_to": "x"}, {"ray": "here"}, {"ray": "here", "shards": 2, "procs": 2}],
)
def test_half_an_order_is_refused(order: Order, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--ray"):
        run(order.manifest, out=order.out, progress=False, **options)


def test_a_folder_is_brought_whole_and_fetched_back_where_there_is_none(tmp_path: Path) -> None:
    """The state comes last, and nothing is fetched over a state that is there."""
    folder, far = tmp_path / "shard-1-of-2", tmp_path / "far"
    for name in ("images/a.png", "state.sqlite3", "run.log", ".run.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    assert bring(folder, str(far), Disk()) == 3
    assert bring(folder, str(far), Disk()) == 0
    (folder / "state.sqlite3").write_text("newer")
    assert fetch_back(folder, str(far), Disk()) == 0
    assert bring(folder, str(far), Disk()) == 1
    other = tmp_path / "other" / folder.name
    assert fetch_back(other, str(far), Disk()) == 3
    assert (other / "state.sqlite3").read_text() == "newer"
    assert not (other / ".run.lock").exists()


@pytest.mark.parametrize(
    ("kind", "raised"),
    [("ManifestError", UsageError), ("StateFailed", RunStopped), ("FolderInUse", FolderInUse)],
)
def test_an_error_of_a_shard_is_the_run_s(tmp_path: Path, kind: str, raised: type[Exception]) -> None:
    """With the exit code that it has there, and what may have cost something first."""
    ended = {
        1: Ended(1, tmp_path, refused=Refused("UsageError", "no such thing", "")),
        2: Ended(2, tmp_path, refused=Refused(kind, "it is so", "Do that.")),
    }
    ended = ended if kind != "ManifestError" else {2: ended[2]}
    with pytest.raises(raised, match=r"shard 2.*it is so"):
        together(tmp_path, ended, interrupted=False, say=lambda text: None)
    assert StateFailed.exit_code == RunStopped.exit_code


@pytest.mark.filterwarnings("ignore")
def test_a_folder_is_brought_to_object_storage_and_back(s3: Any, tmp_path: Path) -> None:
    """An image that is there is not sent twice; what a stranger has put there is not written here."""
    folder = tmp_path / "shard-1-of-2"
    for name in ("images/a.png", "state.sqlite3"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    assert bring(folder, "s3://bucket/far", Disk()) == 2
    assert bring(folder, "s3://bucket/far", Disk()) == 1
    other = tmp_path / "other" / folder.name
    assert fetch_back(other, "s3://bucket/far", Disk()) == 2
    assert (other / "images/a.png").read_text() == "images/a.png"
    s3.put_object(Bucket="bucket", Key=f"far/{folder.name}/.bashrc", Body=b"x")
    with pytest.raises(UsageError, match="no run has put there"):
        fetch_back(tmp_path / "third" / folder.name, "s3://bucket/far", Disk())
