"""How a run stands at one moment; the same for who watches it on its own screen and for who asks outside."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

_LONGEST_TEXT = 2000


class State(StrEnum):
    """What a run is doing."""

    STARTING = "starting"
    SENDING = "sending"
    WAITING = "waiting"
    """New requests wait until a time that is known: a quota, or a wait that the provider asks for."""
    DOWN = "down"
    """The provider gives no answers, or none that are understood; it is tried again and again."""
    BLOCKED = "blocked"
    """Finished images cannot be fetched or saved."""
    COLLECTING = "collecting"
    """Nothing more is sent; what is paid for is fetched."""


@dataclass(frozen=True, slots=True)
class Live:
    """One look at a run. Moments are Unix seconds, lengths of time seconds, amounts credits."""

    at: float
    state: State
    rows: int
    completed: int
    failed: int
    refused: int
    expired: int
    unknown: int
    in_flight: int
    in_flight_allowed: int
    images: int
    """Saved by this run."""
    began_at: float
    images_per_s: float | None = None
    """Lately, while nothing held the run up; None: too few have come."""
    last_image_at: float | None = None
    done_at: float | None = None
    """When everything should be there; None: nobody can say, `not_said` tells why."""
    not_said: str = ""
    about: str = ""
    """What it waits for, where it does: `quota`, `wait`, `submit`, `read`, `fetch`, `unclear`, `keep`."""
    held_since: float | None = None
    held_until: float | None = None
    next_try_at: float | None = None
    gives_up_at: float | None = None
    reason: str = ""
    """What was said of that."""
    slowed: str = ""
    """What the provider allows, where that is less than what was asked for."""
    interrupted: bool = False
    """Nothing more is sent although rows are left."""
    collects_of: int = 0
    """Tasks that were in flight when that began."""
    credits_used: float = 0.0
    """By the folder, all runs together."""
    credits_cap: float | None = None
    credits_projected: float | None = None
    """What the folder will have cost when all rows are made; None: not known."""
    credits_per_usd: float | None = None
    provider: str = ""
    troubles: tuple[tuple[float, str], ...] = ()
    """The latest three: when, and what."""

    @property
    def ended(self) -> int:
        """Rows that are not worked on any more, well or badly."""
        return self.completed + self.failed + self.refused + self.expired

    def as_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """What another process has written; None where it makes no sense: it may be anybody's file."""
        try:
            found = json.loads(text)
            return cls(
                **{each.name: _checked(each.name, found) for each in fields(cls) if each.name in found}
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


_WHOLE = {"rows", "completed", "failed", "refused", "expired", "unknown"} | {
    "in_flight",
    "in_flight_allowed",
    "images",
    "collects_of",
}
_TEXTS = {"not_said", "about", "reason", "slowed", "provider"}


def _checked(name: str, found: Mapping[str, Any]) -> Any:
    value = found[name]
    if name == "state":
        return State(value)
    if name == "troubles":
        return tuple((_number(at), _text(text)) for at, text in value[:3])
    if name == "interrupted":
        return value is True
    if name in _TEXTS:
        return _text(value)
    if name in _WHOLE:
        return int(_number(value))
    return None if value is None else _number(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value[:_LONGEST_TEXT]
