"""Kill it, start it, orphan it: what was charged is still there, and nothing of it is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from click.testing import CliRunner

from nanobanana_batch.cli.service_commands import serve
from nanobanana_batch.service import embedded
from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.options import Faults, ServiceError, ServiceOptions, fault_names

if TYPE_CHECKING:
    from tests.service.conftest import Start, Until


@pytest.fixture(scope="module", autouse=True)
def as_a_person_has_it() -> Iterator[None]:
    """Here a service is started as the package starts it, by Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "subprocess", subprocess)
        yield


SECRET = "sk-very-secret-key-7d1f0c"


def test_a_killed_service_finishes_its_tasks_after_a_restart(start: Start) -> None:
    api = start(latency_s=2.0)
    tasks = [api.submit({"model": "nano-banana-beta", "prompt": f"number {n}"}) for n in range(3)]
    api.service.kill()
    again = start()
    assert again.admin("ledger")["paid_tasks"] == 3
    for task in tasks:
        value = again.finished(task)
        assert value["status"] == "completed"
        assert again.http.get(value["results"][0]).status_code == 200
    assert again.admin("ledger")["completed"] == 3


def test_a_link_outlives_a_restart(start: Start) -> None:
    """At the new address: the path of a link stays, host and port are those of the request."""
    api = start()
    task = api.submit()
    path = httpx.URL(api.finished(task)["results"][0]).path
    image = api.http.get(path).content
    api.service.kill()
    again = start()
    link = again.read(task)["results"][0]
    assert link == again.service.base_url + path
    assert again.http.get(link).content == image


def test_a_charge_is_on_disk_before_the_reply(start: Start) -> None:
    api = start(latency_s=60.0)
    task = api.submit()
    os.kill(api.service.pid, signal.SIGKILL)
    ledger = api.ledger()
    assert [one.id for one in ledger.tasks] == [task]
    assert ledger.summary.paid_tasks == 1
    assert json.loads(ledger.tasks[0].body)["prompt"]


def test_events_tell_each_step_of_a_task(start: Start) -> None:
    api = start(faults=Faults(next={"refuse_task": 1}))
    failed, completed = api.submit(key="a-key-for-the-first"), api.submit()
    api.finished(failed)
    api.finished(completed)
    events = api.admin("events?after=0")["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    steps = {task: [e["event"] for e in events if e["task_id"] == task] for task in (failed, completed)}
    assert steps == {
        failed: ["accepted", "charged", "failed", "refunded"],
        completed: ["accepted", "charged", "completed"],
    }
    assert events[0]["idempotency_key"] == "a-key-for-the-first"
    assert api.admin(f"events?after={len(events) - 1}")["events"] == events[-1:]


def test_the_ledger_on_disk_says_what_the_running_service_says(start: Start) -> None:
    api = start()
    for _ in range(2):
        api.finished(api.submit())
    api.finished(api.submit({"model": "nano-banana-beta", "prompt": "another"}))
    summary = api.admin("ledger")
    assert (summary["paid_tasks"], summary["completed"], summary["unfinished"]) == (3, 3, 0)
    assert summary["duplicate_bodies"] == 1
    assert summary["credits_used"] == summary["credits_charged"] > 0
    assert api.ledger().summary.as_json() == summary


def test_a_refunded_task_makes_its_repeat_no_duplicate(start: Start) -> None:
    api = start(faults=Faults(next={"refuse_task": 1}))
    for _ in range(2):
        api.finished(api.submit())
    assert api.admin("ledger")["duplicate_bodies"] == 0


def test_requests_are_counted_by_route_and_status(start: Start) -> None:
    api = start()
    task = api.submit()
    api.read(task)
    api.read(task)
    api.post(b"{")
    counts = api.admin("requests")
    assert counts["GET /v1/tasks/{task_id} 200"] == 2
    assert counts["POST /v1/images/generations 200"] == 1
    assert counts["POST /v1/images/generations 400"] == 1


def test_the_key_is_nowhere_in_the_data_folder(start: Start) -> None:
    api = start(key=SECRET, faults=Faults(next={"lost_reply_read": 1}))
    task = api.submit(key="an-idempotency-key")
    with pytest.raises(httpx.RemoteProtocolError):
        api.read(task)
    api.finished(task)
    api.post(b"{")
    folder = api.service.options.data_dir
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"service.sqlite3", "service.sqlite3-wal", "service.log"} <= {path.name for path in files}
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path


def test_the_log_holds_no_prompt(start: Start) -> None:
    api = start(faults=Faults(next={"fail_task": 1}))
    api.finished(api.submit({"model": "nano-banana-beta", "prompt": "an unmistakable prompt"}))
    log = (api.service.options.data_dir / "service.log").read_text()
    assert "failed" in log
    assert "unmistakable" not in log


def test_a_second_service_on_a_folder_is_refused(start: Start, tmp_path: Path) -> None:
    start()
    second = EmbeddedService(ServiceOptions(tmp_path / "data", lock_wait_s=0.2))
    with pytest.raises(ServiceError, match="another service uses the data folder"):
        second.start()


