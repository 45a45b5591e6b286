"""What is told of each paid request outside of the state, and whether a state knows all of that.

A state can be lost, or replaced by an older copy of itself, and then knows nothing of requests that were
paid. So each fact is also told in a line of a file that is only ever appended to, after it is on disk in the
state and before anyone acts on it. After the lines of each commit one says how much was told so far, with a
hash over all of it: of any state it can be said whether it has come past the last one. What is told is enough
to make another state of it; no prompt, no link and no key of an account is in it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from nanobanana_batch.commands import rebuild_hint
from nanobanana_batch.errors import StateFailed
from nanobanana_batch.model import Image, TaskMade
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.history import history

_NOT_TOLD = frozenset({"row", "body", "fingerprint", "uploads", "links", "request_id"})
"""Private, of this state file alone, or of no use to another one."""
_TOLD: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        facts.Intent,
        facts.Joined,
        facts.SentAgain,
        facts.NotSent,
        facts.Unanswered,
        facts.Rejected,
        facts.Accepted,
        facts.Answered,
        facts.Ready,
        facts.Saved,
        facts.Lost,
        facts.Found,
        facts.Failed,
        facts.Expired,
        facts.GivenUp,
        facts.Rested,
        facts.Moved,
    )
}
"""What concerns a paid request; uploaded files cost nothing, and end by themselves."""


def _told_fields(kind: type[Any]) -> list[tuple[str, Any]]:
    """Each with the value that is not told."""
    return [
        (field.name, None if field.default is MISSING else field.default)
        for field in fields(kind)
        if field.name not in _NOT_TOLD
    ]


_FIELDS = {kind: _told_fields(kind) for kind in _TOLD.values()}
_TASK_FIELDS = _told_fields(TaskMade)
_IMAGE_FIELDS = [field.name for field in fields(Image)]
_REQUESTS = "SELECT * FROM requests ORDER BY request"
_ATTEMPTS = """
SELECT attempts.*, rows.row_key, rows.stem, rows.attempt = attempts.attempt AS is_latest,
       json_extract(rows.request, '$.model') AS model, coalesce(twins.base_key, '') AS base_key
