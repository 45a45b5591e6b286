"""How the last run on a folder ended; one that was killed cannot say so, and is known by that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from nanobanana_batch.errors import NanobananaError, StateFailed
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.store import Store

_NAME = "ended"
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

    @property
    def began_at(self) -> float:
        """The same in Unix seconds."""
        return datetime.fromisoformat(self.began).timestamp()


Say = Callable[[int, str], None]
"""(exit code, why it stopped early, if it did)"""


@contextmanager
def remembered_end(store: Store) -> Iterator[Say]:
    """For the length of a run: however it ends by itself, the state knows of it afterwards."""
    run = LastRun(_now())
    _remember(store, run)

    def say(exit_code: int, reason: str) -> None:
        _remember(store, LastRun(run.began, _now(), exit_code, reason))

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
    try:
        known = json.loads(reader.meta(_NAME) or "{}")
        began, ended, reason = known["began"], known.get("ended"), str(known.get("reason", ""))
        for moment in filter(None, (began, ended)):
            datetime.fromisoformat(moment)
        return LastRun(began, ended, None if ended is None else int(known["exit_code"]), reason)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _remember(store: Store, run: LastRun) -> None:
    store.remember(_NAME, json.dumps(asdict(run)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
