"""For some time nothing works: begun by a call, or planned from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nanobanana_batch.service.faults import Outages
from nanobanana_batch.service.options import Faults

if TYPE_CHECKING:
    from tests.service.conftest import Api, Start

BODY = b'{"model": "nano-banana-beta", "prompt": "a lighthouse in fog"}'
PATH = "/v1/images/generations"


def _paid(api: Api) -> int:
    return int(api.admin("ledger")["paid_tasks"])


def test_begun_by_a_call_and_ended_by_one(start: Start) -> None:
    api = start()
    link = api.finished(api.submit())["results"][0]
    assert api.http.post("/admin/outage", json={"length_s": 600}).json()["left_s"] > 590
    calls = ["/v1/credits", "/unified/v1/credits", "/v1/tasks", "/api/v1/files/quota", link]
    assert {api.http.get(url).status_code for url in calls} == {503}
    assert api.post(BODY).json()["error"]["code"] == "service_unavailable_error"
    assert api.admin("requests")["POST /v1/images/generations 503"] == 1
    assert api.http.post("/admin/outage", json={"length_s": 0}).json() == {"left_s": 0}
    assert {api.http.get(url).status_code for url in calls} == {200}
    assert _paid(api) == 1


def test_links_can_be_spared(start: Start) -> None:
    api = start(faults=Faults(outage_links=False))
    link = api.finished(api.submit())["results"][0]
    api.http.post("/admin/outage", json={"length_s": 600})
    assert api.http.get(link).status_code == 200
    assert api.http.get("/v1/credits").status_code == 503


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("html", 502), ("503", 503)])
def test_its_answer_is_chosen(start: Start, kind: str, status: int) -> None:
    api = start(faults=Faults(outage_kind=kind, retry_after_s=9))  # type: ignore[arg-type]
    api.http.post("/admin/outage", json={"length_s": 600})
    reply = api.http.get("/v1/credits")
    assert reply.status_code == status
    assert ("Retry-After" in reply.headers) is (kind == "429")
    assert reply.text.startswith("<html>") is (kind == "html")


def test_or_there_is_none(start: Start) -> None:
    api = start(faults=Faults(outage_kind="close"))
    api.http.post("/admin/outage", json={"length_s": 600})
    assert api.raw("POST", PATH, BODY) == b""
    assert _paid(api) == 0


@pytest.mark.parametrize("length_s", [-1, "x", None, True, 1e9])
def test_a_wrong_length_is_400(api: Api, length_s: Any) -> None:
    assert api.http.post("/admin/outage", json={"length_s": length_s}).status_code == 400
    assert api.http.get("/v1/credits").status_code == 200


def test_planned_ones_begin_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("nanobanana_batch.service.faults.time.monotonic", lambda: now)
    outages = Outages([(10.0, 5.0), (12.0, 1.0), (100.0, 2.0)])
    seen = []
    for at in (0.0, 9.9, 10.0, 12.5, 14.0, 15.0, 99.0, 101.0, 102.0):
        now = 1000.0 + at
        seen.append(outages.left_s())
    assert seen == pytest.approx([0, 0, 5, 2.5, 1, 0, 0, 1, 0])


def test_a_planned_one_from_the_start(start: Start) -> None:
    assert start(outages=((0.0, 600.0),)).http.get("/v1/credits").status_code == 503
