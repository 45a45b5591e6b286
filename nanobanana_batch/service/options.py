"""Options are facts: frozen, JSON in and out, so that a child process gets exactly what its parent decided.

This file must stay light (no FastAPI, no Pillow): the command line imports it to map its flags.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

RetryAfterIn = Literal["header", "date", "body", "both"]
OutageKind = Literal["503", "429", "html", "close"]

FAULT_GROUPS: dict[str, tuple[str, ...]] = {
    "submit, not charged": (
        "rate_429",
        "rate_5xx_before",
        "lost_reply_before",
        "html_reply",
        "empty_reply",
    ),
    "submit, being decided": ("slow_decision", "reject_submit"),
    "submit, charged": (
        "rate_5xx_after",
        "lost_reply_after",
        "empty_reply_after",
        "drip_reply",
        "slow_reply",
    ),
    "tasks": ("stuck_task", "refuse_task", "cancel_task", "fail_task", "same_image"),
    "reads": ("nonsense_read", "rate_429_read", "rate_5xx_read", "lost_reply_read"),
    "links": (
        "dead_link",
        "rate_5xx_download",
        "wrong_type_download",
        "truncated_download",
        "cut_download",
        "oversized_download",
        "drip_download",
    ),
    "uploads": ("rate_429_upload", "rate_5xx_upload", "lost_reply_upload"),
    "callbacks": ("lost_callback", "double_callback", "false_callback"),
}
"""The faults by what they hit; of several that hit the same request, the first one shows."""


ERROR = "error: "
"""How the line begins by which the service's process says why it did not start."""


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
    reject_submit: float = 0.0  # with reject_code, or a random code of a refused submit
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
    cancel_task: float = 0.0  # cancelled upstream, refunded
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
    # Uploads of reference images.
    rate_429_upload: float = 0.0
    rate_5xx_upload: float = 0.0
    lost_reply_upload: float = 0.0  # the file is kept
    # Callbacks.
    lost_callback: float = 0.0  # not sent
    double_callback: float = 0.0  # sent twice
    false_callback: float = 0.0  # completed told as failed, failed as completed with a dead link
    # How, when hit.
    next: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    retry_after_s: float = 1.0
    retry_after_in: RetryAfterIn = "header"  # in seconds; date: there too, as a moment
    drip_interval_s: float = 1.0
    slow_reply_s: float = 2.0
    slow_decision_s: float = 2.0
    fail_code: str | None = None
    reject_code: str | None = None
    oversized_bytes: int = 64 * 1024 * 1024
    outage_kind: OutageKind = "503"  # what every call meets during an outage; close: the connection is cut
    outage_links: bool = True  # downloads too

    def __post_init__(self) -> None:
        for name in fault_names():
            rate = getattr(self, name)
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise ValueError(f"fault {name}: {rate!r} is no probability from 0 to 1")
        for name, count in self.next.items():
            if name not in fault_names():
                raise ValueError(_unknown(name, fault_names()))
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"fault {name}: {count!r} is no count")
        if self.retry_after_in not in ("header", "date", "body", "both"):
            raise ValueError(f"retry_after_in: {self.retry_after_in!r} is none of header, date, body, both")
        if not isinstance(self.outage_links, bool):
            raise ValueError(f"outage_links: {self.outage_links!r} is neither true nor false")
        if self.outage_kind not in ("503", "429", "html", "close"):
            raise ValueError(f"outage_kind: {self.outage_kind!r} is none of 503, 429, html, close")

    def changed(self, changes: Mapping[str, Any]) -> Self:
        known = tuple(f.name for f in dataclasses.fields(self))
        for name in changes:
            if name not in known:
                raise ValueError(_unknown(name, known))
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
            try:
                if value.startswith("next:"):
                    counts[name] = int(value.removeprefix("next:"))
                else:
                    changes[name] = _value(name, value)
            except (ValueError, KeyError) as error:
                wanted = "true or false" if name == "outage_links" else "a number; a rate is from 0 to 1"
                raise ValueError(f"{word!r}: {value!r} is not {wanted}") from error
        return cls().changed({**changes, "next": counts})


def fault_names() -> tuple[str, ...]:
    return _FAULT_NAMES


def known_faults() -> str:
    """All names by what they hit, a line each, for people."""
    grouped = [f"  {title}: {', '.join(names)}" for title, names in FAULT_GROUPS.items()]
    return "\n".join([*grouped, f"  how, when hit: {', '.join(FAULT_PARAMETERS)}"])


def _unknown(name: str, known: Iterable[str]) -> str:
    alike = difflib.get_close_matches(name, list(known), 1)
    meant = f" (did you mean {alike[0]}?)" if alike else ""
    return f"unknown fault {name!r}{meant}; known are\n{known_faults()}"


def _value(name: str, text: str) -> Any:
    if name in ("fail_code", "reject_code", "retry_after_in", "outage_kind"):
        return text
    if name == "outage_links":
        return {"true": True, "false": False}[text]
    return int(text) if name in ("seed", "oversized_bytes") else float(text)


_FAULT_NAMES = tuple(name for names in FAULT_GROUPS.values() for name in names)
FAULT_PARAMETERS = tuple(
    f.name for f in dataclasses.fields(Faults) if f.name not in _FAULT_NAMES and f.name != "next"
)


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Everything that one service is told at its start."""

    data_dir: Path  # database, pictures, lock and log; made when missing
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    names: tuple[str, ...] = ()  # by which it is called, beside those of this machine: behind a proxy
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
    unlimited_credits: bool = False  # no account ever runs out
    denied_models: tuple[str, ...] = ()  # 403 model_access_denied
    file_lifetime_s: float = 259_200.0  # of an uploaded reference image
    max_files: int = 100  # of an account
    max_file_bytes: int = 20_000_000
    outages: tuple[tuple[float, float], ...] = ()  # (seconds after the start, length in seconds)
    max_body_bytes: int = 1024 * 1024
    lock_wait_s: float = 10.0  # for another service to let go of the data folder
    until_stdin_closes: bool = False  # end with the process that started this one
    allow_loopback_callbacks: bool = False  # for tests: callbacks by plain HTTP to 127.0.0.0/8 and ::1
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        low, high = self.latency_range
        if not 0 <= low <= high:
            raise ValueError(f"latency_s: {self.latency_s!r} is no time and no range of times")
        if self.link_lifetime_s < 0 or self.file_lifetime_s < 0 or self.max_files < 0:
            raise ValueError("link_lifetime_s, file_lifetime_s or max_files is negative")
        if any(at < 0 or length <= 0 for at, length in self.outages):
            raise ValueError("outages: each is seconds after the start, and a length above 0")

    @property
    def latency_range(self) -> tuple[float, float]:
        if isinstance(self.latency_s, int | float):
            return (self.latency_s, self.latency_s)
        return self.latency_s

    @property
    def base_url(self) -> str:
        """Where the service is reached, once its port is known."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

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
        values["names"] = tuple(values.get("names", ()))
        values["denied_models"] = tuple(values.get("denied_models", ()))
        values["outages"] = tuple((at, length) for at, length in values.get("outages", ()))
        values["faults"] = Faults(**values.get("faults", {}))
        return cls(**values)
