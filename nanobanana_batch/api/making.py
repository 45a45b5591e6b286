"""Plan, run, retry and audit: what the commands of these names do, for a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from nanobanana_batch import defaults
from nanobanana_batch.api.driving import drive, drive_async
from nanobanana_batch.api.options import AnyPath, AuditOptions, RetryOptions, RunOptions
from nanobanana_batch.api.orders import (
    connection_of,
    fleet_of,
    given,
    hooks_of,
    ordered,
    settings_of,
    terms_of,
)
from nanobanana_batch.api.values import count, one_of
from nanobanana_batch.errors import UsageError

if TYPE_CHECKING:
    from nanobanana_batch.api.rows import Manifest
    from nanobanana_batch.api.watching import Progress
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.audit import Audit
    from nanobanana_batch.jobs.order import Order
    from nanobanana_batch.jobs.outcome import Outcome
    from nanobanana_batch.jobs.plan import Plan
    from nanobanana_batch.ray_runner.fleet import Fleet


def plan(
    manifest: Manifest,
    *,
    out: AnyPath | None = None,
    name: str | None = None,
    provider: str = defaults.PROVIDER,
    pilot: int | None = None,
    limit: int | None = None,
    rows: int | None = None,
    out_csv: AnyPath | None = None,
    **options: Unpack[RunOptions],
) -> Plan:
    """Say what a run of the manifest would do, and what it would cost; send nothing. No key is needed.

    `manifest`: a file; a list of dicts, or of prompts; or a `pandas.DataFrame`. `out`: the output folder
    [outputs/<name of the manifest>]; `name` names it for rows that come from no file. `pilot`: of a run of so
    many rows that show every value of every factor; `limit`: of one of the first rows. `rows`: how many rows
    are in the plan [10, or all of such a part]. `out_csv`: write all rows into this table. Options are those
    of a run.

    Raises:
        ManifestError: the manifest has problems, all of them listed.
        UsageError: a run would refuse it, or an option cannot be so.
        StateFailed: the output folder's state is gone or damaged.
        DiskFailed: the table cannot be written.
        TypeError: there is no option of that name.
    """
    from nanobanana_batch.jobs.plan import make_plan

    said = given(options, RunOptions, "plan")
    fleet, terms = fleet_of(said, None), terms_of(said)
    pilot = None if pilot is None else count("pilot", pilot)
    limit = None if limit is None else count("limit", limit)
    first = (pilot or limit or defaults.PLANNED_ROWS) if rows is None else count("rows", rows, least=0)
    table = None if out_csv is None else Path(out_csv)
    with ordered(manifest, name, out, provider, said) as order:
        if fleet is not None:
            from nanobanana_batch.ray_runner.orders import refuse_impossible

            refuse_impossible(order, fleet)
        return make_plan(order, first, terms, table, pilot, limit)


def plan_shards(
    manifest: Manifest,
    procs: int | None = None,
    *,
    out: AnyPath | None = None,
    provider: str = defaults.PROVIDER,
    pilot: int | None = None,
    limit: int | None = None,
    rows: int = 0,
    **options: Unpack[RunOptions],
) -> tuple[Plan, ...]:
    """What a run in so many processes, or on a cluster (`ray`), would do: the plan of each shard.

    Of a cluster it reads the folders that are on this machine.

    Raises:
        ManifestError, UsageError, StateFailed, TypeError: as `plan`.
    """
    from nanobanana_batch.jobs.plan import make_plan

    said = given(options, RunOptions, "plan_shards")
    fleet, settings, terms = fleet_of(said, procs), settings_of(said), terms_of(said)
    with ordered(manifest, None, out, provider, said) as order:
        orders = _orders_of_shards(order, settings, procs, fleet)
        return tuple(make_plan(each, rows, terms, None, pilot, limit) for each in orders)


def run(
    manifest: Manifest,
    *,
    out: AnyPath | None = None,
    name: str | None = None,
    provider: str = defaults.PROVIDER,
    progress: Progress = True,
    pilot: int | None = None,
    limit: int | None = None,
    procs: int | None = None,
    **options: Unpack[RunOptions],
) -> Outcome:
    """Make what the manifest asks for and is not made yet; call it again to go on: nothing is paid for twice.

    `manifest`, `out`, `name`: as for `plan`. `provider`: a built-in one (evolink, foxapi, unified, local,
    local-unified), or a profile file. `progress`: True shows it on standard error, in a notebook as a bar;
    False only logs what is announced (logger `nanobanana_batch`); a function is called with a `Live`, in a
    thread of its own, at most once a second. `pilot`: only so many rows that show every value of every
    factor; `limit`: only the first rows. `procs`: in so many processes, each with a folder of its own in
    `out`; limits are those of all together [one, this one].

    Not all rows completed is no error: see `Outcome.counts`, `stop_reason` and `failures`.

    Ctrl-C (and, in the main thread, SIGTERM and SIGHUP) ends sending and collects what is paid for; a second
    one stops at once.

    Raises:
        ManifestError: the manifest has problems, all of them listed; nothing was sent.
        UsageError: something else is wrong with what was asked for; nothing was sent. See its subclasses.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for; the same call goes on later.
        ServiceFailed: the embedded service did not start, or went away.
        Interrupted: a person has interrupted it, and what was paid for is collected.
        TypeError: there is no option of that name.
    """
    said = given(options, RunOptions, "run")
    settings, hooks = _settings(said, pilot, limit), hooks_of(said)
    with ordered(manifest, name, out, provider, said) as order:
        return drive(_job(order, settings, pilot, procs, said), progress, hooks)


async def run_async(
    manifest: Manifest,
    *,
    out: AnyPath | None = None,
    name: str | None = None,
    provider: str = defaults.PROVIDER,
    progress: Progress = True,
    pilot: int | None = None,
    limit: int | None = None,
    procs: int | None = None,
    **options: Unpack[RunOptions],
) -> Outcome:
    """As `run`, for a program with an event loop (asyncio or trio), which goes on meanwhile.

    To cancel it ends sending; it returns when what is paid for is collected. In asyncio a second cancellation
    stops at once.

    Raises:
        UsageError, FolderInUse, RunStopped, ServiceFailed, TypeError: as `run`.
    """
    said = given(options, RunOptions, "run_async")
    settings, hooks = _settings(said, pilot, limit), hooks_of(said)
    with ordered(manifest, name, out, provider, said) as order:
        return await drive_async(_job(order, settings, pilot, procs, said), progress, hooks)


def retry(
    folder: AnyPath,
    only: Literal["failed", "refused", "unknown", "expired", "running"],
    *,
    rows: Sequence[str] | None = None,
    provider: str = "",
    progress: Progress = True,
    **options: Unpack[RetryOptions],
) -> Outcome:
    """Pay again for rows of an output folder that ended in one way; they go to the provider of its last run.

    `only`: which; `running` are those whose image never comes: they are looked for once more, given up, and
    may have been paid. `rows`: only those with these ids, at least one [all of them]. `provider`: another
    one, or its profile file again.

    Raises:
        UsageError: there is no such folder or row, no key, or an option cannot be so; nothing was sent.
        FolderInUse, RunStopped, ServiceFailed, Interrupted, TypeError: as `run`.
    """
    from nanobanana_batch.jobs import retry as job

    said = given(options, RetryOptions, "retry")
    which = job.Retry(one_of("only", only, list(job.Retry)))
    settings, hooks, now = settings_of(said), hooks_of(said), connection_of(provider, said)
    ids, path, as_copy = _ids(rows), Path(folder), "as_copy" in said

    def work(tally: Tally, interrupts: Interrupts) -> Outcome:
        return job.retry(path, which, now, settings, tally, ids, as_copy=as_copy, interrupts=interrupts)

    return drive(work, progress, hooks)


def audit(
    folder: AnyPath,
    *,
    repair: bool = False,
    provider: str = "",
    progress: Progress = True,
    **options: Unpack[AuditOptions],
) -> Audit:
    """Check that all that was sent, paid and saved is explained; also while a run is going on.

    `repair`: first fetch what is paid for and can still be had, as `retry` reaches its provider.

    Raises:
        UsageError: there is no such folder, or no key to repair it with.
        StateFailed: the folder's state is gone or damaged.
        FolderInUse, RunStopped, ServiceFailed, Interrupted, TypeError: as `run`, only with `repair`.
    """
    from nanobanana_batch.files.folder import find
    from nanobanana_batch.jobs.audit import make_audit, repair_folder

    said = given(options, AuditOptions, "audit")
    now, path, as_copy = connection_of(provider, said), Path(folder), "as_copy" in said
    if repair:

        def work(tally: Tally, interrupts: Interrupts) -> Outcome:
            return repair_folder(path, now, tally, as_copy=as_copy, interrupts=interrupts)

        drive(work, progress)
    return make_audit(find(path), now)


def _orders_of_shards(
    order: Order, settings: Settings, procs: int | None, fleet: Fleet | None
) -> list[Order]:
    from nanobanana_batch.jobs.procs.run import orders_of_shards
    from nanobanana_batch.ray_runner.orders import orders_of_shards as on_cluster

    if fleet is not None:
        return on_cluster(order, fleet)
    return orders_of_shards(order, settings, count("procs", procs))


def _job(
    order: Order, settings: Settings, pilot: int | None, procs: int | None, said: Mapping[str, Any]
) -> Callable[[Tally, Interrupts], Outcome]:
    """What a run does: in this process, in several, or on a cluster."""
    from nanobanana_batch.jobs.run import run as make

    if (fleet := fleet_of(said, procs)) is not None:
        from nanobanana_batch.ray_runner.driver import run as make_afar

        return lambda tally, interrupts: make_afar(order, settings, tally, pilot, interrupts, fleet)
    if procs is None:
        return lambda tally, interrupts: make(order, settings, tally, pilot, interrupts)
    from nanobanana_batch.jobs.procs.run import run_in_processes

    several = count("procs", procs)
    return lambda tally, interrupts: run_in_processes(order, settings, tally, several, pilot, interrupts)


def _ids(rows: Sequence[str] | None) -> tuple[str, ...]:
    """Of which rows; a list that chooses none of them would else mean all, and pay for them."""
    ids = (rows,) if isinstance(rows, str) else () if rows is None else tuple(rows)
    if rows is not None and not ids:
        raise UsageError("rows: it has no id in it; nothing was sent.", hint="Leave it out for all of them.")
    for id in ids:
        if not isinstance(id, str):
            raise UsageError(f"rows: {id!r} is no id: an id is a text.")
    return ids


def _settings(options: dict[str, Any], pilot: int | None, limit: int | None) -> Settings:
    """Checked before the manifest is read: what is wrong with the call is said at once."""
    from nanobanana_batch.state.scope import Scope

    if limit is not None and pilot is not None:
        raise UsageError("limit and pilot: give one of them.")
    if pilot is not None:
        count("pilot", pilot)
    scope = Scope(before=None if limit is None else count("limit", limit))
    return replace(settings_of(options), scope=scope)
