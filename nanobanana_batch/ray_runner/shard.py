"""What a worker does: one shard, in its own folder, from where it stands to its end."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import FolderInUse, KeyProblem, NanobananaError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.ray_runner.bringing import bring, fetch_back
from nanobanana_batch.ray_runner.link import RayLink
from nanobanana_batch.ray_runner.values import Assignment, Ended, Refused

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
        _take_key(job, limiter)
        link = RayLink(job.number, limiter, tally, said)
        outcome = _as_soon_as_it_is_free(lambda: _made(job, tally, link))
        return Ended(job.number, job.order.out, outcome)
    except NanobananaError as error:
        refused = Refused(type(error).__name__, error.message, error.hint)
        return Ended(job.number, job.order.out, refused=refused)


def _made(job: Assignment, tally: Tally, link: RayLink) -> Outcome:
    from nanobanana_batch.jobs.run import run

    assert job.order.out is not None
    disk = Disk()
    if job.bring_to is not None:
        fetch_back(job.order.out, job.bring_to, disk)
    order = replace(job.order, connection=replace(job.order.connection, key_file=None))
    try:
        return run(order, job.settings, tally, job.pilot, None, link)
    finally:
        if job.bring_to is not None and job.order.out.is_dir():
            bring(job.order.out, job.bring_to, disk)


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
