"""The parts of a run on a cluster, without one."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from unittest.mock import MagicMock

import pytest

from nanobanana_batch.api.making import plan, run
from nanobanana_batch.api.orders import settings_of
from nanobanana_batch.engine.signals import Signals
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import FolderInUse, RunStopped, StateFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.jobs.procs.counts import counts_of
from nanobanana_batch.ray_runner import cluster
from nanobanana_batch.ray_runner import shard as shards
from nanobanana_batch.ray_runner.bringing import bring, fetch_back
from nanobanana_batch.ray_runner.driver import _Driver, assigned
from nanobanana_batch.ray_runner.driver import run as make_afar
from nanobanana_batch.ray_runner.fleet import Fleet
from nanobanana_batch.ray_runner.limiter import Limiter
from nanobanana_batch.ray_runner.shard import work_on
from nanobanana_batch.ray_runner.together import together
from nanobanana_batch.ray_runner.values import Assignment, Ended, Look, Refused
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
    jobs, key = assigned(order, settings_of({}), None, Fleet("here", 2))
    assert key == KEY
    assert len(jobs) == 2
    assert KEY.encode() not in pickle.dumps(jobs)
    assert [str(job.order.out) for job in jobs] == [str(tmp_path / "out" / f"shard-{n}-of-2") for n in (1, 2)]


def test_without_a_journal_nothing_is_begun(order: Order) -> None:
    """A shard may be begun elsewhere while its worker is still at work, cut off: the journal parts them."""
    with pytest.raises(UsageError, match="--ray needs --journal"):
        assigned(replace(order, journal=None), settings_of({}), None, Fleet("here", 2))
    with pytest.raises(UsageError, match="--ray needs --journal"):
        plan(order.manifest, out=order.out, ray="here", shards=2)


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


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"files": {"manifest": "another"}}, "is not what it is where the command was given"),
        ({"files": {"gone": "a"}}, "cannot be read"),
        ({"program": "another"}, "another nanobanana-batch"),
    ],
)
def test_a_machine_that_is_not_as_the_driver_s_sends_nothing(
    order: Order, tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    """It would make other rows, or none; it is told what differs, and where."""
    (tmp_path / "manifest").write_text("a cat")
    if "files" in changed:
        changed = {"files": {str(tmp_path / name): sha for name, sha in changed["files"].items()}}
    jobs, _ = assigned(order, settings_of({}), None, Fleet("here", 2))
    ended = work_on(replace(jobs[0], **changed), None)
    assert ended.refused is not None
    assert ended.refused.kind == "UsageError"
    assert told in ended.refused.message
    assert "this shard has sent nothing" in ended.refused.message
    assert not ended.folder.exists()


def test_a_wrong_row_is_told_before_any_cluster_is_joined(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one far behind those that opening a manifest looks at; and nothing is left behind."""
    rows = ["prompt,resolution", *[f"cat {n},1K" for n in range(3000)], "a cat,9K"]
    order.manifest.write_text("\n".join(rows))
    wrong = replace(order, defaults={"model": "gemini-3.1-flash-image-preview"}, columns={})
    monkeypatch.setattr(cluster, "connected", _nobody)
    with pytest.raises(UsageError, match="9K"):
        make_afar(wrong, settings_of({}), Tally(), None, Signals(), Fleet("here", 2))
    assert not order.out or not order.out.exists()


def _nobody(address: str) -> Any:
    raise AssertionError(f"{address} was joined")


def test_what_keeps_a_node_from_its_shard_ends_that_shard_alone(order: Order) -> None:
    """Others go on; where the program is missing there, that is said."""
    ray_errors = pytest.importorskip("ray.exceptions")
    jobs, _ = assigned(order, settings_of({}), None, Fleet("here", 2))

    class Ray:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def get(self, task: object) -> object:
            raise self.error

    lacking = ray_errors.RayTaskError("work_on", "ModuleNotFoundError: nanobanana_batch", RuntimeError("x"))
    missing = cluster.result_of(Ray(lacking), None, jobs[0])
    assert missing.refused is not None
    assert missing.refused.kind == "UsageError"
    assert "Install the same nanobanana-batch" in missing.refused.hint
    dead = cluster.result_of(Ray(ray_errors.WorkerCrashedError()), None, jobs[1])
    assert dead.refused is not None
    assert (dead.number, dead.refused.kind) == (2, "RunStopped")


def test_what_a_shard_has_cost_is_known_also_where_its_last_grant_was_not_seen(tmp_path: Path) -> None:
    """The one who shares limits may die between that grant and the next look at it."""
    told: list[float] = []
    driver = _Driver(None, _Deaf(told), "", Tally())
    driver._committed[1] = 10.0
    driver._note(Ended(1, tmp_path, _outcome(tmp_path, used=30.0, reserved=6.0)))
    driver._limiter_was = "first"
    driver._hear(Look("second", leases={}, has_key=True))
    assert told == [36.0]


@pytest.mark.parametrize(
    ("brought_to", "told"), [(None, "fetches its images again, for 24 hours"), ("s3://b/x", "at s3://b/x.")]
)
def test_where_folders_are_elsewhere_it_is_told_where_and_for_how_long(
    tmp_path: Path, brought_to: str | None, told: str
) -> None:
    said: list[str] = []
    with pytest.raises(RunStopped):
        together(
            tmp_path,
            {1: Ended(1, tmp_path / "elsewhere", refused=Refused("RunStopped", "It is over.", ""))},
            interrupted=False,
            say=said.append,
            brought_to=brought_to,
        )
    assert told in said[0]


