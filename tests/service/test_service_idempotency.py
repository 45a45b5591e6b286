"""One key, one paid task: what a client may count on when it repeats a submit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from nanobanana_batch.service.options import Faults

if TYPE_CHECKING:
    from tests.service.conftest import Api, Start, Until

BODY = b'{"model": "nano-banana-beta", "prompt": "a lighthouse in fog"}'
OTHER = b'{"model": "nano-banana-beta", "prompt": "a lighthouse in rain"}'
KEY = "0123456789abcdef"


def test_a_repeat_returns_the_first_task_and_charges_nothing(start: Start) -> None:
    api = start()
    first = api.post(BODY, key=KEY)
    api.finished(first.json()["id"])
    second = api.post(BODY, key=KEY)
    assert second.content == first.content
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert api.admin("ledger")["paid_tasks"] == 1


@pytest.mark.parametrize("body", [OTHER, BODY + b" ", b"{", b'{"model": "none"}'])
def test_the_same_key_with_another_body_is_a_conflict(api: Api, body: bytes) -> None:
    """Even when the other body is invalid: the key decides before the body's values are looked at."""
    api.submit(BODY, key=KEY)
    reply = api.post(body, key=KEY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_the_same_key_in_the_other_dialect_is_a_conflict(api: Api) -> None:
    body = b'{"model": "gemini-3-pro-image-preview", "prompt": "x"}'
    api.submit(body, key=KEY)
    assert api.post(body, key=KEY, prefix="/unified").status_code == 409


def test_a_key_belongs_to_its_account(start: Start) -> None:
    api = start()
    api.submit(BODY, key=KEY)
    headers = {"Authorization": "Bearer other", "Idempotency-Key": KEY}
    reply = api.http.post("/v1/images/generations", content=OTHER, headers=headers)
    assert reply.status_code == 200


def test_a_rejected_request_does_not_bind_its_key(api: Api) -> None:
    assert api.post(b'{"model": "none", "prompt": "x"}', key=KEY).status_code == 404
    assert api.post(BODY, key=KEY).status_code == 200


@pytest.mark.parametrize("key", ["a" * 15, "a" * 97, "a" * 15 + " b", "a" * 16 + "!", "ä" * 20])
def test_a_malformed_key_is_400(api: Api, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    reply = api.http.post("/v1/images/generations", content=BODY, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")
    assert reply.json()["error"]["param"] == "Idempotency-Key"
    assert api.http.get("/v1/tasks").json()["total"] == 0


@pytest.mark.parametrize("key", ["a" * 16, "Z9._-" * 19])
def test_a_key_of_16_to_96_characters_is_taken(api: Api, key: str) -> None:
    assert api.post(BODY, key=key).status_code == 200


def test_a_key_under_decision_is_neither_paid_again_nor_refused(start: Start, until: Until) -> None:
    """While the first attempt is being decided: wait; with another body: a conflict all the same."""
    api = start(faults=Faults(next={"slow_decision": 1}, slow_decision_s=3.0))
    replies: list[httpx.Response] = []
    first = threading.Thread(target=lambda: replies.append(api.post(BODY, key=KEY)))
    first.start()
    until(lambda: api.admin("faults")["next"] == {})
    same, other = api.post(BODY, key=KEY), api.post(OTHER, key=KEY)
    first.join()
    assert (same.status_code, same.json()["error"]["code"]) == (409, "paid_outcome_unknown")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert api.post(BODY, key=KEY).json()["id"] == replies[0].json()["id"]
    assert api.admin("ledger")["paid_tasks"] == 1


def test_keys_can_be_ignored(start: Start) -> None:
    """The header is undocumented: such a service charges again, and says nothing about replays."""
    api = start(idempotency=False)
    first, second = api.post(BODY, key=KEY), api.post(BODY, key=KEY)
    assert first.json()["id"] != second.json()["id"]
    assert "Idempotency-Replayed" not in second.headers
    assert api.post(BODY, key="short").status_code == 200
    summary = api.admin("ledger")
    assert (summary["paid_tasks"], summary["duplicate_bodies"]) == (3, 2)


def test_a_key_is_remembered_over_a_kill(start: Start) -> None:
    api = start()
    task = api.submit(BODY, key=KEY)
    api.service.kill()
    again = start()
    reply = again.post(BODY, key=KEY)
    assert (reply.json()["id"], reply.headers["Idempotency-Replayed"]) == (task, "true")
    assert again.post(OTHER, key=KEY).status_code == 409
