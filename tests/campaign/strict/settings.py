"""What kind of provider it is, and what goes wrong with it; all of it from JSON, all of it from one seed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from .mutations import KEY


@dataclass(frozen=True)
class Outage:
    """A time in which nothing works, for the whole API."""

    kind: str = "503"
    """503, html, hang, refuse, close."""
    length_s: float = 5.0
    after_tasks: int | None = None
    """Begins when so many tasks were made; else at `at_s` after the first request."""
    at_s: float = 0.0


@dataclass(frozen=True)
class Faults:
    """Shares are of the requests of a kind, independent of one another, decided by seed and request."""

    rate_429: float = 0.0
    retry_after_s: float = 1.0
    retry_after_share: float = 0.5
    """How many of the 429s name the time in a header; as many others in words; the rest not at all."""
    bursts: tuple[tuple[float, float], ...] = ()
    """(begin, length) in s after the first request: every submit is a 429 then."""
    most_at_once: int = 0
    """Tasks that are not at their end; more are 429. 0: any number."""
    most_per_window: int = 0
    window_s: float = 60.0
    window_kind: str = "sliding"
    """fixed, sliding or bucket."""
    rate_5xx_before: float = 0.0
    rate_5xx_after: float = 0.0
    lost_before: float = 0.0
    lost_after: float = 0.0
    lost_tasks: tuple[int, ...] = ()
    """Numbers of tasks (1-based) of which nobody is told when they are made."""
    half_reply: float = 0.0
    html_before: float = 0.0
    html_after: float = 0.0
    slow_reply: float = 0.0
    slow_s: float = 1.0
    no_channel: float = 0.0
    reject: float = 0.0
    """Rows that are not to be had: 400."""
    undecided_s: float = 0.0
    """How long a request whose reply was lost is still being decided under its key."""
    rate_429_read: float = 0.0
    rate_5xx_read: float = 0.0
    lost_read: float = 0.0
    html_read: float = 0.0
    rate_429_list: float = 0.0
    rate_5xx_list: float = 0.0
    list_lag_s: float = 0.0
    """How long a new task is not in the list yet."""
    cut_download: float = 0.0
    rate_5xx_download: float = 0.0
    link_403: float = 0.0
    link_404: float = 0.0
    refuse_task: float = 0.0
    fail_task: float = 0.0
    fail_codes: tuple[str, ...] = ("service_error", "generation_timeout", "upstream_error")
    refuse_codes: tuple[str, ...] = ("content_policy_violation", "IMAGE_SAFETY", "moderation_blocked")
    stuck_task: float = 0.0
    outages: tuple[Outage, ...] = ()


@dataclass(frozen=True)
class Settings:
    """A provider."""

    seed: int = 1
    api_key: str = KEY
    more_keys: tuple[str, ...] = ()
    """Further keys of the same account."""
    keys: str = "honoured"
    """honoured, body_first (honours, but judges the body before the key) or ignored."""
    shape: str = "evolink"
    """evolink, foxapi (objects, empty at the first completed read), wrapped (below `data`)."""
    error_shape: str = "envelope"
    """envelope, integer, bare, flat or msg."""
    time_scale: float = 1.0
    task_s: tuple[float, float] = (8.0, 20.0)
    """Before the scale."""
    read_gap_s: float = 3.0
    """Between two reads of one task, before the scale."""
    grace_s: float = 0.2
    """A request that was on its way when another was told to wait is not early."""
    link_life_s: float = 86400.0
    picture: str = "png"
    credits: float = 1e6
    daily_quota: int = 0
    """Tasks until the day is used up; 0: any number."""
    batch: bool = True
    listing: bool = True
    faults: Faults = Faults()

    @classmethod
    def parse(cls, given: dict[str, Any], base: Settings | None = None) -> Settings:
        """From JSON; what is not named is as in `base`. Raises ValueError for a name that is none."""
        start = base or cls()
        given = dict(given)
        faults = dict(given.pop("faults", {}))
        _known(given, cls)
        _known(faults, Faults)
        if "outages" in faults:
            faults["outages"] = tuple(Outage(**one) for one in faults["outages"])
        return replace(start, **_tuples(given), faults=replace(start.faults, **_tuples(faults)))


def _known(given: dict[str, Any], kind: type[Settings] | type[Faults]) -> None:
    names = {one.name for one in fields(kind)}
    if strange := given.keys() - names:
        raise ValueError(f"no such setting: {sorted(strange)}")


def _tuples(given: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
