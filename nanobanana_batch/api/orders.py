"""What a caller says, as the jobs take it: an order, settings, terms. Checked, so that no job has to."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobanana_batch import defaults
from nanobanana_batch.api.options import RunOptions
from nanobanana_batch.api.rows import given_manifest
from nanobanana_batch.api.values import count, flag, known_names, one_of, positive, seconds
from nanobanana_batch.errors import UsageError

if TYPE_CHECKING:
    from nanobanana_batch.api.options import AnyPath
    from nanobanana_batch.api.rows import Given, Manifest
    from nanobanana_batch.engine.limits.outcomes import MaxFailures
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.jobs.connection import Connection
    from nanobanana_batch.jobs.order import Order
    from nanobanana_batch.jobs.plan import PlannedRequest, PlannedRow, Terms
    from nanobanana_batch.live.hooks import Hooks
    from nanobanana_batch.state.shards import Shard


_OF_A_RUN_ALONE = frozenset(
    {"submit_concurrency", "max_failures", "max_outage", "on_daily_quota", "stuck_after", "on_unknown"}
)
_FLAGS = frozenset({"debug", "allow_unknown_model", "risk_network_filesystem", "as_copy"})


def given(options: Mapping[str, Any], kind: type, function: str) -> dict[str, Any]:
    """Those of the options that say something, and not None or False; the names of all of them are checked.

    Raises:
        TypeError: a name is no option.
        UsageError: what is true or false is something else.
    """
    known_names(options, kind.__annotations__, function)
    said = {name: flag(name, value) if name in _FLAGS else value for name, value in options.items()}
    return {name: value for name, value in said.items() if value is not None and value is not False}


def find_row(
    manifest: Manifest, id: str, out: AnyPath | None, provider: str, options: Mapping[str, Any]
) -> PlannedRow:
    """The row with this id, in full.

    Raises:
        UsageError: there is none, or a run would refuse the order.
    """
    from nanobanana_batch.jobs import plan

    said = given(options, RunOptions, "find_row")
    with ordered(manifest, None, out, provider, said) as order:
        return plan.find_row(order, id, terms_of(said))


def find_request(
    manifest: Manifest, id: str, out: AnyPath | None, provider: str, options: Mapping[str, Any]
) -> PlannedRequest:
    """The request that a run would send for the row with this id.

    Raises:
        UsageError: there is no such row, or a run would refuse the order.
    """
    from nanobanana_batch.jobs import plan

    said = given(options, RunOptions, "find_request")
    with ordered(manifest, None, out, provider, said) as order:
        return plan.find_request(order, id)


def connection_of(provider: str, options: Mapping[str, Any]) -> Connection:
    """Which provider, and how it is reached."""
    from nanobanana_batch.jobs.connection import Connection

    key_file = options.get("key_file")
    return Connection(
        str(provider),
        options.get("base_url"),
        None if key_file is None else Path(key_file),
        "debug" in options,
    )


@contextmanager
def ordered(
    manifest: Manifest, name: str | None, out: AnyPath | None, provider: str, options: Mapping[str, Any]
) -> Iterator[Order]:
    """The order for a manifest of any kind, which can be read for the length of the block.

    Raises:
        UsageError: it is no manifest, nothing says where the output belongs, or as `order_of`.
    """
    with given_manifest(manifest, name, has_place=out is not None) as found:
        yield order_of(found, out, provider, options)


def order_of(manifest: Given, out: Any, provider: str, options: Mapping[str, Any]) -> Order:
    """What is to be made, from what, and where.

    Raises:
        UsageError: an address for callbacks is malformed, or a default has no text.
    """
    from nanobanana_batch.jobs.order import Order
    from nanobanana_batch.jobs.session import make_callback_route

    state_dir = options.get("state_dir")
    return Order(
        manifest=manifest.path,
        out=None if out is None else Path(out),
        connection=connection_of(provider, options),
        defaults=_texts(options.get("defaults", {})),
        columns=dict(options.get("columns", {})),
        id=options.get("id", ""),
        skip=_several(options.get("skip", ())),
        variables=_several(options.get("variables", ())),
        allow_unknown_model="allow_unknown_model" in options,
        state_dir=None if state_dir is None else Path(state_dir),
        risk_network_filesystem="risk_network_filesystem" in options,
        callback_route=make_callback_route(options.get("callback_url"), options.get("callback_listen")),
        format=manifest.kind or options.get("format"),
        spool=manifest.spool,
        called=manifest.called,
        allow_outside=tuple(map(Path, _several(options.get("allow_outside", ())))),
        as_copy="as_copy" in options,
        shard=_shard(options.get("shard")),
    )


def _shard(text: str | None) -> Shard | None:
    from nanobanana_batch.state.shards import read_shard

    try:
        return None if text is None else read_shard(str(text))
    except ValueError as error:
        raise UsageError(f"shard: {error}.") from error


def settings_of(options: Mapping[str, Any]) -> Settings:
    """How a run is to behave.

    Raises:
        UsageError: a value cannot be one.
    """
    from nanobanana_batch.engine.limits.quota import OnDailyQuota
    from nanobanana_batch.engine.settings import OnUnknown, Settings

    concurrency = count("concurrency", options.get("concurrency", defaults.CONCURRENCY))
    at_once = count("submit_concurrency", options.get("submit_concurrency", defaults.SUBMIT_CONCURRENCY))
    outage_s = seconds("max_outage", options.get("max_outage", defaults.MAX_OUTAGE_S))
    on_unknown = one_of("on_unknown", options.get("on_unknown", defaults.ON_UNKNOWN), list(OnUnknown))
    on_quota = options.get("on_daily_quota", defaults.ON_DAILY_QUOTA)
    return Settings(
        concurrency=concurrency,
        submit_concurrency=min(at_once, concurrency),
        submits_per_min=_if_given(options, "rate"),
        max_attempts=count("max_attempts", options.get("max_attempts", defaults.MAX_ATTEMPTS)),
        max_credits=_if_given(options, "max_credits"),
        max_failures=_max_failures(options.get("max_failures")),
        on_unknown=OnUnknown(on_unknown),
        on_daily_quota=OnDailyQuota(one_of("on_daily_quota", on_quota, list(OnDailyQuota))),
        max_outage_s=outage_s,
        first_contact_s=outage_s if "max_outage" in options else defaults.FIRST_CONTACT_S,
        stuck_after_s=seconds("stuck_after", options.get("stuck_after", defaults.STUCK_AFTER_S)),
    )


def hooks_of(options: Mapping[str, Any]) -> Hooks:
    """Which programs are told of trouble, and of the end.

    Raises:
        UsageError: one of them is no command that can be started.
    """
    from nanobanana_batch.live.hooks import Hooks, read_command

    def words(name: str) -> tuple[str, ...]:
        said: str | Sequence[str] | None = options.get(name)
        text = said if said is None or isinstance(said, str) else shlex.join(said)
        return read_command(text, f"--{name.replace('_', '-')}")

    return Hooks(words("on_end"), words("on_trouble"))


def terms_of(options: Mapping[str, Any]) -> Terms:
    """What a plan depends on of how a run is to behave; the rest is checked where it is given.

    Raises:
        UsageError: a value cannot be one.
    """
    from nanobanana_batch.jobs.plan import Terms

    if options.keys() & _OF_A_RUN_ALONE:
        settings_of(options)  # what it needs takes its time to load
    return Terms(
        count("concurrency", options.get("concurrency", defaults.CONCURRENCY)),
        _if_given(options, "rate"),
        _if_given(options, "max_credits"),
        count("max_attempts", options.get("max_attempts", defaults.MAX_ATTEMPTS)),
    )


def _several(words: Any) -> tuple[Any, ...]:
    """One by itself is one: letter by letter, `/data` would be `/` and more."""
    return (words,) if isinstance(words, str | os.PathLike) else tuple(words)


def _if_given(options: Mapping[str, Any], name: str) -> float | None:
    return positive(name, options[name]) if name in options else None


def _max_failures(value: object) -> MaxFailures:
    from nanobanana_batch.engine.limits.outcomes import MaxFailures, read_max_failures

    if value is None or isinstance(value, MaxFailures):
        return value or MaxFailures()
    try:
        return read_max_failures(str(value))
    except ValueError as error:
        raise UsageError(f"max_failures: {error}.") from error


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    from nanobanana_batch.api.cells import NoCell, plain

    texts = {}
    for name, value in values.items():
        try:
            found = plain(value)
        except NoCell as error:
            raise UsageError(f"defaults: {name}: {error}.") from error
        if isinstance(found, list):
            raise UsageError(f"defaults: {name}: a default is one text, and no list.")
        texts[name] = "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)
    return texts
