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
from pathlib import Path
from typing import Any

from PIL import Image

from .mutations import KEY, SECRET

_TEXTS = ("said.txt", "out/run.log", "out/results.csv")
_SIGNATURE = re.compile(r"X-Signature=[0-9a-f]{8,}")
_STATE_WORDS = re.compile(r"message|error|reason|words|note|said|detail", re.IGNORECASE)


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
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def saved(self) -> int:
        """Different image files."""
        return len(self._digests())

    def owed(self, report: dict[str, Any]) -> int:
        """Tasks that are paid and not refunded, and of which no image is here."""
        here = self._digests()
        return sum(
            task["status"] != "failed" and not here.intersection(task["pictures"]) for task in report["tasks"]
        )

    def faults(self, report: dict[str, Any], most_held: int) -> Iterator[str]:
        """Which promises are broken, by the ledger, when everything should be here."""
        alive: dict[str, list[dict[str, Any]]] = {}
        for task in report["tasks"]:
            if task["status"] != "failed":
                alive.setdefault(task["prompt"], []).append(task)
        rows = {row["prompt"]: row for row in self.rows()}
        if twice := sum(len(tasks) - 1 for tasks in alive.values()):
            yield f"paid twice: {twice}"
        not_here = {prompt for prompt in alive if rows.get(prompt, {}).get("status") != "completed"}
        held = {prompt for prompt in not_here if rows.get(prompt, {}).get("status") == "unknown"}
        if len(held) > most_held:
            yield f"held: {len(held)}"
        if lost := Counter(rows.get(prompt, {}).get("status", "no row") for prompt in not_here - held):
            yield "lost: " + ", ".join(f"{count} are {status}" for status, count in lost.items())
        wrong = [row["id"] for row in rows.values() if not self._is_right(row, alive.get(row["prompt"], []))]
        if wrong:
            yield f"wrong image: {len(wrong)}, such as {wrong[0]}"

    def _is_right(self, row: dict[str, str], tasks: list[dict[str, Any]]) -> bool:
        if row["status"] != "completed":
            return True
        try:
            data = (self._out / row["image"]).read_bytes()
            Image.open(io.BytesIO(data)).load()
        except OSError:
            return False
        return any(hashlib.sha256(data).hexdigest() in task["pictures"] for task in tasks)


def told_secrets(folder: Path) -> list[str]:
    """Where a key or the signature of a link was written that people may pass on."""
    texts = {name: _text(folder / name) for name in _TEXTS}
    texts.update(_state_words(folder / "out"))
    return [f"{what} in {name}" for name, text in texts.items() for what in _secrets(text)]


def _secrets(text: str) -> Iterator[str]:
    if KEY in text:
        yield "key"
    if _SIGNATURE.search(text) or SECRET in text:
        yield "link"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _state_words(out: Path) -> Iterator[tuple[str, str]]:
    """The columns of the state that hold sentences; links themselves have to be kept somewhere."""
    for path in out.glob("**/*.sqlite3"):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for column in [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]:
                    if _STATE_WORDS.search(column):
                        values = db.execute(f'SELECT "{column}" FROM "{table}"').fetchall()
                        yield f"state {table}.{column}", "\n".join(str(value) for (value,) in values)
