"""Which facts have led to a request as the state has it: told anew, they make another state like it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from nanobanana_batch.model import Image, Kind, TaskMade
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import CAN_REST, GIVEN_UP, RUNNING, ImagePhase, Phase, RequestPhase

_IMAGE_FIELDS = [field.name for field in fields(Image)]
_SAID_NO = (RequestPhase.REJECTED, RequestPhase.REFUSED)
"""Then its attempts have failed with the request, and need no word of their own."""
Record = dict[str, Any]
"""A row of a table, by the names of its columns."""


def history(
    request: Record, attempts: list[Record], images: Iterable[Record], late: list[Fact]
) -> Iterator[Fact]:
    """What has led to a request; what came after one of its rows had a later one goes to `late`."""
    owed: dict[int, list[Record]] = {}
    for image in images:
        owed.setdefault(image["attempt"], []).append(image)
    first, *others = attempts
    number, account = request["request"], request["account"]
    yield facts.Intent(
        0,
        number,
        first["number"],
        first["stem"],
        request["provider"],
        account,
        b"",
        "",
        request["idempotency_key"],
        request["intended_at"],
        request["credits_expected"],
        row_key=first["row_key"],
        model=first["model"],
        base_key=first["base_key"],
        kind=request["kind"],
        name=first["name"],
    )
    for one in others:
        names = (one["row_key"], one["model"], one["base_key"])
        yield facts.Joined(0, one["attempt"], number, one["number"], one["stem"], one["name"], *names)
    for _ in range(request["sent"] - 1):
        yield facts.Unanswered(number, "")
        yield facts.SentAgain(number, request["intended_at"])
    yield from _of_request(request, first)
    for attempt in attempts:
        yield from _of_attempt(request, attempt, owed.get(attempt["attempt"], []), late)
    if request["rests_since"] is not None and Phase(first["phase"]) in CAN_REST:
        yield facts.Rested(number, request["rests_since"])


def _of_request(request: Record, first: Record) -> Iterator[Fact]:
    number, message = request["request"], first["error_message"] or ""
    match RequestPhase(request["phase"]):
        case RequestPhase.NOT_SENT:
            yield facts.NotSent(number, message)
        case RequestPhase.UNKNOWN:
            yield facts.Unanswered(number, message)
        case RequestPhase.REJECTED | RequestPhase.REFUSED as phase:
            is_refused, code = phase is RequestPhase.REFUSED, first["error_code"] or ""
            yield facts.Rejected(number, code, message, is_refused, None, first["ended_at"])
        case RequestPhase.ACCEPTED | RequestPhase.ANSWERED:
            if request["kind"] != Kind.DIRECT:
                reserved, estimated = request["credits_reserved"], request["estimated_s"]
                at = request["accepted_at"]
                yield facts.Accepted(number, TaskMade(request["task_id"], None, reserved, estimated), at)
            if request["results"] is not None:
                yield facts.Answered(
                    number, request["results"], request["credits_used"], request["answered_at"]
                )


def _of_attempt(request: Record, known: Record, images: list[Record], late: list[Fact]) -> Iterator[Fact]:
    attempt, phase = int(known["attempt"]), Phase(known["phase"])
    then = list(_after_answer(request, known, images))
    if not known["is_latest"] and phase in RUNNING | {Phase.SAVED}:
        # It was left for good, the row paid for once more, and then it came after all.
        late.extend(then)
        yield facts.Expired(attempt, "", request["accepted_at"])
    else:
        yield from then


def _after_answer(request: Record, known: Record, images: list[Record]) -> Iterator[Fact]:
    attempt, phase = int(known["attempt"]), Phase(known["phase"])
    code, message, ended_at = known["error_code"] or "", known["error_message"] or "", known["ended_at"]
    if images and request["answered_at"] is not None:
        yield from _of_images(request, known, images)
    match phase:
        case Phase.FAILED if code == GIVEN_UP:
            yield facts.GivenUp(attempt, ended_at)
        case Phase.FAILED | Phase.REFUSED if request["phase"] not in _SAID_NO:
            is_refused, retryable = phase is Phase.REFUSED, bool(known["retryable"])
            yield facts.Failed(attempt, code, message, retryable, is_refused, ended_at)
        case Phase.EXPIRED:
            yield facts.Expired(attempt, message, ended_at)


def _of_images(request: Record, known: Record, images: list[Record]) -> Iterator[Fact]:
    attempt = int(known["attempt"])
    stems = tuple(image["stem"] or "" for image in images[1:])
    used, at, dies_at = request["credits_used"], request["answered_at"], images[0]["dies_at"] or 0.0
    yield facts.Ready(attempt, (), dies_at, used, at, len(images), stems)
    saved = [image for image in images if image["sha256"] is not None]
    for count, image in enumerate(saved, 1):
        made = Image(**{name: image[name] for name in _IMAGE_FIELDS})
        is_last = count == len(images)
        yield facts.Saved(attempt, made, image["saved_at"], image["number"], is_last)
    for image in saved:
        if image["phase"] != ImagePhase.SAVED:
            yield facts.Lost(attempt, image["number"])
    if Phase(known["phase"]) is Phase.READY and any(image["phase"] == ImagePhase.EXPECTED for image in saved):
        yield facts.Ready(attempt, (), dies_at, used, at, len(images), stems)
