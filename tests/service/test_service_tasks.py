"""A task from its submit to its link, as the contract words it, in both dialects."""

from __future__ import annotations

import re
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.service.conftest import Api, Start

BETA = {"model": "nano-banana-beta", "prompt": "a lighthouse in fog"}
FLASH = {"model": "gemini-3.1-flash-image-preview", "prompt": "a lighthouse in fog"}
COMMON = {"created", "id", "model", "object", "progress", "status", "task_info", "type"}


@pytest.mark.parametrize("prefix", ["", "/unified"])
def test_the_reply_to_a_submit(start: Start, prefix: str) -> None:
    api = start(latency_s=30.0)
    before = int(time.time())
    reply = api.post(FLASH, prefix=prefix)
    task = reply.json()
    assert reply.headers["X-Request-Id"]
    assert set(task) == (COMMON if prefix else COMMON | {"usage"})
    assert re.fullmatch(r"task-unified-\d+-[a-z0-9]{8}", task["id"])
    assert before <= task["created"] <= time.time()
    assert task["id"].startswith(f"task-unified-{task['created']}-")
    assert (task["object"], task["type"], task["status"]) == ("image.generation.task", "image", "pending")
    assert task["progress"] == 0
    assert task["task_info"] == {"can_cancel": False, "estimated_time": 30}
    if not prefix:
        assert task["usage"]["billing_rule"] == "per_call"
        assert task["usage"]["credits_reserved"] > 0
        assert task["usage"]["user_group"]


@pytest.mark.parametrize("prefix", ["", "/unified"])
def test_a_completed_task_has_its_link(api: Api, prefix: str) -> None:
    task = api.finished(api.submit(FLASH, prefix=prefix), prefix)
    assert (task["status"], task["progress"]) == ("completed", 100)
    assert task["result_data"] == [{"image_url": task["results"][0]}]
    assert task["results"][0].startswith(f"{api.service.base_url}/files/")
    if prefix:
        assert "usage" not in task
    else:
        usage = task["usage"]
        assert usage["credits_used"] == usage["cost"]["credits"] > 0
        assert set(usage["cost"]) == {"credits", "usd", "cny"}
    reply = api.http.get(task["results"][0], headers={"Authorization": ""})
    assert reply.headers["Content-Type"] == "image/png"
    assert int(reply.headers["Content-Length"]) == len(reply.content)
    assert Image.open(BytesIO(reply.content)).format == "PNG"


def test_a_head_request_says_what_a_get_would(api: Api) -> None:
    link = api.finished(api.submit())["results"][0]
    assert api.http.head(link).headers["Content-Length"] == str(len(api.http.get(link).content))


def test_an_alias_is_answered_with_the_actual_model(api: Api) -> None:
    reply = api.post({"model": "gemini-2.5-flash-image", "prompt": "x"})
    assert reply.json()["model"] == "nano-banana-beta"


def test_progress_goes_from_pending_over_processing_to_completed(start: Start) -> None:
    api = start(latency_s=2.0)
    task = api.submit()
    seen: list[tuple[str, int]] = []
    while not seen or seen[-1][0] != "completed":
        value = api.read(task)
        seen.append((value["status"], value["progress"]))
    assert list(dict.fromkeys(status for status, _ in seen)) == ["pending", "processing", "completed"]
    assert [progress for _, progress in seen] == sorted(progress for _, progress in seen)
    assert len({progress for status, progress in seen if status == "processing"}) > 2


def test_dialects_share_the_tasks(api: Api) -> None:
    task = api.submit(prefix="/unified", body=FLASH)
    assert api.read(task)["id"] == task
    assert "usage" not in api.finished(task)


def test_another_account_sees_nothing(api: Api) -> None:
    task = api.submit()
    other = {"Authorization": "Bearer somebody-else"}
    reply = api.http.get(f"/v1/tasks/{task}", headers=other)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "task_not_found")
    assert api.http.post("/v1/tasks/batch", json={"task_ids": [task]}, headers=other).json() == {"data": []}
    assert task not in api.http.get("/v1/tasks", headers=other).text


def test_a_malformed_task_id_is_400(api: Api) -> None:
    reply = api.http.get("/v1/tasks/task-1")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_task_id")


