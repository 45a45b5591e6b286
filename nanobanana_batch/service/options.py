"""Options are facts: frozen, JSON in and out, so that a child process gets exactly what its parent decided.

This file must stay light (no FastAPI, no Pillow): the command line imports it to map its flags.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

RetryAfterIn = Literal["header", "body", "both"]

PARAMETERS = frozenset(
    {
        "next",
        "seed",
        "retry_after_s",
        "retry_after_in",
        "drip_interval_s",
        "slow_reply_s",
        "slow_decision_s",
        "fail_code",
        "oversized_bytes",
    }
)


class ServiceError(Exception):
    """The service cannot start, or did not."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, how often. A rate is a probability 0..1; `next` says "the next N" by a fault's name.

    Which requests are hit follows from `seed`, the fault's name, the request's bytes and how often that
    request was seen, never from the order of arrival: a concurrent run can be repeated.
    """

    # Submit, before a task exists.
    rate_429: float = 0.0
    rate_5xx_before: float = 0.0
    lost_reply_before: float = 0.0
    html_reply: float = 0.0
    empty_reply: float = 0.0  # 502 without a body
    slow_decision: float = 0.0  # the decision itself takes slow_decision_s, the idempotency key is held
    # Submit, after the task was created and charged.
    rate_5xx_after: float = 0.0
    lost_reply_after: float = 0.0
    empty_reply_after: float = 0.0  # 200 without a body
    drip_reply: float = 0.0  # one byte each drip_interval_s
    slow_reply: float = 0.0  # the reply comes slow_reply_s late
    # What becomes of a task.
    stuck_task: float = 0.0
    fail_task: float = 0.0  # with fail_code, or a random task error code
    refuse_task: float = 0.0  # content_policy_violation
    same_image: float = 0.0  # every task hit gets the same picture (of its size)
    # Task reads, single and batch.
    nonsense_read: float = 0.0
    rate_429_read: float = 0.0
    rate_5xx_read: float = 0.0
    lost_reply_read: float = 0.0
    # Links.
    cut_download: float = 0.0
    truncated_download: float = 0.0
    wrong_type_download: float = 0.0
    oversized_download: float = 0.0
    drip_download: float = 0.0
    rate_5xx_download: float = 0.0
    dead_link: float = 0.0
    # How, when hit.
    next: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    retry_after_s: float = 1.0
    retry_after_in: RetryAfterIn = "header"
    drip_interval_s: float = 1.0
    slow_reply_s: float = 2.0
    slow_decision_s: float = 2.0
    fail_code: str | None = None
    oversized_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in fault_names():
            rate = getattr(self, name)
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise ValueError(f"fault {name}: {rate!r} is no probability from 0 to 1")
        for name, count in self.next.items():
            if name not in fault_names():
                raise ValueError(f"unknown fault {name!r}; known: {', '.join(fault_names())}")
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"fault {name}: {count!r} is no count")
        if self.retry_after_in not in ("header", "body", "both"):
            raise ValueError(f"retry_after_in: {self.retry_after_in!r} is none of header, body, both")

    def changed(self, changes: Mapping[str, Any]) -> Self:
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(self)})
        if unknown:
            raise ValueError(f"unknown fault {unknown[0]!r}; known: {', '.join(fault_names())}")
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Self:
        """`rate_429=0.1`, `lost_reply_after=next:2`, `fail_code=service_error`: as a command line says it."""
        changes: dict[str, Any] = {}
        counts: dict[str, int] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                raise ValueError(f"{word!r}: a fault is written name=rate or name=next:N")
            if value.startswith("next:"):
                counts[name] = int(value.removeprefix("next:"))
            else:
                changes[name] = _value(name, value)
        return cls().changed({**changes, "next": counts})


def fault_names() -> tuple[str, ...]:
    return _FAULT_NAMES


def _value(name: str, text: str) -> Any:
    if name in ("fail_code", "retry_after_in"):
        return text
    return int(text) if name in ("seed", "oversized_bytes") else float(text)


_FAULT_NAMES = tuple(f.name for f in dataclasses.fields(Faults) if f.name not in PARAMETERS)


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Everything that one service is told at its start."""

    data_dir: Path  # database, pictures, lock and log; made when missing
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    latency_s: float | tuple[float, float] = 1.0  # fixed, or drawn from (min, max)
    seed: int | None = None  # task ids, pictures and latencies repeat for the same requests
    credits: int = 1_000_000  # what each new account is given
    key_file: Path | None = None  # only the keys in this file, one per line; else any non-empty key
    link_lifetime_s: float = 86_400.0  # from completion; the picture is deleted with its link
    links_renew: bool = True  # reading a task replaces a link that died early
    idempotency: bool = True  # False: the header is ignored
    batch_reads: bool = True  # False: POST /v1/tasks/batch is 404
    recent_list: bool = True  # False: GET /v1/tasks is 404
    integer_codes: bool = False  # error codes as on the provider's older pages
    max_body_bytes: int = 1024 * 1024
    lock_wait_s: float = 10.0  # for another service to let go of the data folder
    until_stdin_closes: bool = False  # end with the process that started this one
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        low, high = self.latency_range
        if not 0 <= low <= high:
            raise ValueError(f"latency_s: {self.latency_s!r} is no time and no range of times")
        if self.link_lifetime_s < 0:
            raise ValueError("link_lifetime_s is negative")

    @property
    def latency_range(self) -> tuple[float, float]:
        if isinstance(self.latency_s, int | float):
            return (self.latency_s, self.latency_s)
        return self.latency_s

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        values["data_dir"] = Path(values["data_dir"])
        if values.get("key_file") is not None:
            values["key_file"] = Path(values["key_file"])
        if isinstance(values.get("latency_s"), list):
            values["latency_s"] = tuple(values["latency_s"])
        values["faults"] = Faults(**values.get("faults", {}))
        return cls(**values)
