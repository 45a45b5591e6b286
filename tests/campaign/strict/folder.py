"""An output folder, read as any outsider can: its CSV, its images, its texts."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .mutations import KEY, SECRET

_TEXTS = ("said*.txt", "out/run.log*", "out/results.csv")
_PNG_END = b"IEND\xaeB`\x82"
_SIGNATURE = re.compile(r"X-Signature=[0-9a-f]{8,}")
_STATE_WORDS = re.compile(r"message|error|reason|words|note|said|detail", re.IGNORECASE)


@dataclass(frozen=True)
class Judged:
    """A folder beside the ledger of its provider."""

    paid_twice: int
    """Tasks beyond the first of a row that were neither refunded."""
    held: int
    held_and_paid: int
    """Those of them for which there is a task."""
    lost: Counter[str]
    """Paid, not completed and not held either: by what their rows are called."""
    wrong: list[str]
    """Ids of completed rows whose file is not a whole image of their own task."""
    unexplained: list[str]
    """Ids of rows that are neither completed nor held nor end with the provider's own word."""


class Folder:
    """What a run left in `folder`/out."""

    def __init__(self, folder: Path) -> None:
        self._out = folder / "out"

    def rows(self) -> list[dict[str, str]]:
        """Of results.csv; none, if there is none."""
        try:
            with (self._out / "results.csv").open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        except FileNotFoundError:
            return []

    def statuses(self) -> Counter[str]:
        """How many rows of each."""
        return Counter(row["status"] for row in self.rows())

    def _digests(self) -> set[str]:
        found = (path for path in self._out.glob("images/**/*") if path.is_file())
        return {_digest(path.read_bytes()) for path in found}

    def saved(self) -> int:
        """Different image files."""
        return len(self._digests())

    def owed(self, report: dict[str, Any]) -> int:
        """Tasks that are paid and not refunded, and of which no image is here."""
        here = self._digests()
        return sum(
            task["status"] != "failed" and not here.intersection(task["pictures"]) for task in report["tasks"]
        )

    def judged(self, report: dict[str, Any]) -> Judged:
        """What the ledger says to that."""
        alive: dict[str, list[dict[str, Any]]] = {}
        codes: dict[str, set[str]] = {}
        for task in report["tasks"]:
            if task["status"] == "failed":
                codes.setdefault(task["prompt"], set()).add(task["error_code"])
            else:
                alive.setdefault(task["prompt"], []).append(task)
        rows = {row["prompt"]: row for row in self.rows()}
        statuses = {prompt: row["status"] for prompt, row in rows.items()}
        not_here = {prompt for prompt in alive if statuses.get(prompt) != "completed"}
        held = {prompt for prompt in statuses if statuses[prompt] == "unknown"}
        return Judged(
            paid_twice=sum(len(tasks) - 1 for tasks in alive.values()),
            held=len(held),
            held_and_paid=len(held & not_here),
            lost=Counter(statuses.get(prompt, "no row") for prompt in not_here - held),
            wrong=[it["id"] for it in rows.values() if not self._is_right(it, alive.get(it["prompt"], []))],
            unexplained=[
                it["id"] for it in rows.values() if not _is_explained(it, codes.get(it["prompt"], set()))
            ],
        )

    def _is_right(self, row: dict[str, str], tasks: list[dict[str, Any]]) -> bool:
        if row["status"] != "completed":
            return True
        try:
            data = (self._out / row["image"]).read_bytes()
            Image.open(io.BytesIO(data)).load()
        except OSError:
            return False
        return any(_digest(data) in task["pictures"] for task in tasks)


def _digest(data: bytes) -> str:
    """Of the picture: what is behind its end changes nothing of it."""
    end = data.find(_PNG_END)
    return hashlib.sha256(data if end < 0 else data[: end + len(_PNG_END)]).hexdigest()


def _is_explained(row: dict[str, str], codes: set[str]) -> bool:
    if row["status"] in ("completed", "unknown"):
        return True
    return row["status"] in ("failed", "refused") and row["error_code"] in codes


def told_secrets(folder: Path) -> list[str]:
    """Where a key or the signature of a link was written that people may pass on."""
    paths = (path for name in _TEXTS for path in sorted(folder.glob(name)))
    texts = {path.name: path.read_text(errors="replace") for path in paths}
    texts.update(_state_words(folder / "out"))
    return [f"{what} in {name}" for name, text in texts.items() for what in _secrets(text)]


def _secrets(text: str) -> Iterator[str]:
    if KEY in text:
        yield "key"
    if _SIGNATURE.search(text) or SECRET in text:
        yield "link"


def _state_words(out: Path) -> Iterator[tuple[str, str]]:
    """The columns of the state that hold sentences; links themselves have to be kept somewhere."""
    for path in out.glob("**/*.sqlite3"):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for column in [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]:
                    if _STATE_WORDS.search(column):
                        values = db.execute(f'SELECT "{column}" FROM "{table}"').fetchall()
                        yield f"state {table}.{column}", "\n".join(str(value) for (value,) in values)
