"""What the provider's ledger, the bytes of the images and the program's own words say of a folder."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaign.hands.advice import Settled
from tests.campaign.hands.world import OUT, World, digest

_PNG_END = b"IEND\xaeB`\x82"
_TOLD = ("unknown", "given_up", "orphan", "resent", "changed", "missing", "unreadable", "forgotten", "held")
_HELD = ("unknown", "running", "ready", "expired")


def verdicts(world: World, settled: Settled, report: dict[str, Any]) -> Iterator[str]:
    """Each begins with its kind and a colon."""
    yield from _paid_twice(world, report)
    for out in (OUT, *world.copies):
        yield from _wrong(world, report, out)
    yield from _twice_in_results(world)
    for one in settled.useless:
        yield f"useless advice: {one}"
    if settled.last.is_refusal:  # with what it says of the folder the rest is told as well
        yield f"dead end: {settled.last.refused or settled.last.said}"[:400]
        return
    yield from _lost(world, settled, report)
    yield from _not_told(world, settled)
    if settled.last.exit_code != 0 and not settled.useless:
        statuses = Counter(row["status"] for row in world.results())
        yield f"dead end: exit {settled.last.exit_code}, {dict(statuses)}"


def _alive(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Charged tasks, by prompt."""
    found: dict[str, list[dict[str, Any]]] = {}
    for task in report["tasks"]:
        if task["status"] != "failed":
            found.setdefault(task["prompt"], []).append(task)
    return found


def _payments(world: World, tasks: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By key: a provider that has forgotten a key makes a second task of it, and that is not ours to keep."""
    found: dict[str, list[dict[str, Any]]] = {}
    for task in tasks:
        key = task["key"] if task["key"] and world.keys != "ignored" else task["id"]
        found.setdefault(key, []).append(task)
    return found


def _paid_twice(world: World, report: dict[str, Any]) -> Iterator[str]:
    where = " in copies" if world.copies else ""
    for prompt, tasks in _alive(report).items():
        if (paid := len(_payments(world, tasks))) > (may := _may(world, prompt)):
            by_word = f"{world.words[prompt]} by a word"
            yield f"paid twice{where}: {prompt!r}: {paid} times, {may} allowed ({by_word})"


def _may(world: World, prompt: str) -> int:
    """So often it may have been paid."""
    return max(1, world.together[prompt]) + world.words[prompt]


def _lost(world: World, settled: Settled, report: dict[str, Any]) -> Iterator[str]:
    here = {picture_digest(path) for out in (OUT, *world.copies) for path in world.images(out)}
    rows: dict[str, list[dict[str, str]]] = {}
    for out in (OUT, *world.copies):
        for row in world.results(out):
            rows.setdefault(row["prompt"], []).append(row)
    in_manifest = {row.prompt for row in world.rows}
    told = {str(one["what"]) for one in settled.findings if one["kind"] in _TOLD}
    details = " ".join(f"{one['detail']}" for one in settled.findings)
    for prompt, tasks in _alive(report).items():
        payments = _payments(world, tasks)
        if len(payments) > _may(world, prompt):
            continue  # told as paid twice
        given_up = world.words[prompt]
        for payment in payments.values():
            if any(task["is_forgotten"] for task in payment):
                continue
            made = {one for task in payment for one in task["pictures"]}
            if made & here:
                continue
            if made & world.removed and prompt not in in_manifest:
                continue
            ours = rows.get(prompt, [])
            is_held = any(row["status"] in _HELD or row["id"] in told for row in ours)
            if is_held or any(task["id"] in details for task in payment):
                continue
            if made & world.removed and any(row["image"] in told for row in ours):
                continue
            if given_up > 0:  # a person has said so
                given_up -= 1
                continue
            status = ", ".join(sorted({row["status"] for row in ours})) or "no row"
            where = "in the manifest" if prompt in in_manifest else "left the manifest"
            yield f"lost: {prompt!r}, {where}, {status}"


def _wrong(world: World, report: dict[str, Any], out: str) -> Iterator[str]:
    alive = _alive(report)
    for row in world.results(out):
        path = world.folder / out / row["image"]
        if row["status"] != "completed" or not path.is_file():
            continue
        if world.placed.get(row["image"]) == digest(path):
            continue
        found = picture_digest(path)
        tasks = alive.get(row["prompt"], [])
        if not any(found in task["pictures"] for task in tasks):
            others = [task["prompt"] for task in report["tasks"] if found in task["pictures"]]
            yield f"wrong image: {out}: {row['id']} ({row['prompt']!r}) has that of {others or 'nobody'}"
        elif not any(found in task["pictures"] and task["id"] == row["task_id"] for task in tasks):
            yield f"wrong task: {row['id']} has the image of another task than it says"


def _not_told(world: World, settled: Settled) -> Iterator[str]:
    """What a person has done to an image of a row is told by the audit."""
    told = {str(one["what"]) for one in settled.findings}
    for row in world.results():
        path = world.out / row["image"]
        if row["status"] != "completed" or row["image"] in told:
            continue
        if not path.is_file():
            yield f"file missing: {row['id']} is completed and has no file"
        elif world.placed.get(row["image"]) == digest(path):
            yield f"change not told: {row['id']} has what the person has put there"


def _twice_in_results(world: World) -> Iterator[str]:
    """One task, one file belongs to one row."""
    rows = [row for row in world.results() if row["status"] == "completed"]
    for name in ("image", "task_id"):
        for value, count in Counter(row[name] for row in rows if row[name]).items():
            if count > 1:
                yield f"one for two: {count} rows have the {name} {value}"


def picture_digest(path: Path) -> str:
    """Of the picture: what is behind its end changes nothing of it."""
    data = path.read_bytes()
    end = data.find(_PNG_END)
    return hashlib.sha256(data if end < 0 else data[: end + len(_PNG_END)]).hexdigest()