FROM attempts JOIN rows USING (row) LEFT JOIN twins USING (row_key)
ORDER BY attempts.request, attempts.attempt
"""
_IMAGES = """
SELECT attempts.request, images.* FROM images JOIN attempts USING (attempt)
ORDER BY attempts.request, attempts.attempt, images.number
"""
_CHAIN = b'"chain":"'
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


LastTold = tuple[int, bytes, int, Path]
"""A chain that was told last (number, mark and sent), and the output folder in which it is."""


class Chain(NamedTuple):
    """How many facts were told, a hash over their lines, and how many of them are sendings."""

    number: int = 0
    mark: bytes = bytes(8)
    sent: int = 0

    def after(self, lines: Sequence[bytes], sent: int) -> Chain:
        """With these lines more."""
        if not lines:
            return self
        digest = hashlib.sha256(self.mark)
        for line in lines:
            digest.update(line)
        return Chain(self.number + len(lines), digest.digest()[:8], self.sent + sent)


class Witness(Protocol):
    """The file in which it is told; see `files.payments`."""

    def told(self) -> LastTold | None:
        """None where it tells of none."""

    def append(self, lines: bytes) -> None:
        """Tell more.

        Raises:
            OSError: the disk refuses.
        """

    def rewrite(self, pieces: Iterable[bytes]) -> None:
        """Tell it all anew.

        Raises:
            DiskFailed: the disk refuses; what was told before stands.
        """


def told(chain: Chain, batch: Iterable[Fact]) -> tuple[Chain, bytes]:
    """The lines for facts that are written together, and the chain with them."""
    known = [fact for fact in batch if type(fact).__name__ in _TOLD]
    lines = [_line(_entry(fact)) for fact in known]
    after = chain.after(lines, sum(is_sending(fact) for fact in known))
    return after, b"".join([*lines, _line(_checkpoint(after))] if lines else [])


def is_sending(fact: Fact) -> bool:
    """Whether it says that a paid request is about to be sent."""
    return isinstance(fact, facts.Intent | facts.SentAgain)


def told_anew(db: sqlite3.Connection, chain: Chain) -> Iterator[bytes]:
    """The lines for all that a state knows; the last says so, with a hash over these lines."""
    late: list[Fact] = []
    digest = hashlib.sha256(Chain().mark)
    attempts, images = (_by_request(db, query) for query in (_ATTEMPTS, _IMAGES))
    for request in itertools.chain(_named(db, _REQUESTS), [None]):
        several: Iterable[Fact] = late
        if request is not None:
            number = request["request"]
            several = history(request, attempts(number), images(number), late)
        piece = b"".join(_line(_entry(fact)) for fact in several)
        digest.update(piece)
        yield piece
    if chain.number:
        yield _line(_checkpoint(chain) | {"anew": digest.digest()[:8].hex()})


def _named(db: sqlite3.Connection, query: str) -> Iterator[dict[str, Any]]:
    cursor = db.execute(query)
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, found, strict=True)) for found in cursor)


def _by_request(db: sqlite3.Connection, query: str) -> Callable[[int], list[dict[str, Any]]]:
    """What belongs to a request, of what comes in the order of requests; ask for each of these in turn."""
    groups = itertools.groupby(_named(db, query), key=itemgetter("request"))
    ahead = next(groups, None)
    held = [] if ahead is None else list(ahead[1])

    def of(request: int) -> list[dict[str, Any]]:
        nonlocal ahead, held
        if ahead is None or ahead[0] != request:
            return []
        found = held
        ahead = next(groups, None)
        held = [] if ahead is None else list(ahead[1])
        return found

    return of


def chain_of(db: sqlite3.Connection) -> Chain:
    """How much a state knows of."""
    found = db.execute("SELECT number, chain, sent FROM told ORDER BY number DESC LIMIT 1").fetchone()
    return Chain() if found is None else Chain(int(found[0]), bytes(found[1]), int(found[2]))


def refuse_less_known(db: sqlite3.Connection, version: int, known: LastTold | None) -> None:
    """A state that has not come past what was told would pay for rows that were paid for already.

    Raises:
        StateFailed: it has not.
    """
    if known is None or not known[0]:
        return
    last, mark, sent, folder = known
    if version < 4:  # older than any telling: it can only be counted
        (number,) = db.execute("SELECT count(*) FROM main.attempts").fetchone()
        last, is_known = sent, number >= sent
    else:
        number = chain_of(db).number
        found = db.execute("SELECT chain FROM told WHERE number = ?", (last,)).fetchone()
        is_known = found is not None and bytes(found[0]) == mark
    if not is_known:
        lacks = f"lacks the last {last - number:,}" if number < last else "does not know these"
        raise StateFailed(
            f"The state of {folder} is not the one that its requests were paid with: payments.jsonl tells"
            f" {last:,} facts about {sent:,} that were sent, and the state {lacks}. It is an older copy, or"
            " lacks a part; nothing was sent.",
            hint=rebuild_hint(folder),
        )


class Told(NamedTuple):
    """One line, understood: a fact, or how much was told before it."""

    fact: Fact | None
    chain: Chain | None
    anew: bytes
    """A hash over all lines before, where these were told anew from a state; else empty."""


def understand(line: bytes) -> Told:
    """What a line tells; an intent has 0 for its row.

    Raises:
        ValueError, TypeError, KeyError: it is no such line.
    """
    entry: dict[str, Any] = json.loads(line)
    if "fact" not in entry:
        chain = Chain(int(entry["told"]), bytes.fromhex(entry["chain"]), int(entry["sent"]))
        return Told(None, chain, bytes.fromhex(entry.get("anew", "")))
    kind = _TOLD[entry["fact"]]
    known = {field.name: entry[field.name] for field in fields(kind) if field.name in entry}
    if kind is facts.Intent:
        known |= {"row": 0, "body": b"", "fingerprint": "", "stem": str(entry["stem"])}
    if kind is facts.Joined:
        known |= {"row": 0, "stem": str(entry["stem"])}
    if kind is facts.Ready:
        known |= {"links": (), "stems": tuple(map(str, entry.get("stems", ())))}
    if kind is facts.Saved:
        known["image"] = Image(**entry["image"])
    if kind is facts.Accepted:
        known["task"] = TaskMade(**{name: entry[name] for name, _ in _TASK_FIELDS if name in entry})
    known = {field.name: None for field in fields(kind) if field.default is MISSING} | known
    return Told(kind(**known), None, b"")


def chain_told(line: bytes) -> Chain | None:
    """How much was told before this line, if it says that."""
    if _CHAIN not in line:
        return None
    try:
        return understand(line).chain
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _entry(fact: Fact) -> dict[str, Any]:
    kind = type(fact)
    entry: dict[str, Any] = {"fact": kind.__name__}
    _tell(entry, fact, _FIELDS[kind])
    if isinstance(fact, facts.Saved):
        entry["image"] = {name: getattr(fact.image, name) for name in _IMAGE_FIELDS}
    if isinstance(fact, facts.Accepted):
        del entry["task"]
        _tell(entry, fact.task, _TASK_FIELDS)
    return entry


def _tell(entry: dict[str, Any], what: object, names: list[tuple[str, Any]]) -> None:
    for name, default in names:
        value = getattr(what, name)
        if value is not None and value != default:
            entry[name] = value


def _checkpoint(chain: Chain) -> dict[str, Any]:
    return {"told": chain.number, "sent": chain.sent, "chain": chain.mark.hex()}


def _line(entry: dict[str, Any]) -> bytes:
    return _ENCODE(entry).encode() + b"\n"