@dataclass
class _Nodes:
    """A cluster of which one node is alive; each shard ends as soon as it is waited for, where it is told."""

    ended_on: list[str]
    begun: int = 0
    exceptions: ClassVar = SimpleNamespace(RayError=ValueError)

    def wait(self, tasks: list[object], **how: object) -> tuple[list[object], list[object]]:
        return tasks, []

    def get(self, *words: object, **how: object) -> None:
        """What the limiter knows is of no use here."""

    def nodes(self) -> list[dict[str, object]]:
        return [{"NodeID": "alive", "Alive": True}, {"NodeID": "dead", "Alive": False}]


@pytest.mark.parametrize(
    ("bring_to", "is_seen", "begun"), [(None, False, 2), ("far", False, 1), (None, True, 1)]
)
def test_a_shard_that_ended_on_a_node_that_died_is_begun_again_for_its_images(
    order: Order, monkeypatch: pytest.MonkeyPatch, bring_to: str | None, is_seen: bool, begun: int
) -> None:
    """Else all would be said to be completed, and nobody would fetch them while their links live."""
    jobs, _ = assigned(order, settings_of({}), None, Fleet("here", 1, bring_to))
    ray, told = _Nodes(["dead", "alive"]), list[str]()
    folder = cast("Path", jobs[0].order.out)
    if is_seen:
        folder.mkdir(parents=True)

    def start(ray: _Nodes, name: str, job: object, limiter: object) -> object:
        ray.begun += 1
        return object()

    def end(ray: _Nodes, task: object, job: Assignment) -> Ended:
        outcome = _outcome(folder, used=6.0, reserved=0.0)
        return Ended(job.number, folder, outcome, node=ray.ended_on[ray.begun - 1])

    monkeypatch.setattr(cluster, "started_shard", start)
    monkeypatch.setattr(cluster, "result_of", end)
    monkeypatch.setattr(cluster, "places", lambda ray: 1)
    driver = _Driver(ray, MagicMock(), "", Tally(announce=told.append))
    monkeypatch.setattr(driver, "_hear", lambda look: None)
    driver.start(jobs)
    assert driver.wait(lambda: False) is False
    assert ray.begun == begun
    assert any("is gone, with its images" in line for line in told) == (begun == 2)


class _Deaf:
    """A limiter that notes what it is told of shards that have ended."""

    def __init__(self, told: list[float]) -> None:
        self.ended = self
        self._told = told

    def remote(self, number: int, counts: object, committed: float) -> None:
        self._told.append(committed)


def _outcome(folder: Path, *, used: float, reserved: float) -> Outcome:
    values = {field.name: None for field in fields(Outcome)}
    said = {"folder": folder, "counts": {}, "rows": 1, "credits_used": used, "credits_reserved": reserved}
    return Outcome(**{**values, **said, "stop_reason": ""})  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_what_a_machine_with_another_clock_tells_is_shown_by_ours(ahead_s: float) -> None:
    """Else a shard that stands still would show its last image as of just now, for an hour."""
    theirs = Tally(now=lambda: 1000.0 + ahead_s)
    theirs.last_image_at = 900.0 + ahead_s
    theirs.trouble("The journal cannot be written.", "journal", gives_up_in_s=60.0)
    it = Limiter(Limits(1, 10), is_restarted=False, now=Clock(), wall=lambda: 1000.0)
    it.exchange(Report(1, "process").as_json(), counts_of(theirs), [])
    shown = it.look().counts[1]
    assert shown["last_image_at"] == 900.0
    assert (shown["holds"][0]["since"], shown["holds"][0]["gives_up"]) == (1000.0, 1060.0)


@pytest.mark.parametrize("fails", [False, True], ids=["ended well", "ended badly"])
def test_a_folder_that_cannot_be_brought_is_told_with_where_it_is(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """And never instead of why the shard itself has ended."""
    (tmp_path / "far").write_text("a file where a folder should be")
    jobs, _ = assigned(order, settings_of({}), None, Fleet("here", 1, str(tmp_path / "far")))
    monkeypatch.setattr(shards, "_take_key", lambda job, limiter: None)
    monkeypatch.setattr(shards, "fetch_back", lambda *words: 0)
    monkeypatch.setattr("nanobanana_batch.jobs.run.run", partial(_made, fails))
    ended = work_on(jobs[0], None)
    assert ended.refused is not None
    if fails:
        assert ended.refused.message == "The state is damaged."
    else:
        assert f"It is at {ended.folder} on the machine" in ended.refused.message


def _made(fails: bool, order: Order, *words: object) -> None:
    assert order.out is not None
    order.out.mkdir(parents=True)
    (order.out / "run.log").write_text("x")
    if fails:
        raise StateFailed("The state is damaged.")


class _Hurried:
    """A cluster that is interrupted whenever it is asked for something."""

    def wait(self, *tasks: object, **how: object) -> None:
        """As by Ctrl-C while the driver waits."""
        raise KeyboardInterrupt

    @property
    def stop(self) -> Any:
        """As by a second one, while the first is being told."""
        raise KeyboardInterrupt


def test_a_second_interrupt_while_the_first_is_told_says_what_is_on_its_way() -> None:
    """Whenever it comes, nobody is left with nothing but the word that it was interrupted."""
    said: list[str] = []
    tally = Tally()
    tally.announce = said.append
    driver = _Driver(_Hurried(), _Hurried(), "", tally)
    driver._waiting = {object(): cast("Any", None)}
    with pytest.raises(KeyboardInterrupt):
        driver.wait(lambda: False)
    assert "On their way were" in said[-1]
