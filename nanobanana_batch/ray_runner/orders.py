"""What each shard on a cluster is to make, and which orders a cluster cannot take; a plan asks the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.jobs.order import OUTPUTS, Order, open_ordered
from nanobanana_batch.journals.place import place_of
from nanobanana_batch.ray_runner.bringing import check
from nanobanana_batch.ray_runner.fleet import Fleet
from nanobanana_batch.state.shards import Shard


def refuse_impossible(order: Order, fleet: Fleet) -> None:
    """Before a cluster is joined; no place is asked anything yet.

    Raises:
        UsageError: a cluster cannot make that.
    """
    if order.journal is None:
        raise UsageError(
            "--ray needs --journal: a place that all machines reach, and that outlives each of them.",
            hint="--journal s3://BUCKET/NAME, or a shared folder.",
        )
    if order.spool is not None or order.shard is not None or order.callback_route is not None:
        raise UsageError("--ray takes a manifest that is a file, without --shard and --callback-url.")
    if fleet.bring_to is not None:
        check(fleet.bring_to)
    place_of(order.journal, Disk())


def orders_of_shards(order: Order, fleet: Fleet) -> list[Order]:
    """What each shard makes, in its own folder of the order's.

    Raises:
        UsageError: a cluster cannot make that, or the manifest cannot be read.
    """
    refuse_impossible(order, fleet)
    home = order.out or OUTPUTS / open_ordered(order).name
    shards = (Shard(number, fleet.shards) for number in range(1, fleet.shards + 1))
    return [replace(order, shard=shard, out=home / shard.folder_name) for shard in shards]


def as_on_each_node(order: Order) -> Order:
    """With paths that do not depend on where a process was started."""
    assert order.out is not None
    return replace(
        order,
        manifest=order.manifest.absolute(),
        out=order.out.absolute(),
        journal=None if order.journal is None else absolute(order.journal),
        state_dir=order.state_dir and order.state_dir.absolute(),
        allow_outside=tuple(path.absolute() for path in order.allow_outside),
    )


def absolute(place: str) -> str:
    """An address as it is; a folder from the root on."""
    return place if "://" in place else str(Path(place).absolute())
