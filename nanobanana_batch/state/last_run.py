"""How the last run on a folder ended; one that was killed cannot say so, and is known by that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nanobanana_batch.errors import NanobananaError, StateFailed
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.scope import EVERY_ROW, Scope

if TYPE_CHECKING:
    from nanobanana_batch.state.store import Store

ENDED = "ended"
"""Under which the state remembers it."""
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class LastRun:
    """The run that worked on a folder last, or does so now."""

    began: str
    """UTC, ISO."""
    ended: str | None = None
    """None: it goes on, or it was killed."""
    exit_code: int | None = None
    reason: str = ""
    """Why it stopped before everything was done."""
    attempts_before: int = 0
    """The number of the last attempt that an earlier run has begun: clocks may be wrong, this is not."""
    before: int | None = None
    """It was only about rows before this position in the manifest (`--limit`)."""
    only: tuple[int, ...] | None = None
    """It was only about rows at these positions (`--pilot`, `retry --row`)."""

    @property
    def scope(self) -> Scope:
        """Which rows it was about."""
        return Scope(self.before, None if self.only is None else frozenset(self.only))


Say = Callable[[int, str], None]
"""(exit code, why it stopped early, if it did)"""


@contextmanager
def remembered_end(store: Store, scope: Scope = EVERY_ROW) -> Iterator[Say]:
    """For the length of a run: however it ends by itself, the state knows of it afterwards."""
    only = None if scope.only is None else tuple(sorted(scope.only))
    run = LastRun(_now(), attempts_before=store.last_attempt, before=scope.before, only=only)
    _remember(store, run)

    def say(exit_code: int, reason: str) -> None:
        _remember(store, replace(run, ended=_now(), exit_code=exit_code, reason=reason))

    try:
        yield say
    except NanobananaError as error:
        with suppress(StateFailed):
            say(error.exit_code, str(error))
        raise
    except KeyboardInterrupt:
        with suppress(StateFailed):
            say(_INTERRUPTED, "It was interrupted.")
        raise


def last_run(reader: Reader) -> LastRun | None:
    """The last run on a folder, as far as it is remembered."""
    return _understood(reader.meta(ENDED))


def has_ended(text: str | None, scope: Scope) -> LastRun | None:
    """The run that a state remembers as its last one, if that came to its end and was about these rows."""
    found = _understood(text)
    return found if found is not None and found.ended is not None and found.scope == scope else None


def _understood(text: str | None) -> LastRun | None:
    try:
        known = json.loads(text or "{}")
        began, ended, reason = known["began"], known.get("ended"), str(known.get("reason", ""))
        for moment in filter(None, (began, ended)):
            datetime.fromisoformat(moment)
        exit_code, before = (
            None if ended is None else int(known["exit_code"]),
            known.get("attempts_before", 0),
        )
        limit, only = known.get("before"), known.get("only")
        return LastRun(
            began,
            ended,
            exit_code,
            reason,
            int(before),
            None if limit is None else int(limit),
            None if only is None else tuple(map(int, only)),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _remember(store: Store, run: LastRun) -> None:
    store.remember(ENDED, json.dumps(asdict(run)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