def test_a_second_service_waits_for_the_first_to_go(start: Start, tmp_path: Path) -> None:
    import threading

    first = start()
    threading.Timer(1.0, first.service.stop).start()
    with EmbeddedService(ServiceOptions(tmp_path / "data", lock_wait_s=20.0)) as second:
        assert httpx.get(f"{second.base_url}/docs", trust_env=False).status_code == 200


def test_a_port_in_use_is_said(start: Start, tmp_path: Path) -> None:
    port = httpx.URL(start().service.base_url).port
    assert port is not None
    with pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1 port {port}"):
        EmbeddedService(ServiceOptions(tmp_path / "second", port=port)).start()


def test_a_newer_data_folder_is_refused(start: Start, tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "service.sqlite3")) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ServiceError, match="newer version"):
        start()


_PARENT = """
import sys, time
from pathlib import Path
from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.options import ServiceOptions
with EmbeddedService(ServiceOptions(Path(sys.argv[1]))) as service:
    print(service.pid, flush=True)
    time.sleep(600)
"""


def test_the_service_ends_with_a_killed_parent(tmp_path: Path, until: Until) -> None:
    command = [sys.executable, "-c", _PARENT, str(tmp_path / "data")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.kill()
    until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    """Running; an orphan that nobody has waited for yet is not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    """And with a connection still open."""
    options = ServiceOptions(tmp_path / "data", latency_s=0.0)
    command = [sys.executable, "-m", "nanobanana_batch.service", options.to_json()]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as service,
        httpx.Client(trust_env=False) as client,
    ):
        assert service.stdout is not None
        base_url = json.loads(service.stdout.readline())["base_url"]
        assert client.get(f"{base_url}/docs").status_code == 200
        service.send_signal(number)
        assert service.wait(20) == 0


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    service = EmbeddedService(ServiceOptions(tmp_path / "data"))
    service.start()
    service.stop()
    service.stop()


def test_options_survive_the_way_to_the_child(tmp_path: Path) -> None:
    faults = Faults.from_words(["rate_429=0.25", "lost_reply_after=next:2", "fail_code=service_error"])
    assert (faults.rate_429, faults.next, faults.fail_code) == (
        0.25,
        {"lost_reply_after": 2},
        "service_error",
    )
    options = ServiceOptions(
        tmp_path,
        latency_s=(0.1, 0.2),
        key_file=tmp_path / "keys",
        seed=3,
        denied_models=("a", "b"),
        outages=((1.0, 2.0), (30.0, 0.5)),
        faults=faults,
    )
    assert ServiceOptions.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    "word",
    [
        "rate_429",
        "nothing=0.1",
        "rate_429=2",
        "rate_429=10%",
        "nothing=next:1",
        "rate_429=next:-1",
        "rate_429=next:x",
        "outage_links=maybe",
    ],
)
def test_a_wrong_fault_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=word.partition("=")[0]):
        Faults.from_words([word])


def test_the_light_files_load_nothing_heavy() -> None:
    code = (
        "import sys, nanobanana_batch.service.embedded, nanobanana_batch.service.options;"
        "print([m for m in ('yaml', 'uvicorn', 'PIL', 'pydantic', 'starlette') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 404), ("8.8.8.8", 404)]
)
@pytest.mark.parametrize("path", ["ledger", "events", "requests", "faults"])
def test_the_judge_listens_to_this_machine_only(tmp_path: Path, peer: str, status: int, path: str) -> None:
    import anyio

    from nanobanana_batch.service.app import make_app

    transport = httpx.ASGITransport(make_app(ServiceOptions(tmp_path)), client=(peer, 5))

    async def ask() -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return (await client.get(f"/admin/{path}")).status_code

    assert anyio.run(ask) == status


def test_the_command_says_where_it_serves(tmp_path: Path) -> None:
    """One line, once connections are accepted; the faults and outages of the flags are in force."""
    flags = ["--port", "0", "--data", str(tmp_path / "data"), "--outages", "0:600,700:5"]
    flags += [
        "--fault",
        "outage_kind=html",
        "--fault",
        "outage_links=false",
        "--deny-model",
        "nano-banana-beta",
    ]
    code = "from nanobanana_batch.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", *flags]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service,
        httpx.Client(trust_env=False) as client,
    ):
        assert service.stdout is not None
        line = service.stdout.readline()
        base_url = line.split()[2]
        assert line == f"Serving on {base_url} (docs at {base_url}/docs, ledger at {base_url}/admin/ledger)\n"
        assert client.get(f"{base_url}/v1/credits").status_code == 502
        assert client.get(f"{base_url}/admin/faults").json()["outage_links"] is False
        service.terminate()
        assert service.wait(20) == 0


@pytest.mark.parametrize("value", ["5", "5:", "x:1", "-1:5", "5:0"])
def test_a_wrong_outage_is_a_usage_error(value: str) -> None:
    result = CliRunner().invoke(serve, ["--outages", value])
    assert result.exit_code == 2
    assert "outages" in result.output


def test_the_help_lists_every_fault() -> None:
    result = CliRunner().invoke(serve, ["--help"])
    listed = result.output.split("Faults, by what they hit:")[1].split()
    assert set(fault_names()) | {"outage_kind", "reject_code"} <= set(listed)
