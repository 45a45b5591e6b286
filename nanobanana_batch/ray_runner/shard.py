"""What a worker does: one shard, in its own folder, from where it stands to its end."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import FolderInUse, KeyProblem, NanobananaError, RunStopped, UsageError
from nanobanana_batch.files.contents import sha256_of
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.program import program
from nanobanana_batch.ray_runner.bringing import bring, fetch_back
from nanobanana_batch.ray_runner.link import RayLink
from nanobanana_batch.ray_runner.values import Assignment, Ended, Refused
from nanobanana_batch.wording import shown

if TYPE_CHECKING:
    from nanobanana_batch.jobs.outcome import Outcome

_LAST_ONE_DIES_S = 60.0
"""A process that worked on the shard and whose driver has died is ended by Ray a little later."""
_KEY_S = 60.0
_LOOK_S = 0.5
_SAID_KEPT = 200


def work_on(job: Assignment, limiter: Any) -> Ended:
    """Make a shard; whatever it ends with is told as a value, so that Ray repeats only what has died."""
    assert job.order.out is not None
    said: deque[str] = deque(maxlen=_SAID_KEPT)
    tally = Tally(announce=said.append)
    try:
        _refuse_another_machine(job)
        _take_key(job, limiter)
        link = RayLink(job.number, limiter, tally, said)
        outcome = _as_soon_as_it_is_free(lambda: _made(job, tally, link))
        return Ended(job.number, job.order.out, outcome, node=_node())
    except NanobananaError as error:
        refused = Refused(type(error).__name__, error.message, error.hint)
        return Ended(job.number, job.order.out, refused=refused)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def _made(job: Assignment, tally: Tally, link: RayLink) -> Outcome:
    from nanobanana_batch.jobs.run import run

    assert job.order.out is not None
    disk = Disk()
    if job.bring_to is not None:
        fetch_back(job.order.out, job.bring_to, disk)
    order = replace(job.order, connection=replace(job.order.connection, key_file=None))
    try:
        outcome = run(order, job.settings, tally, job.pilot, None, link)
    except BaseException:
        with suppress(NanobananaError):  # why it has ended is what a person has to know
            _bring(job, disk)
        raise
    _bring(job, disk)
    return outcome


def _bring(job: Assignment, disk: Disk) -> None:
    folder = job.order.out
    if job.bring_to is None or folder is None or not folder.is_dir():
        return
    try:
        bring(folder, job.bring_to, disk)
    except NanobananaError as error:
        raise RunStopped(
            f"Its folder was not brought to {job.bring_to}: {error.message} It is at {folder} on the machine"
            f" {shown(platform.node())}.",
            hint="See to it, then run the same command again.",
        ) from error


def _refuse_another_machine(job: Assignment) -> None:
    """Rows are made here as they were checked where the driver is.

    Raises:
        UsageError: here is another program, or other files are.
    """
    here = f"on the machine {shown(platform.node())}"
    if job.program and job.program != program():
        raise UsageError(
            f"There is another nanobanana-batch (or Python, or PyYAML) {here} than where the command was"
            " given; this shard has sent nothing.",
            hint="Install the same on all nodes, then run the same command again.",
        )
    for path, sha256 in job.files.items():
        if (found := sha256_of(Path(path))) != sha256:
            what = "is not what it is where the command was given" if found else "cannot be read"
            raise UsageError(
                f"{path} {what}, {here}; this shard has sent nothing.",
                hint="Put the manifest, and all that it names, at the same path on all nodes, or on a shared"
                " disk, then run the same command again.",
            )


def _as_soon_as_it_is_free(make: Callable[[], Outcome]) -> Outcome:
    until = time.monotonic() + _LAST_ONE_DIES_S
    while True:
        try:
            return make()
        except FolderInUse:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_S)


def _take_key(job: Assignment, limiter: Any) -> None:
    """The limiter has it of the driver; it is put where a run looks for it, in this process alone."""
    import ray

    if not job.key_variable:
        return
    until = time.monotonic() + _KEY_S
    while time.monotonic() < until:
        try:
            if key := ray.get(limiter.key.remote(), timeout=_LOOK_S * 10):
                os.environ[job.key_variable] = key
                return
        except (ray.exceptions.RayError, TimeoutError):
            pass
        time.sleep(_LOOK_S)
    raise KeyProblem("The driver has not handed out the key.")
