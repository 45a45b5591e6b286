"""The manual's profile for a model of its own kind, from the manifest to what another server gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.results import read_results
from tests.process.harness import start_cli
from tests.unit.fake_provider import picture

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-nobody-7719"


@dataclass
class Desk:
    """A provider that nobody here wrote a check for: it takes any body and makes an image of it at once."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    base_url: str = ""
    is_refusing: bool = False

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        """What it says to a request: status, media type, body."""
        if self.is_refusing:
            return 400, "application/json", b'{"error": {"code": "invalid_request", "message": "no"}}'
        if method == "POST" and path == "/v1/images/generations":
            with self.lock:
                self.bodies.append(json.loads(body))
                return _json({"id": f"task-{len(self.bodies)}", "status": "pending", "progress": 0})
        if method == "GET" and path.startswith("/v1/tasks/task-"):
            number = path.rpartition("-")[2]
            links = [f"{self.base_url}/images/{number}.png"]
            done = {"id": f"task-{number}", "status": "completed", "progress": 100, "results": links}
            return _json(done)
        if method == "GET" and path.startswith("/images/"):
            return 200, "image/png", picture(path)
        return 404, "application/json", b'{"error": {"code": 404, "message": "not here"}}'


def _json(content: object) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(content).encode()


@contextmanager
def open_desk() -> Iterator[Desk]:
    """It, on a port of this machine."""
    desk = Desk()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, media_type, content = desk.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _reply

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    desk.base_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield desk
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def manuals_profile(folder: Path) -> Path:
    """The example of the manual, asked more often, so that nobody waits."""
    manual = (ROOT / "docs" / "providers.md").read_text("utf-8")
    (example,) = [block for block in manual.split("```yaml\n") if block.startswith("name: more-models")]
    path = folder / "mine.yaml"
    path.write_text(example.partition("```")[0] + "poll_interval_s: 0.1\n")
    return path


MANIFEST = """\
defaults: {model: painter-2, resolution: 2K, aspect_ratio: 3:2, negative_prompt: no text}
prompt: a {thing}
rows:
  - {id: one, thing: fox, seed: 7, quality: high, n: 1, images: "https://x.example/a.png", mask_url: "https://x.example/m.png"}
  - {id: two, thing: owl, seed: "", resolution: 1K}
  - {id: three, thing: cat, model: nano-banana-beta, resolution: "", seed: 9, aspect_ratio: 1:1}
"""
SENT: list[dict[str, object]] = [
    {
        "model": "painter-2",
        "prompt": "a fox",
        "shape": "landscape",
        "width": 2048,
        "height": 2048,
        "image": ["https://x.example/a.png"],
        "seed": 7,
        "quality": "high",
        "n": 1,
        "negative_prompt": "no text",
        "mask": "https://x.example/m.png",
    },
    {
        "model": "painter-2",
        "prompt": "a owl",
        "shape": "landscape",
        "width": 1024,
        "height": 1024,
        "negative_prompt": "no text",
    },
    {"model": "nano-banana-beta", "prompt": "a cat", "size": "1:1"},
]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Open for one test."""
    with open_desk() as opened:
        yield opened


def run(folder: Path, desk: Desk, *words: str) -> tuple[int, str, str]:
    """A command about the manifest, to its end."""
    (folder / "key").write_text(KEY)
    process = start_cli(
        *words,
        "m.yaml",
        "--provider",
        str(manuals_profile(folder)),
        "--base-url",
        desk.base_url,
        "--out",
        "out",
        cwd=folder,
    )
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_the_manuals_example_sends_what_the_model_wants(tmp_path: Path, desk: Desk) -> None:
    """Renamed, mapped, split and typed; another model's rows as ever, and nothing twice."""
    (tmp_path / "m.yaml").write_text(MANIFEST)
    code, _, err = run(tmp_path, desk, "run", "--key-file", "key")
    assert code == 0, err
    assert "seed: is not sent for nano-banana-beta" in err
    assert sorted(desk.bodies, key=str) == sorted(SENT, key=str)
    rows = read_results(tmp_path / "out").set_index("id")
    assert rows["seed"].to_dict() == {"one": "7", "two": "", "three": "9"}
    assert set(rows["status"]) == {"completed"}
    code, _, _ = run(tmp_path, desk, "run", "--key-file", "key")
    assert (code, len(desk.bodies)) == (0, 3)


def test_what_is_shown_is_what_is_sent(tmp_path: Path, desk: Desk) -> None:
    """`plan --show-request` and the wire, and another seed is another request, which alone is paid for."""
    (tmp_path / "m.yaml").write_text(MANIFEST)
    assert json.loads(run(tmp_path, desk, "plan", "--show-request", "one")[1]) == SENT[0]
    assert run(tmp_path, desk, "run", "--key-file", "key")[0] == 0
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("seed: 7", "seed: 8"))
    code, _, err = run(tmp_path, desk, "run", "--key-file", "key")
    assert code == 0, err
    assert desk.bodies[3:] == [{**SENT[0], "seed": 8}]


def test_nothing_is_sent_of_a_manifest_with_a_wrong_setting(tmp_path: Path, desk: Desk) -> None:
    """Several images of one task, a local mask and a wrong word: all told at once."""
    text = MANIFEST.replace("n: 1", "n: 2").replace("quality: high", "quality: best")
    (tmp_path / "m.yaml").write_text(text.replace("https://x.example/m.png", "m.png"))
    code, _, err = run(tmp_path, desk, "run", "--key-file", "key")
    assert (code, desk.bodies) == (2, [])
    for word in ("3 problems", "'best'", "2 images of one task", "'m.png' is a local file"):
        assert word in err


def test_a_profile_that_has_lost_a_setting_fails_the_row(tmp_path: Path, desk: Desk) -> None:
    """What is sent again comes from the state: what cannot be said is not bent into something else."""
    (tmp_path / "m.yaml").write_text(MANIFEST)
    desk.is_refusing = True
    assert run(tmp_path, desk, "run", "--key-file", "key")[0] == 1
    desk.is_refusing = False
    profile = tmp_path / "mine.yaml"
    profile.write_text(profile.read_text().replace("seed: integer", "seed: null"))
    where = ("--provider", "mine.yaml", "--base-url", desk.base_url)
    process = start_cli("retry", "out", "--only", "failed", "--key-file", "key", *where, cwd=tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert f"The key in key goes to {desk.base_url}" in err
    rows = read_results(tmp_path / "out").set_index("id")
    assert rows["status"].to_dict() == {"one": "failed", "two": "completed", "three": "completed"}
    assert rows.loc["one", "error_code"] == "not_offered"
    assert len(desk.bodies) == 2