@pytest.mark.parametrize("prefix", ["", "/unified"])
def test_a_batch_read_leaves_out_what_is_unknown(api: Api, prefix: str) -> None:
    ids = [api.submit() for _ in range(3)]
    asked = [ids[2], "task-unified-1-aaaaaaaa", "nonsense", *ids]
    reply = api.http.post(f"{prefix}/v1/tasks/batch", json={"task_ids": asked})
    assert [task["id"] for task in reply.json()["data"]] == [ids[2], ids[0], ids[1]]
    for task in ids:
        api.finished(task)
    data = api.http.post(f"{prefix}/v1/tasks/batch", json={"task_ids": ids}).json()["data"]
    assert data == [api.read(task, prefix) for task in ids]


@pytest.mark.parametrize("ids", [[], ["x"] * 51, "x", [1], None])
def test_a_batch_is_1_to_50_ids(api: Api, ids: Any) -> None:
    reply = api.http.post("/v1/tasks/batch", json={"task_ids": ids})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")


def test_a_batch_of_50_is_taken(api: Api) -> None:
    ids = [f"task-unified-1-{number:08d}" for number in range(50)]
    assert api.http.post("/v1/tasks/batch", json={"task_ids": ids}).json() == {"data": []}


def test_the_list_is_newest_first_in_pages(api: Api) -> None:
    ids = [api.submit({**BETA, "prompt": f"number {number}"}) for number in range(5)]
    page = api.http.get("/v1/tasks", params={"page": 2, "page_size": 2}).json()
    assert [task["id"] for task in page["data"]] == [ids[2], ids[1]]
    assert (page["total"], page["page"], page["page_size"]) == (5, 2, 2)
    assert api.http.get("/v1/tasks").json()["page_size"] == 50
    api.finished(ids[-1])
    completed = api.http.get("/v1/tasks?status=completed").json()["data"]
    assert ids[-1] in [task["id"] for task in completed]
    newest = api.http.get("/unified/v1/tasks").json()["data"][0]
    assert newest["has_results"] is True
    assert set(newest) >= {"id", "model", "type", "status", "progress", "created_at", "has_results"}
    assert "results" not in newest


def test_the_list_is_filtered(start: Start) -> None:
    api = start(latency_s=(5.0, 6.0))
    api.submit(BETA)
    api.submit({**FLASH, "quality": "1K"})

    def ids(**params: str) -> int:
        return int(api.http.get("/v1/tasks", params=params).json()["total"])

    assert (ids(), ids(model=BETA["model"]), ids(model="other")) == (2, 1, 0)
    assert (ids(type="image"), ids(type="video")) == (2, 0)
    assert ids(status="pending") + ids(status="processing") == 2
    assert (ids(status="completed"), ids(status="failed")) == (0, 0)


@pytest.mark.parametrize("query", ["status=done", "page=0", "page=x", "page_size=101", "page_size=0"])
def test_a_wrong_filter_is_400(api: Api, query: str) -> None:
    assert api.http.get(f"/v1/tasks?{query}").status_code == 400


def test_batch_and_list_can_be_switched_off(start: Start) -> None:
    """They are undocumented: a client has to do without them."""
    api = start(batch_reads=False, recent_list=False)
    assert api.http.post("/v1/tasks/batch", json={"task_ids": ["x"]}).status_code == 404
    reply = api.http.get("/v1/tasks")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_credits_are_reserved_then_used(start: Start) -> None:
    api = start(latency_s=3.0, credits=100)
    price = api.post(BETA).json()["usage"]["credits_reserved"]
    task = api.http.get("/v1/tasks").json()["data"][0]["id"]
    account = api.http.get("/unified/v1/credits").json()
    assert (account["success"], set(account)) == (True, {"data", "message", "success"})
    assert account["data"]["token"] == {
        "remaining_credits": 100 - price,
        "used_credits": 0,
        "unlimited_credits": False,
    }
    api.finished(task)
    assert api.http.get("/v1/credits").json()["data"]["user"] == {
        "remaining_credits": 100 - price,
        "used_credits": price,
    }


def test_a_failed_task_is_refunded(start: Start) -> None:
    api = start(faults=_faults(refuse_task=1.0))
    task = api.finished(api.submit())
    assert (task["status"], task["error"]["code"]) == ("failed", "content_policy_violation")
    assert task["error"]["type"] == "task_error"
    assert "results" not in task
    assert api.http.get("/v1/tasks?status=failed").json()["total"] == 1
    account = api.http.get("/v1/credits").json()["data"]["token"]
    assert (account["remaining_credits"], account["used_credits"]) == (1_000_000, 0)
    summary = api.admin("ledger")
    assert (summary["failed"], summary["refunded"]) == (1, 1)
    assert summary["credits_refunded"] == summary["credits_charged"] > 0


