"""The strict provider is a judge: does it count what it charges, and does what shall go wrong go wrong?"""

from __future__ import annotations

import http.client
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.campaign.strict.client import Strict, strict
from tests.campaign.strict.mutations import KEY

_FIRST_KEY = "key-of-sixteen-or-more"
_SUBMIT = "/v1/images/generations"


@pytest.fixture(scope="module")
def server() -> Iterator[Strict]:
    with strict() as it:
        yield it


def _reset(server: Strict, **settings: Any) -> None:
    server.ask("reset", {"time_scale": 0.01, "task_s": [1.0, 1.0], **settings})


def _ask(
    url: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        data = None if body is None else json.dumps(body)
        sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **(headers or {})}
        connection.request("GET" if data is None else "POST", path, data, sent)
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def _submit(
    server: Strict, prompt: str = "a fox", key: str = _FIRST_KEY, **more: Any
) -> tuple[int, Any, Any]:
    body = {"model": "gemini-3.1-flash-image-preview", "prompt": prompt, "quality": "0.5K", **more}
    status, headers, reply = _ask(server.api, _SUBMIT, body, {"Idempotency-Key": key})
    return status, headers, json.loads(reply)


def _finished(server: Strict, task_id: str) -> dict[str, Any]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        _, _, reply = _ask(server.api, f"/v1/tasks/{task_id}")
        task: dict[str, Any] = json.loads(reply)
        if task["status"] in ("completed", "failed"):
            return task
    raise AssertionError("the task does not end")


def test_a_task_is_charged_once_however_often_its_key_comes(server: Strict) -> None:
    """The same key gives the first task and says so; another body under it is a conflict."""
    _reset(server)
    _, headers, first = _submit(server)
    assert "idempotency-replayed" not in headers
    _, headers, again = _submit(server)
    assert (headers["idempotency-replayed"], again["id"]) == ("true", first["id"])
    status, _, error = _submit(server, "a hare")
    assert (status, error["error"]["code"]) == (409, "idempotency_conflict")
    report = server.report()
    assert (report["charged"], report["credits"]) == (1, 2.0)


def test_a_provider_that_ignores_keys_charges_again(server: Strict) -> None:
    """Nothing in its replies tells."""
    _reset(server, keys="ignored")
    _, _, first = _submit(server)
    _, headers, again = _submit(server)
    assert again["id"] != first["id"]
    assert "idempotency-replayed" not in headers
    assert server.report()["charged"] == 2


def test_a_lost_reply_is_charged_and_its_key_remembered(server: Strict) -> None:
    """While it is being decided, the key says so; then the first task is shown."""
    _reset(server, faults={"lost_after": 1.0, "undecided_s": 60.0})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        _submit(server)
    server.ask("set", {"faults": {"lost_after": 0.0}})
    status, _, error = _submit(server)
    assert (status, error["error"]["code"]) == (409, "paid_outcome_unknown")
    report = server.report()
    assert (report["charged"], report["unanswered"]) == (1, 1)


def test_a_reply_lost_before_it_was_read_costs_nothing(server: Strict) -> None:
    """The client cannot tell this from the other kind."""
    _reset(server, faults={"lost_before": 1.0})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        _submit(server)
    report = server.report()
    assert (report["charged"], report["unanswered"]) == (0, 1)


def test_a_failed_task_is_refunded(server: Strict) -> None:
    """It keeps its code, and costs nothing from then on."""
    _reset(server, faults={"refuse_task": 1.0, "refuse_codes": ["IMAGE_SAFETY"]})
    _, _, task = _submit(server)
    assert _finished(server, task["id"])["error"]["code"] == "IMAGE_SAFETY"
    report = server.report()
    assert (report["charged"], report["refunded"], report["credits"]) == (1, 1, 0.0)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_pictures_are_real_and_of_the_ratio(server: Strict, form: str) -> None:
    """No two have the same bytes; the key has no place at the host of the links."""
    _reset(server, picture=form)
    images = []
    for number in range(2):
        _, _, task = _submit(server, f"fox {number}", f"{_FIRST_KEY}-{number}", size="16:9")
        (link,) = _finished(server, task["id"])["results"]
        images.append(_ask(server.links, link.removeprefix(server.links))[2])
    assert images[0] != images[1]
    image = Image.open(io.BytesIO(images[0]))
    image.load()
    assert image.size == (683, 384)
    assert server.report()["client_faults"] == ["a key was sent to the host of the links"] * 2


def test_the_shape_of_another_provider(server: Strict) -> None:
    """Objects, and none at the first read that says completed."""
    _reset(server, shape="foxapi")
    _, _, task = _submit(server)
    assert _finished(server, task["id"])["results"] == []
    assert [*_finished(server, task["id"])["results"][0]] == ["url", "content_type"]


def test_only_so_many_at_once(server: Strict) -> None:
    """The one beyond is turned away and not charged."""
    _reset(server, task_s=[6000.0, 6000.0], faults={"most_at_once": 2})
    answers = [_submit(server, f"fox {n}", f"{_FIRST_KEY}-{n}")[0] for n in range(3)]
    assert answers == [200, 200, 429]
    assert server.report()["charged"] == 2


@pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
def test_only_so_many_a_minute(server: Strict, kind: str) -> None:
    """A bucket gives what it has saved, a tenth; a window all at once."""
    _reset(server, faults={"most_per_window": 20, "window_s": 6000.0, "window_kind": kind})
    answers = [_submit(server, f"fox {n}", f"{_FIRST_KEY}-{n}")[0] for n in range(24)]
    assert answers.count(200) == (2 if kind == "bucket" else 20)


def test_who_comes_before_the_time_is_written_down(server: Strict) -> None:
    """By any route but that of reads, after the time of grace."""
    _reset(server, grace_s=0.0, faults={"rate_429": 1.0, "retry_after_s": 60.0, "retry_after_share": 1.0})
    status, headers, _ = _submit(server)
    assert (status, headers["retry-after"]) == (429, "60")
    _ask(server.api, "/v1/tasks")
    _ask(server.api, "/v1/tasks/none")
    assert [(one["what"], one["after"]) for one in server.report()["early"]] == [("list", "submit")]


def test_reads_that_are_too_close_are_written_down(server: Strict) -> None:
    """3 s by the contract, at the scale of time."""
    _reset(server, time_scale=100.0)
    _, _, task = _submit(server)
    _ask(server.api, f"/v1/tasks/{task['id']}")
    assert server.report()["close_reads"] == []
    _ask(server.api, "/v1/tasks/batch", {"task_ids": [task["id"]]})
    assert len(server.report()["close_reads"]) == 1


def test_a_body_that_the_contract_does_not_allow_is_a_probe(server: Strict) -> None:
    """Where the body is judged first, a known key does not show."""
    _reset(server)
    _submit(server)
    assert _submit(server, quality="8K")[0] == 409
    _reset(server, keys="body_first")
    _submit(server)
    assert _submit(server, quality="8K")[0] == 400
    report = server.report()
    assert (report["requests"]["probe"], report["charged"]) == (1, 1)


def test_an_outage_refuses_connections_and_ends_at_the_same_place(server: Strict) -> None:
    """A request that came meanwhile never got there, and nobody else gets the place."""
    _reset(server)
    server.ask("outage", {"kind": "refuse", "length_s": 2.0})
    with pytest.raises(ConnectionError):
        _submit(server)
    with closing(socket.socket()) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", urlsplit(server.api).port))
    assert _answers_again(server)
    assert server.report()["outages"] == ["refuse 2 s"]


def test_outages_on_top_of_each_other_end_with_the_last(server: Strict) -> None:
    """Whichever was to end first; and a provider that is set up anew is there."""
    _reset(server)
    server.ask("outage", {"kind": "refuse", "length_s": 0.1})
    server.ask("outage", {"kind": "refuse", "length_s": 0.1})
    assert _answers_again(server)
    server.ask("outage", {"kind": "refuse", "length_s": 0.1})
    server.ask("outage", {"kind": "503", "length_s": 600.0})
    _reset(server)
    assert _submit(server)[0] == 200


def _answers_again(server: Strict) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            return _submit(server)[0] == 200
        except ConnectionError:
            continue
    return False


def test_a_mutation_changes_one_field_and_ends(server: Strict) -> None:
    """By the number of tasks made; what was mutated is counted."""
    _reset(server)
    server.ask(
        "mutation",
        {"kind": "submit", "place": "usage.credits_reserved", "change": "removed", "until_tasks": 1},
    )
    usages = [_submit(server, f"fox {n}", f"{_FIRST_KEY}-{n}")[2]["usage"] for n in range(2)]
    assert ["credits_reserved" in usage for usage in usages] == [False, True]
    assert server.report()["mutated"] == 1


def test_an_id_of_another_form_is_known_by_it(server: Strict) -> None:
    """A mutated provider is strange, not a liar."""
    _reset(server)
    server.ask("mutation", {"kind": "submit", "place": "id", "change": "strange id"})
    _, _, task = _submit(server)
    assert task["id"].startswith("v2:a/b~c+d%2F ")
    quoted = task["id"].replace("%", "%25").replace(" ", "%20").replace("/", "%2F")
    assert json.loads(_ask(server.api, f"/v1/tasks/{quoted}")[2])["id"] == task["id"]


def test_the_same_seed_is_the_same_night(server: Strict) -> None:
    """Whatever order requests come in."""
    fates = []
    for order in (range(20), reversed(range(20))):
        _reset(server, faults={"rate_429": 0.3, "refuse_task": 0.3})
        answers = {n: _submit(server, f"fox {n}", f"{_FIRST_KEY}-{n}")[0] for n in order}
        fates.append(sorted(answers.items()))
    assert fates[0] == fates[1]


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    """Its standard input is closed then, however that came."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.campaign.strict.server"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    out, _ = process.communicate(timeout=30)
    assert json.loads(out).keys() == {"api", "links", "admin"}
    assert process.returncode == 0
