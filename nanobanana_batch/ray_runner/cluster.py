"""The Ray cluster: reached, looked at, and asked to do things; what Ray says itself stays off the screen."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nanobanana_batch.errors import UsageError
from nanobanana_batch.ray_runner.limiter import Limiter
from nanobanana_batch.ray_runner.values import Assignment, Ended, Refused
from nanobanana_batch.sharing.values import Limits

HERE = "here"
"""Instead of an address: a cluster of this machine alone, for the length of the run."""
MOST_DEATHS = 50
"""So many times a shard is given to another worker when its own has died."""
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's own word, whatever it is called: without it nodes have the address of the loopback."""
_CPUS = 1.0
"""That Ray sets aside for a shard."""
_CANNOT_LOAD = (
    "failed to import on the worker",
    "ModuleNotFoundError",
    "ImportError",
    "AttributeError: Can't",
)
_AGAIN = "Run the same command again: it goes on, and nothing is paid twice."


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
        if "ersion mismatch" in str(error):
            raise UsageError(
                f"The Ray cluster at {address} has another version of Ray or of Python than this machine: Ray"
                f" {ray.__version__}, Python {platform.python_version()}.",
                hint="All nodes and the machine of this command need the same ones.",
            ) from error
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


def living(ray: Any) -> frozenset[str]:
    """The names of all nodes that are not known to have died."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


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


def result_of(ray: Any, task: Any, job: Assignment) -> Ended:
    """What a task that is over has returned; what has kept it from that ends this shard alone."""
    from ray.exceptions import RayError, RayTaskError

    assert job.order.out is not None
    try:
        ended: Ended = ray.get(task)
        return ended
    except RayTaskError as error:
        refused = _failed(error)
    except RayError as error:
        dead = f"Its workers have died again and again ({type(error).__name__})."
        refused = Refused("RunStopped", dead, _AGAIN)
    return Ended(job.number, job.order.out, refused=refused)


def _failed(error: Exception) -> Refused:
    """Where a node cannot even load what it is to do, it is not installed there, or another version is."""
    where = f"the one at {ip}" if (ip := getattr(error, "ip", "")) else "which one is not told"
    if any(sign in str(error) for sign in _CANNOT_LOAD):
        return Refused(
            "UsageError",
            f"A node ({where}) cannot load what it is to do; it has sent nothing.",
            "Install the same nanobanana-batch, with its extras, on all nodes.",
        )
    kind = type(getattr(error, "cause", None) or error).__name__
    why = f"A node ({where}) has failed in an unforeseen way, {kind}; Ray's log of its workers tells more."
    return Refused("RunStopped", why, _AGAIN)


class _RayLimiter(Limiter):
    """The limiter as an actor, which knows whether it was started again."""

    def __init__(self, limits: Limits) -> None:
        import ray

        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(limits, is_restarted=bool(restarted))
