"""What the provider's ledger, the bytes of the images and the program's own words say of a folder."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaign.hands.advice import Settled
from tests.campaign.hands.world import OUT, World, digest

_PNG_END = b"IEND\xaeB`\x82"
_TOLD = ("unknown", "given_up", "orphan", "resent", "changed", "missing", "unreadable", "forgotten", "held")
_HELD = ("unknown", "running", "ready", "expired")


def verdicts(world: World, settled: Settled, report: dict[str, Any]) -> Iterator[str]:
    """Each begins with its kind and a colon."""
    payments = _payments(world, report)
    twice = _paid_twice(world, payments)
    where = " in copies" if world.copies else ""
    yield from (f"paid twice{where}: {said}" for said in twice.values())
    for out in (OUT, *world.copies):
        yield from _wrong(world, report, out)
    yield from _twice_in_results(world)
    for one in settled.useless:
        yield f"useless advice: {one}"
    if settled.last.is_refusal:  # with what it says of the folder the rest is told as well
        yield f"dead end: {settled.last.refused or settled.last.said}"[:400]
        return
    yield from _lost(world, settled, payments, twice)
    yield from _not_told(world, settled)
    if settled.last.exit_code != 0 and not settled.useless:
        statuses = Counter(row["status"] for row in world.results())
        yield f"dead end: exit {settled.last.exit_code}, {dict(statuses)}"


@dataclass(frozen=True)
class _Payment:
    """Tasks of one key: a provider that has forgotten it makes a second one, and that is not ours to keep."""

    at: float
    tasks: list[dict[str, Any]]


def _payments(world: World, report: dict[str, Any]) -> dict[str, list[_Payment]]:
    """What was charged and not refunded, by prompt, in its order."""
    found: dict[str, dict[str, _Payment]] = {}
    for task in sorted(report["tasks"], key=lambda one: float(one["made_at"])):
        if task["status"] != "failed":
            key = task["key"] if task["key"] and world.keys != "ignored" else task["id"]
            of_prompt = found.setdefault(task["prompt"], {})
            of_prompt.setdefault(key, _Payment(task["made_at"], [])).tasks.append(task)
    return {prompt: list(payments.values()) for prompt, payments in found.items()}


def _paid_twice(world: World, payments: dict[str, list[_Payment]]) -> dict[str, str]:
    """By prompt. A command may pay for rows that no payment stands for, and for what a person's word adds."""
    found: dict[str, str] = {}
    for prompt, paid in payments.items():
        had, left = 0, 0
        for asked, following in zip(world.asked, [*world.asked[1:], None], strict=True):
            end = following.at if following else float("inf")
            has = sum(one.at < end for one in paid)
            left += asked.more[prompt]
            beyond = has - max(had, asked.rows[prompt])
            if beyond > left:
                said = f"{has} times, {asked.rows[prompt]} rows, {had} before, {left} by a word"
                found.setdefault(prompt, f"{prompt!r} in command {asked.what}: {said}")
            left = max(0, left - max(0, beyond))
            had = has
    return found


def _lost(
    world: World, settled: Settled, payments: dict[str, list[_Payment]], twice: dict[str, str]
) -> Iterator[str]:
    """What is paid twice and not here is told as that."""
    here = {picture_digest(path) for out in (OUT, *world.copies) for path in world.images(out)}
    for prompt, paid in payments.items():
        gone = [one for one in paid if not _is_accounted_for(world, settled, prompt, one, here)]
        if gone and prompt not in twice and len(gone) > sum(asked.more[prompt] for asked in world.asked):
            statuses = {row["status"] for row in world.results() if row["prompt"] == prompt}
            is_in_manifest = any(row.prompt == prompt for row in world.rows)
            where = "in the manifest" if is_in_manifest else "left the manifest"
            yield f"lost: {prompt!r}, {where}, {', '.join(sorted(statuses)) or 'no row'}"


def _is_accounted_for(world: World, settled: Settled, prompt: str, payment: _Payment, here: set[str]) -> bool:
    """Its image is here, or nobody can have it, or a person took it away, or the program tells of it."""
    made = {one for task in payment.tasks for one in task["pictures"]}
    if made & here or any(task["is_forgotten"] for task in payment.tasks):
        return True
    is_in_manifest = any(row.prompt == prompt for row in world.rows)
    if made & world.removed and not is_in_manifest:
        return True
    rows = [row for out in (OUT, *world.copies) for row in world.results(out) if row["prompt"] == prompt]
    told = {str(one["what"]) for one in settled.findings if one["kind"] in _TOLD}
    details = " ".join(f"{one['detail']}" for one in settled.findings)
    is_held = bool(world.ids[prompt] & told) or any(row["status"] in _HELD for row in rows)
    is_told = any(task["id"] in details for task in payment.tasks)
    return is_held or is_told or (bool(made & world.removed) and any(row["image"] in told for row in rows))


def _wrong(world: World, report: dict[str, Any], out: str) -> Iterator[str]:
    alive: dict[str, list[dict[str, Any]]] = {}
    for task in report["tasks"]:
        alive.setdefault(task["prompt"], []).append(task)
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
