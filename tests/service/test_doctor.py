"""`doctor` names what stands in the way of a run, and what to do: real services, folders and locks."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time

import pytest
from click.testing import CliRunner

from nanobanana_batch.cli import commands
from nanobanana_batch.files import filesystem
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.doctor import Check, Diagnosis, Verdict, examine
from nanobanana_batch.state.store import Store
from tests.service.conftest import Start

KEY = "canary-key-91b2"
PRICES = "/web/api/models/pricing"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds a key of the person who runs it."""
    for name in ("EVOLINK_API_KEY", "NANOBANANA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def key_file(folder: Path, key: str = KEY) -> Path:
    """A file with a key in it."""
    path = folder / "key"
    path.write_text(f"{key}\n")
    return path


def of(diagnosis: Diagnosis, name: str) -> Check:
    """The only check of this name."""
    (found,) = [check for check in diagnosis.checks if check.name == name]
    return found


def problems(diagnosis: Diagnosis) -> set[str]:
    """What stands in the way; each says what to do."""
    found = [check for check in diagnosis.checks if check.verdict is Verdict.PROBLEM]
    assert all(check.advice for check in found)
    return {check.name for check in found}


@contextmanager
def answering(
    body: dict[str, object], status: int = 200, ahead_s: float = 0.0
) -> Iterator[tuple[str, list[str]]]:
    """A provider with one answer and a clock of its own; its address and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            content = json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(time() + ahead_s, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def left(amount: float) -> dict[str, object]:
    """The contract's reply about credits."""
    return {"data": {"token": {"remaining_credits": amount, "unlimited_credits": False}}}


def test_all_is_well_with_the_service_on_this_machine(start: Start, tmp_path: Path) -> None:
    """One line a check, no problem, exit 0, and only free requests."""
    api = start(key=KEY)
    connection = Connection("evolink", api.service.base_url, key_file(tmp_path))
    found = examine(connection, tmp_path / "out")
    assert problems(found) == set()
    assert found.exit_code == 0
    assert "credits left: 1,000,000" in of(found, "account").found
    assert "ms" in of(found, "provider").found
    assert of(found, "clock").verdict is Verdict.OK
    assert "will be made" in of(found, "folder").found
    assert of(found, "state").found == "none yet"
    assert not (tmp_path / "out").exists()
    assert api.ledger().tasks == ()


@pytest.mark.parametrize("provider", ["local", "local-unified"])
def test_the_embedded_service_is_tried_and_leaves_nothing(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started as for a run, and its data go with it."""
    monkeypatch.chdir(tmp_path)
    found = examine(Connection(provider), tmp_path / "out")
    assert problems(found) == set()
    assert "answers" in of(found, "provider").found
    assert list(tmp_path.iterdir()) == []


def test_a_rejected_key_is_a_problem(start: Start, tmp_path: Path) -> None:
    """The provider is there, but not for this key, which is not shown."""
    keys = tmp_path / "keys"
    keys.write_text("another-key\n")
    api = start(key_file=keys)
    found = examine(Connection("evolink", api.service.base_url, key_file(tmp_path)), tmp_path)
    assert problems(found) == {"account"}
    assert of(found, "provider").verdict is Verdict.OK
    assert "not accepted" in of(found, "account").found
    assert KEY not in repr(found)
    assert found.exit_code == 1


def test_no_key_is_a_problem_and_nothing_is_sent(tmp_path: Path) -> None:
    """Nobody is asked anything without one, but for the public price list."""
    with answering(left(5)) as (url, asked):
        found = examine(Connection("evolink", url), tmp_path)
    assert problems(found) == {"key"}
    assert asked == [f"GET {PRICES}"]


def test_a_port_where_nobody_listens_is_a_problem(tmp_path: Path) -> None:
    """With what the network said."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        found = examine(Connection("evolink", url, key_file(tmp_path)), tmp_path)
    assert problems(found) == {"provider"}
    assert "no usable answer" in of(found, "provider").found


@pytest.mark.parametrize(
    ("connection", "name"),
    [
        (Connection("nobody"), "profile"),
        (Connection("unified"), "address"),
        (Connection("evolink", "http://192.0.2.1"), "address"),
        (Connection("unified", "http://127.0.0.1:1", Path("/nonexistent/key")), "key"),
    ],
)
def test_what_a_person_said_wrong_is_a_problem(connection: Connection, name: str, tmp_path: Path) -> None:
    """Found without a request."""
    assert name in problems(examine(connection, tmp_path))


@pytest.mark.parametrize(
    ("amount", "verdict"), [(0.0, Verdict.PROBLEM), (-1.0, Verdict.PROBLEM), (0.5, Verdict.OK)]
)
def test_no_credits_are_a_problem(amount: float, verdict: Verdict, tmp_path: Path) -> None:
    """A run would stop at its first row."""
    with answering(left(amount)) as (url, asked):
        found = examine(Connection("evolink", url, key_file(tmp_path)), tmp_path)
    assert of(found, "account").verdict is verdict
    assert asked == ["GET /v1/credits", f"GET {PRICES}"]


def test_a_provider_that_tells_no_credits_is_a_note(tmp_path: Path) -> None:
    """It may know no such page; the key may be fine."""
    body: dict[str, object] = {"error": {"code": "not_found", "message": "no such page"}}
    with answering(body, status=404) as (url, _):
        found = examine(Connection("evolink", url, key_file(tmp_path)), tmp_path)
    assert of(found, "account").verdict is Verdict.NOTE
    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "word"),
    [
        (0.0, Verdict.OK, "within"),
        (600.0, Verdict.NOTE, "behind"),
        (-600.0, Verdict.NOTE, "ahead of"),
    ],
)
def test_a_wrong_clock_is_a_note(ahead_s: float, verdict: Verdict, word: str, tmp_path: Path) -> None:
    """No money rests on it."""
    with answering(left(5), ahead_s=ahead_s) as (url, _):
        found = examine(Connection("evolink", url, key_file(tmp_path)), tmp_path)
    assert of(found, "clock").verdict is verdict
    assert word in of(found, "clock").found
    assert found.exit_code == 0


