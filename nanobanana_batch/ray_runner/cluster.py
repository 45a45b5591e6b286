"""The Ray cluster: reached, looked at, and asked to do things; what Ray says itself stays off the screen."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nanobanana_batch.errors import RunStopped, UsageError
from nanobanana_batch.ray_runner.limiter import Limiter
from nanobanana_batch.sharing.values import Limits

HERE = "here"
"""Instead of an address: a cluster of this machine alone, for the length of the run."""
MOST_DEATHS = 50
"""So many times a shard is given to another worker when its own has died."""
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's own word, whatever it is called: without it nodes have the address of the loopback."""
_CPUS = 1.0
"""That Ray sets aside for a shard."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray's module, connected to a cluster for the length of the block; tasks of ours end with it.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """
    if address == HERE:
        os.environ.setdefault(_CLUSTERS, "0")  # before Ray is read: its processes talk on the loopback only
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(
            "--ray needs Ray.", hint="`pip install 'nanobanana-batch[ray]'` installs it."
        ) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    where: dict[str, Any] = {"address": address}
    if address == HERE:
        where = {"address": "local", "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **where)
    except Exception as error:
        raise UsageError(
            f"There is no Ray cluster at {address} ({type(error).__name__}).",
            hint="Give the address that `ray start --head` has shown, `auto`, or `here` for this machine.",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def places(ray: Any) -> int:
    """How many shards can be at work at the same time."""
    return int(ray.cluster_resources().get("CPU", 0.0) / _CPUS)


def started_limiter(ray: Any, limits: Limits) -> Any:
    """The limiter's process, beside the driver: where only that one dies, it is started again."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    beside = NodeAffinitySchedulingStrategy(node_id=node, soft=True)
    kind = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=beside)(_RayLimiter)
    return kind.remote(limits)


def started_shard(ray: Any, name: str, job: Any, limiter: Any) -> Any:
    """A shard, given to some worker; a worker that dies is replaced, an error of ours is not repeated."""
    from nanobanana_batch.ray_runner.shard import work_on

    task = ray.remote(num_cpus=_CPUS, max_retries=MOST_DEATHS, scheduling_strategy="SPREAD")(work_on)
    return task.options(name=name).remote(job, limiter)


def result_of(ray: Any, task: Any, name: str) -> Any:
    """What a task that is over has returned.

    Raises:
        RunStopped: its workers have died too often.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(task)
    except RayTaskError:
        raise
    except RayError as error:
        raise RunStopped(
            f"{name}: its workers have died again and again ({type(error).__name__}).",
            hint="Run the same command again: it goes on, and nothing is paid twice.",
        ) from error


class _RayLimiter(Limiter):
    """The limiter as an actor, which knows whether it was started again."""

    def __init__(self, limits: Limits) -> None:
        import ray

        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(limits, is_restarted=bool(restarted))
