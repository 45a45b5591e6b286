"""What was charged, and for what: the judge of every promise about money."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Task:
    """A task that was made, and so paid for."""

    id: str
    number: int
    body: dict[str, Any]
    key: str | None
    made_at: float
    created: int
    ends_at: float
    fate: str
    """completed or failed: what it becomes at `ends_at`."""
    error_code: str | None
    credits: float
    public_id: Any = None
    """The id as replies show it, where a mutation changed it."""
    completed_reads: int = 0
    pictures: list[str] = field(default_factory=list)
    """SHA-256 of the images that it made."""
    is_forgotten: bool = False
    """By a restart: nobody can have it any more."""

    def status(self, now: float) -> str:
        """The word of a reply."""
        if now >= self.ends_at:
            return self.fate
        return "pending" if now < self.made_at + 0.1 * (self.ends_at - self.made_at) else "processing"

    def progress(self, now: float) -> int:
        """0 to 100."""
        if now >= self.ends_at:
            return 100
        return min(99, int(100 * (now - self.made_at) / max(1e-9, self.ends_at - self.made_at)))

    def facts(self, now: float) -> dict[str, Any]:
        """For the judge."""
        status = self.status(now)
        return {
            "id": self.id,
            "prompt": self.body.get("prompt"),
            "size": self.body.get("size"),
            "body": hashlib.sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest(),
            "key": self.key,
            "status": status,
            "error_code": self.error_code if status == "failed" else None,
            "credits": 0.0 if status == "failed" else self.credits,
            "pictures": self.pictures,
            "completed_reads": self.completed_reads,
            "made_at": self.made_at,
            "is_forgotten": self.is_forgotten,
        }


@dataclass
class Early:
    """A request that came before its time."""

    what: str
    after: str
    told_s: float
    """How long ago the wait was told: little speaks of one that was on its way."""
    by_s: float
    """How much too early it was."""


@dataclass
class Ledger:
    """Everything that happened."""

    tasks: dict[str, Task] = field(default_factory=dict)
    """By id; an id that a mutation made is there as well."""
    requests: Counter[str] = field(default_factory=Counter)
    replies: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """What the client did and may not do."""
    early: list[Early] = field(default_factory=list)
    close_reads: list[float] = field(default_factory=list)
    """Seconds between two reads of one task, where they were too few."""
    unanswered: int = 0
    """Submits whose sender cannot know whether they were paid: cut off, 5xx, HTML."""
    most_open: int = 0
    turned_away: list[float] = field(default_factory=list)
    """When a submit was told that it was one too many."""
    outages: list[str] = field(default_factory=list)

    def made(self) -> list[Task]:
        """Each task once, in the order of making."""
        return sorted({id(task): task for task in self.tasks.values()}.values(), key=lambda it: it.number)

    def report(self, now: float) -> dict[str, Any]:
        """As JSON."""
        tasks = [task.facts(now) for task in self.made()]
        return {
            "tasks": tasks,
            "charged": len(tasks),
            "refunded": sum(task["status"] == "failed" for task in tasks),
            "credits": sum(task["credits"] for task in tasks),
            "requests": dict(self.requests),
            "replies": dict(self.replies),
            "client_faults": self.faults,
            "early": [asdict(one) for one in self.early],
            "close_reads": self.close_reads,
            "unanswered": self.unanswered,
            "most_open": self.most_open,
            "turned_away": self.turned_away,
            "outages": self.outages,
        }
