"""Output folders of nights that went badly: a real state and a real log, made without a provider."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.files.log import LOG_NAME
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from tests.unit.fake_provider import picture

FLASH, PRO = "gemini-3.1-flash-image-preview", "gemini-3-pro-image-preview"
BEGAN = 1_795_000_000.0
"""Wednesday, 18 November 2026, 11:06:40 UTC."""


@dataclass(frozen=True)
class Try:
    """One request for a row; `end` is that of its attempt, at `at` seconds after the beginning."""

    end: str = "saved"
    at: float = 0.0
    took_s: float = 10.0
    code: str = "service_error"
    credits: float = 4.0
    sent: int = 1


@dataclass(frozen=True)
class Row:
    """One row, and all that was sent for it."""

    id: str
    prompt: str = "a fox"
    tries: tuple[Try, ...] = (Try(),)
    variables: dict[str, str] = field(default_factory=dict)
    model: str = FLASH
    resolution: str = "1K"


def make_night(folder: Path, rows: Iterable[Row], provider: str = "evolink@api.evolink.ai") -> Path:
    """Make these rows the manifest of a folder, with what came of each."""
    (folder / IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
    listed, problems = list(rows), ProblemLog()
    names = dict.fromkeys(name for row in listed for name in row.variables)
    store = Store(folder / STATE_NAME)
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(map(_draft, listed), problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, folder.name, tuple(names)))
    attempt = 0
    for number, row in enumerate(listed, 1):
        for count, one in enumerate(row.tries, 1):
            attempt += 1
            store.apply(_facts(folder, row, number, attempt, count, one, provider))
    store.close()
    return folder


def _draft(row: Row) -> Draft:
    request = Request(row.model, row.prompt, "1:1", row.resolution)
    return Draft(f"test:{row.id}", request, row.id, variables=tuple(row.variables.items()))


def _facts(
    folder: Path, row: Row, number: int, attempt: int, count: int, one: Try, provider: str
) -> list[Fact]:
    at, key = BEGAN + one.at, f"key-{attempt}"
    begun = facts.Intent(
        number, attempt, count, row.id, provider, "me", b"{}", "f", key, at, credits_expected=one.credits
    )
    told: list[Fact] = [begun]
    for _ in range(one.sent - 1):
        told += [facts.Unanswered(attempt, "no answer"), facts.SentAgain(attempt, at)]
    return [*told, *_end(folder, row, attempt, one, at)]


def _end(folder: Path, row: Row, attempt: int, one: Try, at: float) -> Iterator[Fact]:
    if one.end == "unknown":
        yield facts.Unanswered(attempt, "may have been paid: no answer")
        return
    if one.end in ("rejected", "refused"):
        code = one.code if one.end == "rejected" else "content_policy_violation"
        yield facts.Rejected(attempt, code, "The prompt was rejected.", one.end == "refused", "req", at + 1)
        return
    yield facts.Accepted(attempt, TaskMade(f"task-{attempt}", "req", one.credits, 20.0), at)
    ended = at + one.took_s
    if one.end == "failed":
        yield facts.Failed(attempt, one.code, "The model was busy.", True, False, ended)
    elif one.end == "given_up":
        yield facts.GivenUp(attempt, ended)
    elif one.end == "expired":
        yield facts.Expired(attempt, "its links are dead", ended)
    elif one.end == "saved":
        data = picture(f"{row.id}-{attempt}")
        (folder / IMAGE_FOLDER / f"{row.id}.png").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        image = Image(f"{IMAGE_FOLDER}/{row.id}.png", "image/png", 8, 6, len(data), digest)
        yield facts.Ready(attempt, ("https://x/1",), at + 86400, one.credits, ended)
        yield facts.Saved(attempt, image, ended)


def log_line(at: float, event: str, **fields: object) -> str:
    """As a run writes it, at so many seconds after the beginning."""
    time = datetime.fromtimestamp(BEGAN + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "event": event, **fields}, separators=(",", ":"))


def write_log(folder: Path, *lines: str, name: str = LOG_NAME) -> None:
    """Make these the log of a folder."""
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def bad_night(folder: Path) -> Path:
    """Everything that can go wrong once, and an outage, a slow hour and a quota in the log."""
    rows = [
        *(Row(f"fox-{n}", "a fox", (Try(at=n * 5, took_s=8 + n % 7),), {"who": "fox"}) for n in range(40)),
        *(
            Row(f"war-{n}", "a battlefield at dawn", (Try("refused", at=200 + n),), {"who": "war"}, PRO, "2K")
            for n in range(11)
        ),
        Row("war-made", "a battlefield at dawn", (Try(at=240, credits=9),), {"who": "war"}, PRO, "2K"),
        Row(
            "again", tries=(Try("failed", at=250), Try("failed", at=270), Try(at=290)), variables={"who": "x"}
        ),
        Row("never", tries=(Try("accepted", at=300),), variables={"who": "x"}),
        Row("silent", tries=(Try("unknown", at=310),), variables={"who": "x"}),
        Row("dead", tries=(Try("expired", at=320),), variables={"who": "x"}),
        Row("left", tries=(Try("given_up", at=330),), variables={"who": "x"}),
        Row("twice", tries=(Try(at=340, sent=2),), variables={"who": "x"}),
        Row("wrong", tries=(Try("rejected", at=350, code="invalid_size"),), variables={"who": "x"}),
        Row("new", tries=(), variables={"who": "x"}),
    ]
    make_night(folder, rows)
    write_log(
        folder,
        log_line(0, "run_begins", provider="evolink@api.evolink.ai", rows=60),
        log_line(1, "request", method="POST", route="/v1/images/generations", status=200, ms=3.0),
        log_line(20, "rate_limited", code="rate_limit_exceeded", retry_after_s=5.0, in_flight_at_most=16),
        log_line(25, "pace", per_min=72.5, is_stuck=False, in_flight_at_most=16),
        log_line(60, "pace", per_min=None, is_stuck=False, in_flight_at_most=16),
        log_line(100, "breaker_open", reason="HTTP 503: <img src=x onerror=alert(1)>"),
        log_line(130, "breaker_closed", failures=9),
        log_line(150, "daily_quota", is_used_up=True, resets_in_s=30, said="used up"),
        log_line(180, "daily_quota", is_used_up=False),
        log_line(400, "run_ends", completed=44, failed=14),
    )
    return folder
