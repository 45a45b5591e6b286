"""Each way to misbehave, seen from outside, and what the ledger says of it."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from contextlib import closing
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from nanobanana_batch.service.contract import REJECTIONS
from nanobanana_batch.service.faults import FaultPlan
from nanobanana_batch.service.options import Faults, fault_names

if TYPE_CHECKING:
    from tests.service.conftest import Api, Start, Until

BODY = b'{"model": "nano-banana-beta", "prompt": "a lighthouse in fog"}'
KEY = "Idempotency-Key: 0123456789abcdef\r\n"
PATH = "/v1/images/generations"


def _once(name: str, **more: Any) -> Faults:
    return Faults(next={name: 1}, **more)


def _paid(api: Api) -> int:
    return int(api.admin("ledger")["paid_tasks"])


def test_a_429_says_when_in_its_header(start: Start) -> None:
    api = start(faults=_once("rate_429", retry_after_s=7))
    reply = api.post(BODY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert reply.headers["Retry-After"] == "7"
    assert "fallback_suggestion" not in reply.json()["error"]
    assert _paid(api) == 0
    assert api.post(BODY).status_code == 200


def test_a_429_says_when_in_its_body(start: Start) -> None:
    api = start(faults=_once("rate_429", retry_after_s=60, retry_after_in="body"))
    reply = api.post(BODY)
    assert reply.json()["error"]["fallback_suggestion"] == "retry after 60 seconds"
    assert "Retry-After" not in reply.headers


def test_a_429_names_the_moment(start: Start) -> None:
    api = start(faults=_once("rate_429", retry_after_s=3600, retry_after_in="date"))
    reply = api.post(BODY)
    waits = parsedate_to_datetime(reply.headers["Retry-After"]) - parsedate_to_datetime(reply.headers["Date"])
    assert 3598 <= waits.total_seconds() <= 3602
    assert "fallback_suggestion" not in reply.json()["error"]


@pytest.mark.parametrize(("fault", "paid"), [("rate_5xx_before", 0), ("rate_5xx_after", 1)])
def test_a_5xx_before_or_after_the_charge(start: Start, fault: str, paid: int) -> None:
    api = start(faults=_once(fault))
    reply = api.post(BODY)
    assert reply.status_code in (500, 502, 503, 504)
    assert reply.json()["error"]["code"] in ("internal_error", "upstream_error", "service_unavailable_error")
    assert _paid(api) == paid


@pytest.mark.parametrize(("fault", "paid"), [("lost_reply_before", 0), ("lost_reply_after", 1)])
def test_a_lost_reply_is_not_one_byte(start: Start, fault: str, paid: int) -> None:
    api = start(faults=_once(fault))
    assert api.raw("POST", PATH, BODY, KEY) == b""
    assert _paid(api) == paid
    assert api.admin("requests")[f"POST {PATH} lost"] == 1
    reply = api.raw("POST", PATH, BODY, KEY)
    assert reply.startswith(b"HTTP/1.1 200")
    assert (b"idempotency-replayed: true" in reply.lower()) is bool(paid)
    assert _paid(api) == 1


def test_a_dripping_reply_is_whole_in_the_end(start: Start) -> None:
    """And comes in many pieces."""
    api = start(faults=_once("drip_reply", drip_interval_s=0.002))
    content = BODY
    with api.http.stream("POST", PATH, content=content) as reply:
        pieces = list(reply.iter_raw())
    assert len(pieces) > 20
    task = httpx.Response(200, content=b"".join(pieces)).json()
    assert api.read(task["id"])["id"] == task["id"]


def test_a_dripping_reply_that_nobody_reads_ends(start: Start, until: Until) -> None:
    api = start(faults=_once("drip_reply", drip_interval_s=30.0))
    with pytest.raises(httpx.ReadTimeout):
        api.http.post(PATH, content=BODY, timeout=0.5)
    # Counted when it is over: long before the next byte would be due.
    until(lambda: api.admin("requests").get(f"POST {PATH} 200"), deadline_s=20)


def test_an_html_reply_from_a_proxy(start: Start) -> None:
    api = start(faults=_once("html_reply"))
    reply = api.post(BODY)
    assert (reply.status_code, reply.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert reply.text.startswith("<html>")
    assert _paid(api) == 0


@pytest.mark.parametrize(
    ("fault", "status", "paid"), [("empty_reply", 502, 0), ("empty_reply_after", 200, 1)]
)
def test_an_empty_reply(start: Start, fault: str, status: int, paid: int) -> None:
    api = start(faults=_once(fault))
    reply = api.post(BODY)
    assert (reply.status_code, reply.content, _paid(api)) == (status, b"", paid)


def test_a_slow_reply_comes_after_the_charge(start: Start) -> None:
    api = start(faults=_once("slow_reply", slow_reply_s=60.0))
    with pytest.raises(httpx.ReadTimeout):
        api.http.post(PATH, content=BODY, timeout=0.5)
    assert _paid(api) == 1


def test_a_stuck_task_never_ends(start: Start) -> None:
    api = start(faults=_once("stuck_task"))
    stuck = api.submit()
    later = [api.finished(api.submit()) for _ in range(3)]
    assert {task["status"] for task in later} == {"completed"}
    assert api.read(stuck)["status"] == "processing"
    assert api.http.get("/v1/tasks?status=processing").json()["total"] == 1


def test_a_stuck_task_stays_stuck_over_a_restart(start: Start) -> None:
    api = start(faults=_once("stuck_task"))
    stuck = api.submit()
    api.service.kill()
    again = start()
    again.finished(again.submit())
    assert again.read(stuck)["status"] == "processing"


@pytest.mark.parametrize("code", ["service_error", "generation_failed_no_content", None])
def test_a_task_fails_with_a_code(start: Start, code: str | None) -> None:
    api = start(faults=_once("fail_task", fail_code=code))
    error = api.finished(api.submit())["error"]
    assert error["type"] == "task_error"
    assert error["message"]
    assert error["code"] == code if code else error["code"]


def test_two_tasks_with_the_same_image(start: Start) -> None:
    api = start(faults=Faults(next={"same_image": 2}))
    bodies = [{"model": "nano-banana-beta", "prompt": prompt} for prompt in ("one", "two", "three", "four")]
    images = [api.image(body) for body in bodies]
    assert images[0] == images[1]
    assert len(set(images)) == 3


@pytest.mark.parametrize("path", ["single", "batch"])
def test_a_nonsense_read_is_json_of_a_wrong_shape(start: Start, path: str) -> None:
    api = start()
    task = api.submit()
    api.faults(next={"nonsense_read": 1})
    if path == "single":
        reply = api.http.get(f"/v1/tasks/{task}")
    else:
        reply = api.http.post("/v1/tasks/batch", json={"task_ids": [task]})
    assert reply.status_code == 200
    value = reply.json()
    assert not (isinstance(value, dict) and (value.get("id") == task or isinstance(value.get("data"), list)))
    assert api.read(task)["id"] == task


def test_reads_fail_too(start: Start) -> None:
    api = start()
    task = api.submit()
    api.faults(next={"rate_429_read": 1, "rate_5xx_read": 1})
    statuses = [api.http.get(f"/v1/tasks/{task}").status_code for _ in range(3)]
    assert statuses[0] == 429
    assert statuses[1] >= 500
    assert statuses[2] == 200
    api.faults(next={"lost_reply_read": 1})
    assert api.raw("GET", f"/v1/tasks/{task}") == b""


class TestDownloads:
    @pytest.fixture
    def link(self, start: Start) -> tuple[Api, str, bytes]:
        api = start()
        link = api.finished(api.submit())["results"][0]
        return api, link, api.http.get(link).content

    def test_cut(self, link: tuple[Api, str, bytes]) -> None:
        """The length is right, the connection ends half way."""
        api, url, image = link
        api.faults(next={"cut_download": 1})
        head, _, body = api.raw("GET", httpx.URL(url).path).partition(b"\r\n\r\n")
        assert f"content-length: {len(image)}".encode() in head.lower()
        assert body == image[: len(image) // 2]
        assert api.http.get(url).content == image

    def test_truncated(self, link: tuple[Api, str, bytes]) -> None:
        """The length agrees with the body, which is half an image."""
        api, url, image = link
        api.faults(next={"truncated_download": 1})
        reply = api.http.get(url)
        assert (reply.status_code, reply.content) == (200, image[: len(image) // 2])
        with pytest.raises(OSError, match="truncated"):
            Image.open(BytesIO(reply.content)).load()

    def test_wrong_type(self, link: tuple[Api, str, bytes]) -> None:
        api, url, _ = link
        api.faults(next={"wrong_type_download": 1})
        reply = api.http.get(url)
        assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")

    def test_oversized(self, link: tuple[Api, str, bytes]) -> None:
        api, url, image = link
        api.faults(next={"oversized_download": 1}, oversized_bytes=3_000_000)
        reply = api.http.get(url)
        assert len(reply.content) == int(reply.headers["Content-Length"]) == 3_000_000
        assert reply.content.startswith(image)

    def test_dripping(self, link: tuple[Api, str, bytes]) -> None:
        api, url, image = link
        api.faults(next={"drip_download": 1}, drip_interval_s=0.0)
        with api.http.stream("GET", url) as reply:
            assert next(reply.iter_raw()) != image
        assert api.http.get(url).content == image

    def test_5xx(self, link: tuple[Api, str, bytes]) -> None:
        api, url, _ = link
        api.faults(next={"rate_5xx_download": 1})
        assert api.http.get(url).status_code >= 500
        assert api.http.get(url).status_code == 200

    def test_a_dead_link_stays_dead_and_a_read_gives_a_new_one(self, link: tuple[Api, str, bytes]) -> None:
        api, url, image = link
        task = api.http.get("/v1/tasks").json()["data"][0]["id"]
        assert api.read(task)["results"] == [url]
        api.faults(next={"dead_link": 1})
        assert api.http.get(url).status_code in (404, 410)
        assert api.http.get(url).status_code in (404, 410)
        renewed = api.read(task)["results"][0]
        assert renewed != url
        assert api.http.get(renewed).content == image
        assert api.http.get(url).status_code == 404


def test_links_need_not_renew(start: Start) -> None:
    api = start(links_renew=False, faults=_once("dead_link"))
    task = api.submit()
    url = api.finished(task)["results"][0]
    assert api.http.get(url).status_code in (404, 410)
    assert api.read(task)["results"] == [url]
    assert api.http.get(url).status_code == 404


def test_a_link_dies_with_its_lifetime(start: Start, until: Until) -> None:
    """No read brings it back, and the picture leaves the disk."""
    api = start(link_lifetime_s=1.0)
    task = api.submit()
    url = api.finished(task)["results"][0]
    folder = api.service.options.data_dir / "images"
    until(lambda: api.http.get(url).status_code == 410)
    assert api.http.get(url).json()["error"]["code"] == "link_expired"
    until(lambda: not list(folder.iterdir()))
    assert api.http.get(api.read(task)["results"][0]).status_code == 410
    assert api.http.get("/v1/tasks").json()["data"][0]["has_results"] is False


def test_a_link_is_dead_at_its_time_even_if_its_picture_is_still_there(start: Start) -> None:
    api = start(link_lifetime_s=3600.0)
    url = api.finished(api.submit())["results"][0]
    with closing(sqlite3.connect(api.service.options.data_dir / "service.sqlite3")) as db, db:
        db.execute("UPDATE tasks SET finished_at = finished_at - 3601")
    assert api.http.get(url).status_code == 410
    assert list((api.service.options.data_dir / "images").iterdir())


@pytest.mark.parametrize("name", ["nothing.png", "nothing", "..%2fservice.sqlite3", "%00.png"])
def test_an_unknown_link_is_404(api: Api, name: str) -> None:
    assert api.http.get(f"/files/{name}").status_code == 404


def test_a_link_with_another_extension_is_404(api: Api) -> None:
    url = api.finished(api.submit())["results"][0]
    assert api.http.get(url.replace(".png", ".jpg")).status_code == 404


def test_which_requests_are_hit_does_not_depend_on_their_order() -> None:
    subjects = [f"body {number}" for number in range(400)]

    def hit(order: list[str], seed: int = 5) -> set[str]:
        plan = FaultPlan(Faults(rate_429=0.3, seed=seed))
        return {subject for subject in order if plan.hits("rate_429", subject)}

    assert hit(subjects) == hit(subjects[::-1])
    assert 80 < len(hit(subjects)) < 160
    assert hit(subjects) != hit(subjects, seed=6)


def test_a_repeat_of_a_hit_request_is_decided_anew() -> None:
    plan = FaultPlan(Faults(rate_429=0.5))
    assert len({plan.hits("rate_429", "the same body") for _ in range(64)}) == 2


def test_next_counts_are_exact_and_shared_by_all_threads(start: Start) -> None:
    api = start(faults=Faults(next={"rate_5xx_before": 5}))
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(api.post(BODY).status_code)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(status >= 500 for status in statuses) == 5
    assert _paid(api) == 7


def test_faults_change_at_run_time(start: Start) -> None:
    api = start(faults=Faults(rate_429=1.0, next={"html_reply": 3}))
    assert api.post(BODY).status_code == 429
    api.faults(rate_429=0.0)
    shown = api.admin("faults")
    assert (shown["rate_429"], shown["next"]) == (0.0, {"html_reply": 3})
    api.faults(next={"html_reply": 0})
    assert api.post(BODY).status_code == 200


@pytest.mark.parametrize(
    "changes", [{"nothing": 1}, {"rate_429": 2}, {"next": {"x": 1}}, {"next": 5}, {"rate_429": "x"}]
)
def test_wrong_changes_of_faults_are_400_and_change_nothing(api: Api, changes: dict[str, Any]) -> None:
    before = api.admin("faults")
    assert api.http.post("/admin/faults", json=changes).status_code == 400
    assert api.admin("faults") == before


def test_every_fault_has_a_group_and_every_rate_is_a_fault() -> None:
    """So that help and error texts name all of them, and every rate is checked."""
    assert len(set(fault_names())) == len(fault_names())
    rates = {
        field.name
        for field in dataclasses.fields(Faults)
        if field.default == 0.0 and isinstance(field.default, float)
    }
    assert rates == set(fault_names())


@pytest.mark.parametrize("code", ["insufficient_token_quota", "permission_denied", "unauthorized", None])
def test_a_submit_is_rejected_with_a_code(start: Start, code: str | None) -> None:
    api = start(faults=_once("reject_submit", reject_code=code))
    reply = api.post(BODY)
    found = reply.json()["error"]["code"]
    assert code in (found, None)
    assert reply.status_code == REJECTIONS[found]
    assert _paid(api) == 0
    assert api.post(BODY).status_code == 200


def test_a_repeat_of_a_paid_request_is_never_rejected(start: Start) -> None:
    """A verdict on it would be believed, and its task lost."""
    api = start()
    task = api.submit(json.loads(BODY), key="0123456789abcdef")
    api.faults(reject_submit=1.0)
    reply = api.post(json.loads(BODY), key="0123456789abcdef")
    assert reply.json()["id"] == task


def test_a_denied_model_is_403(start: Start) -> None:
    api = start(denied_models=("nano-banana-beta",))
    reply = api.post({"model": "gemini-2.5-flash-image", "prompt": "x"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "model_access_denied")
    assert _paid(api) == 0
    assert api.post({"model": "nano-banana-2-beta", "prompt": "x"}).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/unified"])
def test_a_cancelled_task_is_refunded_and_its_repeat_is_no_duplicate(
    start: Start, until: Until, prefix: str
) -> None:
    api = start(faults=_once("cancel_task"))
    body = {"model": "gemini-3-pro-image-preview", "prompt": "x"}
    task = api.submit(body, prefix=prefix)
    until(lambda: api.read(task, prefix)["status"] == "cancelled")
    value = api.read(task, prefix)
    assert not {"results", "error"} & set(value)
    assert api.http.get("/v1/tasks?status=cancelled").json()["total"] == 1
    api.finished(api.submit(body, prefix=prefix), prefix)
    summary = api.admin("ledger")
    assert (summary["cancelled"], summary["refunded"], summary["unfinished"]) == (1, 1, 0)
    assert (summary["completed"], summary["failed"], summary["duplicate_bodies"]) == (1, 0, 0)


@pytest.mark.parametrize("changes", [{"outage_kind": "x"}, {"outage_links": 1}, {"rate_428": 1}])
def test_a_wrong_fault_is_named_and_the_known_ones_are_listed(api: Api, changes: dict[str, Any]) -> None:
    message = api.http.post("/admin/faults", json=changes).json()["error"]["message"]
    assert next(iter(changes)) in message
    if "rate_428" in changes:
        assert "did you mean rate_429?" in message
        assert "  links: dead_link, rate_5xx_download" in message