# --- the folder ------------------------------------------------------------------------------------


def folder_checks(path: Path) -> Diagnosis:
    """Without a provider."""
    found = examine(Connection("nobody"), path)
    return Diagnosis(tuple(check for check in found.checks if check.name != "profile"))


def test_a_run_that_is_going_on_is_a_note(tmp_path: Path) -> None:
    """And is not disturbed."""
    with only_writer(tmp_path):
        found = folder_checks(tmp_path)
    assert (of(found, "lock").verdict, found.exit_code) == (Verdict.NOTE, 0)
    assert "status" in of(found, "lock").advice
    assert of(folder_checks(tmp_path), "lock").verdict is Verdict.OK


def test_a_read_only_folder_is_a_problem(tmp_path: Path) -> None:
    """By trying: root may write where permissions say no, and nobody may write into /proc."""
    read_only = Path("/proc/self")
    if os.geteuid() != 0:
        read_only = tmp_path
        tmp_path.chmod(0o555)
    elif not read_only.is_dir():
        pytest.skip("no folder here that root cannot write to")
    try:
        assert "folder" in problems(folder_checks(read_only))
        assert "folder" in problems(folder_checks(read_only / "deeper" / "still"))
    finally:
        tmp_path.chmod(0o755)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """Said as such."""
    path = tmp_path / "file"
    path.touch()
    assert problems(folder_checks(path)) == {"folder"}


def test_a_healthy_state_is_looked_at_and_left_alone(tmp_path: Path) -> None:
    """With its version; not a byte of it changes."""
    path = tmp_path / "state.sqlite3"
    Store(path).close()
    before = path.read_bytes()
    assert of(folder_checks(tmp_path), "state").found.startswith("in order, version")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, None])
def test_a_damaged_state_is_a_problem(tmp_path: Path, content: bytes | None) -> None:
    """Empty, something else, or with a page overwritten."""
    path = tmp_path / "state.sqlite3"
    if content is None:
        Store(path).close()
        whole = path.read_bytes()
        content = whole[:4096] + b"\xff" * 4096 + whole[8192:]
    path.write_bytes(content)
    assert problems(folder_checks(tmp_path)) == {"state"}


def test_a_folder_that_lost_its_state_is_a_problem(tmp_path: Path) -> None:
    """A run would refuse it too."""
    with only_writer(tmp_path):
        pass
    (tmp_path / "results.csv").write_text("id\n")
    assert problems(folder_checks(tmp_path)) == {"state"}


def test_a_damaged_pointer_is_a_problem(tmp_path: Path) -> None:
    """Where the state is cannot be told."""
    (tmp_path / "state-dir.json").write_text("{}")
    assert "state" in {check.name for check in folder_checks(tmp_path).checks if check.verdict == "problem"}


@pytest.mark.parametrize(
    ("free_bytes", "verdict"),
    [(10 << 20, Verdict.PROBLEM), (500 << 20, Verdict.NOTE), (50 << 30, Verdict.OK)],
)
def test_a_full_disk_is_a_problem(
    free_bytes: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would not begin to pay."""
    monkeypatch.setattr(Disk, "free_bytes", lambda self, path: free_bytes)
    assert of(folder_checks(tmp_path), "disk").verdict is verdict


@pytest.mark.parametrize(
    ("kind", "verdict"), [("nfs4", Verdict.PROBLEM), ("", Verdict.NOTE), ("ext4", Verdict.OK)]
)
def test_a_network_file_system_is_a_problem(
    kind: str, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs could not see each other there."""
    monkeypatch.setattr(filesystem, "type_of", lambda path: kind)
    assert of(folder_checks(tmp_path), "file system").verdict is verdict


# --- the command -----------------------------------------------------------------------------------


def test_the_command_prints_a_line_a_check_and_what_to_do(tmp_path: Path) -> None:
    """As text and as JSON, with the exit code of the worst."""
    arguments = ["doctor", "--provider", "nobody", "--out", str(tmp_path)]
    ended = CliRunner().invoke(commands, arguments, standalone_mode=False)
    assert ended.return_value == 1
    assert "problem  profile" in ended.output
    assert "-> Known: evolink" in ended.output
    assert ended.output.endswith("1 problem.\n")
    ended = CliRunner().invoke(commands, [*arguments, "--json"], standalone_mode=False)
    checks = json.loads(ended.output)["checks"]
    (problem,) = [check for check in checks if check["verdict"] == "problem"]
    assert problem["name"] == "profile"
    assert "ok" in {check["verdict"] for check in checks}  # a note may be about the machine of the test
