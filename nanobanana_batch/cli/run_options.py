"""What `run` and `retry` share: how hard to try, how fast, and when to stop."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nanobanana_batch.cli.options import Whole

if TYPE_CHECKING:
    from nanobanana_batch.engine.context import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhd]?)", value.strip())
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{value!r} is no time such as 90s, 30m or 8h", param=option)
    return float(found[1]) * _UNITS_S[found[2]]


def _failures(_: click.Context, option: click.Parameter, value: str | None) -> Any:
    from nanobanana_batch.engine.limits.outcomes import MaxFailures, read_max_failures

    try:
        return MaxFailures() if value is None else read_max_failures(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from error


class _Positive(click.FloatRange):
    """A number above 0; a limit that is none ("inf", "nan") would be no limit at all."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


_POSITIVE = _Positive(min=0, min_open=True)
_CONCURRENCY = click.option(
    "--concurrency",
    default=64,
    show_default=True,
    type=Whole(1),
    metavar="N",
    help="How many images are being made at once.",
)
_RATE = click.option("--rate", type=_POSITIVE, metavar="N", help="At most N new requests a minute.")
_MAX_ATTEMPTS = click.option(
    "--max-attempts",
    default=3,
    show_default=True,
    type=Whole(1),
    metavar="N",
    help="How often a row may be paid for whose image fails for a reason that may pass.",
)
_MAX_CREDITS = click.option(
    "--max-credits",
    type=_POSITIVE,
    metavar="X",
    help="Never let this folder cost more than X credits, all runs together; a run that is known to cost"
    " more is refused.",
)
_OPTIONS = (
    _CONCURRENCY,
    click.option(
        "--submit-concurrency",
        default=8,
        show_default=True,
        type=Whole(1),
        metavar="N",
        help="How many of them are being ordered at the same moment.",
    ),
    _RATE,
    _MAX_ATTEMPTS,
    _MAX_CREDITS,
    click.option(
        "--max-failures",
        callback=_failures,
        metavar="N|P%",
        help="Stop after N failed rows, or above P% of the rows that ended."
        "  [default: 5 in a row with the same code, or over half of the first 50]",
    ),
    click.option(
        "--max-outage",
        default="8h",
        show_default=True,
        callback=_seconds,
        metavar="TIME",
        help="Give up when nothing has worked for so long (90s, 30m, 8h).",
    ),
    click.option(
        "--on-daily-quota",
        default="wait",
        show_default=True,
        type=click.Choice(["wait", "stop"]),
        help="When a daily quota is used up: wait until it resets, if that is within --max-outage, or stop.",
    ),
    click.option(
        "--stuck-after",
        default="30m",
        show_default=True,
        callback=_seconds,
        metavar="TIME",
        help="Let other rows go on where an image takes longer; it is looked at now and then.",
    ),
)


def with_terms(command: Command) -> Command:
    """Add those options that a plan depends on; the command gets them as `terms`."""

    @functools.wraps(command)
    def with_options(*args: Any, **options: Any) -> Any:
        from nanobanana_batch.jobs.plan import Terms

        names = ("concurrency", "rate", "max_credits", "max_attempts")
        return command(*args, terms=Terms(*(options.pop(name) for name in names)), **options)

    decorated: Any = with_options
    for option in (_MAX_ATTEMPTS, _MAX_CREDITS, _RATE, _CONCURRENCY):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def with_settings(command: Command) -> Command:
    """Add the options; the command gets them as `settings`."""

    @functools.wraps(command)
    def with_options(*args: Any, **options: Any) -> Any:
        return command(*args, settings=_settings(options), **options)

    decorated: Any = with_options
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _settings(options: dict[str, Any]) -> Settings:
    """Takes its own options out."""
    from nanobanana_batch.engine.context import FIRST_CONTACT_S, Settings
    from nanobanana_batch.engine.limits.quota import OnDailyQuota

    concurrency, outage_s = options.pop("concurrency"), options.pop("max_outage")
    source = click.get_current_context().get_parameter_source("max_outage")
    is_given = source is not click.core.ParameterSource.DEFAULT
    return Settings(
        concurrency=concurrency,
        submit_concurrency=min(options.pop("submit_concurrency"), concurrency),
        submits_per_min=options.pop("rate"),
        max_attempts=options.pop("max_attempts"),
        max_credits=options.pop("max_credits"),
        max_failures=options.pop("max_failures"),
        max_outage_s=outage_s,
        first_contact_s=outage_s if is_given else FIRST_CONTACT_S,
        stuck_after_s=options.pop("stuck_after"),
        on_daily_quota=OnDailyQuota(options.pop("on_daily_quota")),
    )