def test_a_small_balance_is_402_and_charges_nothing(start: Start) -> None:
    api = start(credits=7)
    api.submit()
    reply = api.post({**BETA, "prompt": "more"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (402, "insufficient_quota")
    assert api.admin("ledger")["paid_tasks"] == 1
    assert api.post(BETA | {"prompt": "x"}, key="a-key-that-is-not-bound").status_code == 402


def test_unlimited_credits_never_run_out(start: Start) -> None:
    api = start(credits=7, unlimited_credits=True)
    api.submit()
    api.submit({**BETA, "prompt": "more"})
    assert api.http.get("/v1/credits").json()["data"]["token"]["unlimited_credits"] is True


def test_each_dialect_says_of_a_task_what_it_says_of_all(api: Api) -> None:
    """The unified one never tells the usage, though the task was made under the other root."""
    task = api.submit(FLASH)
    assert "usage" in api.read(task)
    assert "usage" not in api.read(task, "/unified")


def test_every_account_has_its_own_balance(start: Start) -> None:
    api = start(credits=7)
    api.submit()
    other = {"Authorization": "Bearer another-key"}
    assert api.http.get("/v1/credits", headers=other).json()["data"]["user"]["remaining_credits"] == 7


def test_prices_differ_by_model_and_resolution(api: Api) -> None:
    prices = [
        api.post({"model": model, "prompt": "x", "quality": quality}).json()["usage"]["credits_reserved"]
        for model in ("gemini-3-pro-image-preview", "nano-banana-2-beta")
        for quality in ("1K", "2K", "4K")
    ]
    assert len(set(prices)) == 6


def test_unknown_paths_and_methods_are_envelopes(api: Api) -> None:
    for reply in (api.http.get("/v1/nothing"), api.http.put("/v1/tasks")):
        assert reply.status_code in (404, 405)
        assert set(reply.json()["error"]) == {"code", "message", "type"}
        assert reply.headers["X-Request-Id"]


def test_the_documentation_begins_with_submitting_and_names_the_errors_of_each_call(api: Api) -> None:
    paths = api.http.get("/openapi.json").json()["paths"]
    assert next(iter(paths)) == "/v1/images/generations"
    assert "<h2>" in (docs := api.http.get("/docs").text)
    assert docs.partition("<h2>")[2].startswith(
        "<span class='method POST'>POST</span>/v1/images/generations<"
    )
    missing = {
        (method, path.removeprefix("/unified")): call["responses"]["404"]["description"].partition(":")[0]
        for path, methods in paths.items()
        for method, call in methods.items()
        if "404" in call["responses"]
    }
    assert missing == {
        ("post", "/v1/images/generations"): "model_not_found",
        ("get", "/v1/tasks/{task_id}"): "task_not_found",
        ("post", "/v1/tasks/batch"): "not_found",
        ("get", "/v1/tasks"): "not_found",
        ("delete", "/api/v1/files/{file_id}"): "file_not_found",
        ("get", "/files/{name}"): "No such link",
        ("get", "/uploads/{name}"): "No such file",
    }
    assert paths["/v1/tasks/{task_id}"]["get"]["responses"]["400"]["description"] == "invalid_task_id"


def test_the_documentation_describes_both_dialects(api: Api) -> None:
    docs = api.http.get("/docs")
    assert docs.status_code == 200
    assert "/unified/v1/images/generations" in docs.text
    assert "idempotency_conflict" in docs.text
    assert "<script" not in docs.text
    assert "src=" not in docs.text
    paths = api.http.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if path.startswith("/admin")]
    for prefix, ratio, models in (("", "size", 7), ("/unified", "aspect_ratio", 2)):
        post = paths[f"{prefix}/v1/images/generations"]["post"]
        schemas = post["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
        assert len(schemas) == models
        assert all(ratio in schema["properties"] for schema in schemas)
        assert set(post["responses"]) >= {
            "200",
            "400",
            "401",
            "402",
            "403",
            "404",
            "409",
            "413",
            "429",
            "503",
        }
        assert (
            "usage" in post["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
        ) == (not prefix)


def _faults(**changes: Any) -> Any:
    from nanobanana_batch.service.options import Faults

    return Faults(**changes)
