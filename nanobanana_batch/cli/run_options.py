"""What `run` and `retry` share: how hard to try, how fast, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from nanobanana_batch import defaults
from nanobanana_batch.cli.options import Whole

Command = TypeVar("Command", bound=Callable[..., Any])


def _seconds(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    from nanobanana_batch.api.values import read_seconds

    try:
        return None if value is None else read_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from error


def _failures(_: click.Context, option: click.Parameter, value: str | None) -> Any:
    from nanobanana_batch.engine.limits.outcomes import read_max_failures

    try:
        return None if value is None else read_max_failures(value)
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


_OUTAGE = f"{defaults.MAX_OUTAGE_S / 3600:.0f}h"
_STUCK = f"{defaults.STUCK_AFTER_S / 60:.0f}m"
_POSITIVE = _Positive(min=0, min_open=True)
_CONCURRENCY = click.option(
    "--concurrency",
    default=defaults.CONCURRENCY,
    show_default=True,
    type=Whole(1),
    metavar="N",
    help="How many images are being made at once.",
)
_RATE = click.option("--rate", type=_POSITIVE, metavar="N", help="At most N new requests a minute.")
_MAX_ATTEMPTS = click.option(
    "--max-attempts",
    default=defaults.MAX_ATTEMPTS,
    show_default=True,
    type=Whole(1),
    metavar="N",
    help="How often a row may be paid for whose image fails for a reason that may pass.",
)
_MAX_CREDITS = click.option(
    "--max-credits",
    type=_POSITIVE,
    metavar="X",
    help="Send nothing more where this folder would cost more than X credits, all runs together; a run that"
    " is known to cost more is refused. Where no price is known, one request tells it, whatever it costs.",
)
_OPTIONS = (
    _CONCURRENCY,
    click.option(
        "--submit-concurrency",
        default=defaults.SUBMIT_CONCURRENCY,
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
        callback=_seconds,
        metavar="TIME",
        help=f"Give up when nothing has worked for so long (90s, 30m, 8h).  [default: {_OUTAGE}]",
    ),
    click.option(
        "--on-daily-quota",
        default=defaults.ON_DAILY_QUOTA,
        show_default=True,
        type=click.Choice(["wait", "stop"]),
        help="When a daily quota is used up: wait until it resets, if that is within --max-outage, or stop.",
    ),
    click.option(
        "--stuck-after",
        default=_STUCK,
        show_default=True,
        callback=_seconds,
        metavar="TIME",
        help="Let other rows go on where an image takes longer; it is looked at now and then.",
    ),
)


def with_terms(command: Command) -> Command:
    """Add those options that a plan depends on; the command gets each by its name."""
    return _with(command, (_CONCURRENCY, _RATE, _MAX_CREDITS, _MAX_ATTEMPTS))


def with_settings(command: Command) -> Command:
    """Add the options; the command gets each by its name."""
    return _with(command, _OPTIONS)


def _with(command: Command, options: Sequence[Callable[[Any], Any]]) -> Command:
    decorated: Any = command
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
