"""Options are facts: frozen, JSON in and out, so that a child process gets exactly what its parent decided.

This file must stay light (no Starlette, no Pillow): the command line imports it to map its flags.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

RetryAfterIn = Literal["header", "date", "body", "both"]
OutageKind = Literal["503", "429", "html", "close"]

ERROR = "error: "
"""How the line begins by which the service's process says why it did not start."""

_NOT_CHARGED, _DECIDING, _CHARGED = "submit, not charged", "submit, being decided", "submit, charged"


class ServiceError(Exception):
    """The service cannot start, or did not."""


def _rate(hits: str) -> Any:
    """A probability, of a fault that hits this."""
    return field(default=0.0, metadata={"hits": hits})


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, how often. A rate is a probability 0..1; `next` says "the next N" by a fault's name.

    Which requests are hit follows from `seed`, the fault's name, the request's bytes and how often that
    request was seen, never from the order of arrival: a concurrent run can be repeated. Of several faults
    that hit the same request, the first one of its group shows. Times are in seconds.

    Raises:
        ValueError: a name, rate, count or word is none that is known.
    """

    rate_429: float = _rate(_NOT_CHARGED)
    rate_5xx_before: float = _rate(_NOT_CHARGED)
    lost_reply_before: float = _rate(_NOT_CHARGED)
    html_reply: float = _rate(_NOT_CHARGED)
    empty_reply: float = _rate(_NOT_CHARGED)  # 502 without a body
    slow_decision: float = _rate(_DECIDING)  # it takes slow_decision_s, the idempotency key is held
    reject_submit: float = _rate(_DECIDING)  # with reject_code, or a random code of a refused submit
    rate_5xx_after: float = _rate(_CHARGED)
    lost_reply_after: float = _rate(_CHARGED)
    empty_reply_after: float = _rate(_CHARGED)  # 200 without a body
    drip_reply: float = _rate(_CHARGED)  # one byte each drip_interval_s
    slow_reply: float = _rate(_CHARGED)  # the reply comes slow_reply_s late
    stuck_task: float = _rate("tasks")
    refuse_task: float = _rate("tasks")  # content_policy_violation
    cancel_task: float = _rate("tasks")  # cancelled upstream, refunded
    fail_task: float = _rate("tasks")  # with fail_code, or a random task error code
    same_image: float = _rate("tasks")  # every task hit gets the same picture (of its size)
    nonsense_read: float = _rate("reads")  # single and batch
    rate_429_read: float = _rate("reads")
    rate_5xx_read: float = _rate("reads")
    lost_reply_read: float = _rate("reads")
    dead_link: float = _rate("links")
    rate_5xx_download: float = _rate("links")
    wrong_type_download: float = _rate("links")
    truncated_download: float = _rate("links")
    cut_download: float = _rate("links")
    oversized_download: float = _rate("links")
    drip_download: float = _rate("links")
    rate_429_upload: float = _rate("uploads")
    rate_5xx_upload: float = _rate("uploads")
    lost_reply_upload: float = _rate("uploads")  # the file is kept
    lost_callback: float = _rate("callbacks")  # not sent
    double_callback: float = _rate("callbacks")  # sent twice
    false_callback: float = _rate(
        "callbacks"
    )  # completed told as failed, failed as completed with a dead link
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
            _check_known(name, fault_names())
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"fault {name}: {count!r} is no count")
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value not in words or not isinstance(value, type(words[0])):  # 1 is no truth
                raise ValueError(f"{name}: {value!r} is none of {', '.join(map(str, words))}")

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """What is named changes. Raises ValueError."""
        for name in changes:
            _check_known(name, (*fault_names(), "next", *FAULT_PARAMETERS))
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Self:
        """`rate_429=0.1`, `lost_reply_after=next:2`, `fail_code=service_error`: as a command line says it.

        Raises:
            ValueError: a word is not of that form, or its name or value none that is known.
        """
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


_WORDS: dict[str, tuple[Any, ...]] = {
    "retry_after_in": get_args(RetryAfterIn),
    "outage_kind": get_args(OutageKind),
    "outage_links": (True, False),
}
_ALIKE = 0.7
"""How near a name has to be to what was probably meant; `difflib` is content with less."""
_GROUPED = [(one.metadata["hits"], one.name) for one in dataclasses.fields(Faults) if one.metadata]
FAULT_GROUPS: dict[str, tuple[str, ...]] = {
    hits: tuple(name for group, name in _GROUPED if group == hits) for hits, _ in _GROUPED
}
"""The faults by what they hit."""
FAULT_PARAMETERS = tuple(
    one.name for one in dataclasses.fields(Faults) if not one.metadata and one.name != "next"
)
_FAULT_NAMES = tuple(name for _, name in _GROUPED)


def fault_names() -> tuple[str, ...]:
    """Those of all faults."""
    return _FAULT_NAMES


def _check_known(name: str, known: Iterable[str]) -> None:
    if name in known:
        return
    alike = difflib.get_close_matches(name, list(known), 1, _ALIKE)
    meant = f" (did you mean {alike[0]}?)" if alike else ""
    groups = {**FAULT_GROUPS, "how, when hit": FAULT_PARAMETERS}
    listed = "\n".join(f"  {title}: {', '.join(names)}" for title, names in groups.items())
    raise ValueError(f"unknown fault {name!r}{meant}; known are\n{listed}")


def _value(name: str, text: str) -> Any:
    if name in ("fail_code", "reject_code", "retry_after_in", "outage_kind"):
        return text
    if name == "outage_links":
        return {"true": True, "false": False}[text]
    return int(text) if name in ("seed", "oversized_bytes") else float(text)


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Everything that one service is told at its start; times are in seconds.

    Raises:
        ValueError: a time or number is none that could be meant.
    """

    data_dir: Path  # database, pictures, lock and log; made when missing
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    names: tuple[str, ...] = ()  # by which it is called, beside those of this machine: behind a proxy
    latency_s: float | tuple[float, float] = 1.0  # fixed, or drawn from (min, max)
    seed: int | None = None  # task ids, pictures and latencies repeat for the same requests
    credits: int = 1_000_000  # what each new account is given
    key_file: Path | None = None  # only the keys in this file, one per line; else any non-empty key
    images: int = 1  # that each task has
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
        if not 1 <= self.images <= 10:
            raise ValueError("images: a task has from 1 to 10")
        if self.link_lifetime_s < 0 or self.file_lifetime_s < 0 or self.max_files < 0:
            raise ValueError("link_lifetime_s, file_lifetime_s or max_files is negative")
        if any(at < 0 or length <= 0 for at, length in self.outages):
            raise ValueError("outages: each is seconds after the start, and a length above 0")

    @property
    def latency_range(self) -> tuple[float, float]:
        """The least and the most, in seconds."""
        if isinstance(self.latency_s, int | float):
            return (self.latency_s, self.latency_s)
        return self.latency_s

    @property
    def base_url(self) -> str:
        """Where the service is reached, once its port is known."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def to_json(self) -> str:
        """For `from_json` in another process."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` said. Raises ValueError, TypeError or KeyError where it is something else."""
        values = json.loads(text)
        values |= {name: Path(values[name]) for name in ("data_dir", "key_file") if values.get(name)}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        outages = tuple((at, length) for at, length in values.get("outages", ()))
        return cls(**{**values, **lists, "outages": outages, "faults": Faults(**values.get("faults", {}))})
