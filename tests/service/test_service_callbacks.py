"""Who asked to be told is told once the money is settled, and no receiver can hold a task up."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from nanobanana_batch.service.callbacks import RETRY_WAITS_S
from nanobanana_batch.service.network import Network
from nanobanana_batch.service.options import Faults
from tests.service.callback_world import (
    BODY,
    OK,
    Service,
    Trap,
    World,
    local,
    outcome,
    reply,
    serving,
    settled,
)

if TYPE_CHECKING:
    from tests.service.conftest import NewReceiver, Start, Until

# What is sent


@pytest.mark.parametrize("faults", [Faults(), Faults(fail_task=1.0), Faults(cancel_task=1.0)])
def test_a_callback_says_what_a_read_says(start: Start, receive: NewReceiver, faults: Faults) -> None:
    api = start(allow_loopback_callbacks=True, faults=faults)
    receiver = receive()
    task = api.submit({**BODY, "callback_url": receiver.url("/hook/a-secret?x=1")})
    (got,) = receiver.wait_for(1)
    assert got.request_line == "POST /hook/a-secret?x=1 HTTP/1.1"
    assert got.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["Authorization"] is None
    assert json.loads(got.body) == api.read(task)


def test_the_money_is_settled_before_anybody_is_told(
    start: Start, receive: NewReceiver, until: Until
) -> None:
    """Looked at while the receiver is still being told."""
    api = start(allow_loopback_callbacks=True)
    seen: list[Any] = []

    def look(number: int) -> bytes:
        seen.append(api.admin("ledger"))
        return OK

    receiver = receive(look)
    api.submit({**BODY, "callback_url": receiver.url()})
    (ledger,) = until(lambda: seen)
    assert (ledger["completed"], ledger["unfinished"]) == (1, 0)
    assert ledger["credits_used"] == ledger["credits_charged"] > 0


def test_a_replayed_submit_is_told_of_once(start: Start, receive: NewReceiver, until: Until) -> None:
    api = start(allow_loopback_callbacks=True)
    receiver = receive()
    body = {**BODY, "callback_url": receiver.url()}
    tasks = {api.submit(body, key="0123456789abcdef") for _ in range(3)}
    assert len(tasks) == 1
    until(lambda: api.admin("callbacks")["delivered"] == 1)
    assert len(receiver.requests) == 1


def test_a_task_without_a_callback_url_owes_none(start: Start) -> None:
    api = start()
    api.finished(api.submit())
    assert set(api.admin("callbacks").values()) == {0}


def test_loopback_is_refused_without_the_switch(start: Start, trap: Trap) -> None:
    api = start()
    refused = api.post({**BODY, "callback_url": f"http://127.0.0.1:{trap.port}/"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "callback_url")
    assert api.admin("ledger")["paid_tasks"] == 0
    assert trap.connections() == 0


def test_the_environment_s_proxies_are_not_used(
    start: Start, receive: NewReceiver, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    api = start(allow_loopback_callbacks=True)
    receiver = receive()
    api.submit({**BODY, "callback_url": receiver.url()})
    receiver.wait_for(1)
    assert trap.connections() == 0


def test_the_path_is_in_no_log(start: Start, receive: NewReceiver, until: Until) -> None:
    """It is what protects a receiver."""
    api = start(allow_loopback_callbacks=True)
    receiver = receive(lambda number: reply(500) if number == 1 else OK)
    api.submit({**BODY, "callback_url": receiver.url("/hook/a-secret")})
    receiver.wait_for(1)
    log = api.service.options.data_dir / "service.log"
    assert until(lambda: "attempt 1: status 500" in log.read_text("utf-8"))
    assert "a-secret" not in log.read_text("utf-8")


# How often


def test_the_waits_are_those_of_the_contract() -> None:
    assert RETRY_WAITS_S == (1.0, 2.0, 4.0)
    assert Network().timeout_s == 10.0
    assert Network().sleep is asyncio.sleep


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_success(tmp_path: Path, receive: NewReceiver, until: Until, status: int) -> None:
    world, receiver = World(), receive(lambda number: reply(status))
    with serving(tmp_path, local(world), allow_loopback_callbacks=True) as service:
        assert outcome(service, until, receiver.url()) == {"delivered": 1}
    assert (len(receiver.requests), world.waits_s) == (1, [])


@pytest.mark.parametrize("refusals", [1, 2, 3, 4])
def test_what_is_refused_is_sent_at_most_four_times(
    tmp_path: Path, receive: NewReceiver, until: Until, refusals: int
) -> None:
    """1, 2 and 4 s apart, and the same each time."""
    world = World()
    answers = [reply(status) for status in (500, 404, 300, 429)][:refusals]
    receiver = receive(lambda number: answers[number - 1] if number <= refusals else OK)
    with serving(tmp_path, local(world), allow_loopback_callbacks=True) as service:
        counts = outcome(service, until, receiver.url())
    assert counts == ({"delivered": 1} if refusals < 4 else {"failed": 1})
    assert len(receiver.requests) == min(4, refusals + 1)
    assert world.waits_s == [1.0, 2.0, 4.0][:refusals]
    assert len({got.body for got in receiver.requests}) == 1


def test_nobody_at_the_port_is_tried_four_times(tmp_path: Path, until: Until) -> None:
    world = World()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with serving(tmp_path, local(world), allow_loopback_callbacks=True) as service:
        assert outcome(service, until, f"http://127.0.0.1:{port}/") == {"failed": 1}
    assert world.waits_s == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    tmp_path: Path, receive: NewReceiver, trap: Trap, until: Until, status: int
) -> None:
    receiver = receive(lambda number: reply(status, f"Location: http://127.0.0.1:{trap.port}/\r\n"))
    with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
        assert outcome(service, until, receiver.url()) == {"failed": 1}
    assert len(receiver.requests) == 4
    assert trap.connections() == 0


# Restarts


def test_a_restart_goes_on_where_it_was(tmp_path: Path, receive: NewReceiver, until: Until) -> None:
    """The attempts before it count."""

    async def for_ever(seconds: float) -> None:
        await asyncio.get_running_loop().create_future()

    world, receiver = World(), receive(lambda number: reply(500))
    with serving(tmp_path, Network(sleep=for_ever), allow_loopback_callbacks=True) as service:
        service.submit(receiver.url())
        receiver.wait_for(1)
        assert service.counts() == {"owed": 1}
    with serving(tmp_path, local(world), allow_loopback_callbacks=True) as service:
        assert until(lambda: settled(service)) == {"failed": 1}
    assert (len(receiver.requests), world.waits_s) == (4, [1.0, 2.0, 4.0])


def test_a_killed_service_tells_after_its_restart(start: Start, receive: NewReceiver) -> None:
    receiver = receive(lambda number: None if number == 1 else OK)
    api = start(allow_loopback_callbacks=True)
    task = api.submit({**BODY, "callback_url": receiver.url()})
    receiver.wait_for(1)
    api.service.kill()
    again = start(allow_loopback_callbacks=True)
    _, got = receiver.wait_for(2)
    assert json.loads(got.body) == again.read(task)


def test_the_switch_is_judged_again_after_a_restart(
    tmp_path: Path, receive: NewReceiver, until: Until
) -> None:
    receiver = receive(lambda number: None)
    with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
        service.submit(receiver.url())
        receiver.wait_for(1)
    with serving(tmp_path, local()) as service:
        assert until(lambda: settled(service)) == {"refused": 1}
    assert len(receiver.requests) == 1


def test_what_ended_long_ago_is_told_to_nobody(tmp_path: Path, receive: NewReceiver, until: Until) -> None:
    receiver = receive(lambda number: None)
    with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
        service.submit(receiver.url())
        receiver.wait_for(1)
    with closing(sqlite3.connect(tmp_path / "service.sqlite3", isolation_level=None)) as db:
        db.execute("UPDATE tasks SET finished_at = finished_at - 601")
    with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
        assert until(lambda: settled(service)) == {"late": 1}
    assert len(receiver.requests) == 1


# Faults


def faulty(service: Service, **rates: float) -> None:
    assert service.http.post("/admin/faults", json=rates).status_code == 200


def test_a_lost_callback_is_not_sent(tmp_path: Path, receive: NewReceiver, until: Until) -> None:
    receiver = receive()
    with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
        faulty(service, lost_callback=1.0)
        assert outcome(service, until, receiver.url()) == {"lost": 1}
    assert receiver.requests == []


def test_a_double_callback_comes_twice(tmp_path: Path, receive: NewReceiver, until: Until) -> None:
    receiver = receive(lambda number: OK if number == 1 else reply(500))
    with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
        faulty(service, double_callback=1.0)
        assert outcome(service, until, receiver.url()) == {"delivered": 1}
    first, second = receiver.requests
    assert first.body == second.body


@pytest.mark.parametrize(("fail", "told"), [(1.0, "completed"), (0.0, "failed")])
def test_a_false_callback_says_what_is_not_so(
    tmp_path: Path, receive: NewReceiver, until: Until, fail: float, told: str
) -> None:
    """And its link leads nowhere."""
    receiver = receive()
    faults = Faults(fail_task=fail, false_callback=1.0)
    with serving(tmp_path, local(), allow_loopback_callbacks=True, faults=faults) as service:
        task = service.submit(receiver.url())
        value = json.loads(receiver.wait_for(1)[0].body)
        assert (value["id"], value["status"]) == (task, told)
        truth = service.http.get(f"/v1/tasks/{task}").json()
        assert truth["status"] == ("failed" if fail else "completed")
        for link in value.get("results", []):
            assert service.http.get(link).status_code == 404


def test_the_command_line_has_the_switch() -> None:
    from click.testing import CliRunner

    from nanobanana_batch.cli.service_commands import serve

    text = " ".join(CliRunner().invoke(serve, ["--help"]).output.split())
    assert "--allow-loopback-callbacks For tests only" in text


def test_the_published_schema_names_the_rules(start: Start) -> None:
    published = httpx.get(f"{start().service.base_url}/openapi.json", trust_env=False).json()
    submit = published["paths"]["/v1/images/generations"]["post"]["requestBody"]
    for model in submit["content"]["application/json"]["schema"]["oneOf"]:
        assert "never to an internal address" in model["properties"]["callback_url"]["description"]
