"""Only who has the printed address sees a served gallery or writes to its folders; no more is given out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.judgements import Judgement, read_judged
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import held
from nanobanana_batch.galleries.build import Order, build
from nanobanana_batch.galleries.said import Saving
from nanobanana_batch.galleries.served_files import ServedFiles
from nanobanana_batch.galleries.server import _App
from tests.gallery.made_run import Row, make_run, scene

SECRET, PORT = "s" * 32, 4321
HERE = f"http://127.0.0.1:{PORT}"
JSON = {"Origin": HERE, "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a gallery; tests do not change it but for ratings."""
    out = tmp_path_factory.mktemp("served") / "out"
    image = scene(1, size=(48, 32))
    make_run(
        out,
        [Row("fox", "a fox", images=(image,)), Row("a b#%", "x", images=(image,))],
    )
    build(Order((out,)))
    return out


def client_of(out: Path, disk: Disk | None = None) -> TestClient:
    """As a browser asks; Starlette's own, since nothing here depends on sockets."""
    files = ServedFiles(out / "gallery/index.html", [out])
    app = _App(SECRET, PORT, files, Saving({"out": out}, disk or Disk())).app()
    return TestClient(app, base_url=HERE, follow_redirects=False)


@pytest.fixture
def client(made: Path) -> TestClient:
    """For the folder of this module."""
    made.joinpath("ratings.csv").unlink(missing_ok=True)
    return client_of(made)


def word(out: Path, **other: Any) -> dict[str, Any]:
    """What a page sends of the first picture."""
    entry = next(iter(Collection([out]).entries()))
    shown = entry.pictures[0]
    names = {
        "folder": "out",
        "id": entry.id,
        "image": shown.path,
        "row_key": entry.row_key,
        "sha256": shown.sha256,
    }
    return {"item": 0, "rating": 5, **names, **other}


def said(out: Path, **other: Any) -> bytes:
    """The same as a body."""
    return json.dumps({"ratings": [word(out, **other)]}).encode()


def test_the_page_and_what_it_shows_are_given_out(client: TestClient) -> None:
    """With what keeps other pages from using it, and so that it can save to where it came from only."""
    page = client.get(f"/{SECRET}/gallery/index.html")
    assert page.status_code == 200
    assert "img-src 'self' data:; connect-src 'self'" in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert "access-control-allow-origin" not in page.headers
    assert client.get(f"/{SECRET}/images/fox.jpg").headers["content-type"] == "image/jpeg"
    assert client.get(f"/{SECRET}/images/a%20b%23%25.jpg").status_code == 200
    assert client.get(f"/{SECRET}/").headers["location"] == f"/{SECRET}/gallery/index.html"


@pytest.mark.parametrize(
    "secret", ["", "x", SECRET[:-1], SECRET + "s", SECRET.upper(), f"{SECRET}%00", "%73" * 32]
)
def test_without_the_word_nobody_gets_anything(client: TestClient, made: Path, secret: str) -> None:
    """Neither to see nor to write; nor is it told what there is."""
    assert client.get(f"/{secret}/gallery/index.html").status_code == 404
    assert client.get(f"/{secret}/gallery/index.html?said").status_code == 404
    assert client.post(f"/{secret}/gallery/index.html", content=said(made), headers=JSON).status_code == 404
    assert not made.joinpath("ratings.csv").exists()


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", f"0:{PORT}", ""]
)
def test_another_name_is_refused(client: TestClient, made: Path, host: str) -> None:
    """A page whose name was made to lead here could read and write, else."""
    asked = {"Host": host, "Origin": f"http://{host}", "Content-Type": "application/json"}
    assert client.get(f"/{SECRET}/gallery/index.html", headers=asked).status_code == 421
    assert client.post(f"/{SECRET}/", content=said(made), headers=asked).status_code == 421
    assert not made.joinpath("ratings.csv").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Origin": "null", "Content-Type": "application/json"},
        {"Origin": "http://evil.example", "Content-Type": "application/json"},
        {"Origin": f"http://localhost:{PORT}", "Content-Type": "application/json"},
        {"Origin": f"https://127.0.0.1:{PORT}", "Content-Type": "application/json"},
        {"Origin": HERE, "Content-Type": "text/plain"},
        {"Origin": HERE},
    ],
)
def test_a_page_of_another_origin_cannot_write(
    client: TestClient, made: Path, headers: dict[str, str]
) -> None:
    """Even if it knew the word."""
    assert client.post(f"/{SECRET}/", content=said(made), headers=headers).status_code == 403
    assert not made.joinpath("ratings.csv").exists()
    assert client.options(f"/{SECRET}/", headers=headers).status_code == 405


@pytest.mark.parametrize(
    "address",
    [
        *("state.sqlite3", "payments.jsonl", "run.log", "ratings.csv", "results.csv", ".run.lock", "images"),
        *(
            "gallery/.gallery",
            "gallery/.run.lock",
            "gallery",
            "gallery/",
            "gallery//index.html",
            "gallery/%00.js",
        ),
        *("gallery/../state.sqlite3", "gallery/%2e%2e/images/fox.jpg", "gallery/..%2fimages%2ffox.jpg"),
        *("images/..%2f..%2fsecret.png", "images/%2e%2e/secret.png", "../secret.png", "%2fetc%2fpasswd"),
        *(
            "images/link.png",
            "gallery/link.js",
            "gallery/away/secret.js",
            "gallery/data/.new.7/summary.js",
            "images/sub/x.png",
            "images/fox.svg",
        ),
    ],
)
def test_nothing_else_is_given_out(tmp_path: Path, address: str) -> None:
    """No file of the run, no way up, and nothing that a link leads to."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("images", "gallery", "images/sub", "gallery/data", "gallery/data/.new.7"):
        out.joinpath(name).mkdir()
    for name in ("state.sqlite3", "payments.jsonl", "run.log", "ratings.csv", "results.csv", ".run.lock"):
        out.joinpath(name).write_text("secret")
    for name in (
        "gallery/index.html",
        "gallery/.gallery",
        "gallery/.run.lock",
        "images/sub/x.png",
        "images/fox.svg",
    ):
        out.joinpath(name).write_text("secret")
    for name in ("secret.png", "secret.js", "images/../secret.png"):
        tmp_path.joinpath(name.removeprefix("images/../")).write_text("secret")
    out.joinpath("images/fox.jpg").write_text("secret")
    out.joinpath("gallery/data/.new.7/summary.js").write_text("half")
    out.joinpath("images/link.png").symlink_to(tmp_path / "secret.png")
    out.joinpath("gallery/link.js").symlink_to(tmp_path / "secret.js")
    out.joinpath("gallery/away").symlink_to(tmp_path)
    files = ServedFiles(out / "gallery/index.html", [out])
    assert files.read(address.encode()) is None


def test_a_pipe_in_the_place_of_an_image_holds_nobody_up(tmp_path: Path) -> None:
    """It is no file."""
    tmp_path.joinpath("images").mkdir()
    os.mkfifo(tmp_path / "images/x.png")
    assert ServedFiles(tmp_path / "gallery/index.html", [tmp_path]).read(b"images/x.png") is None


@pytest.mark.parametrize(
    "other",
    [
        {"rating": 0},
        {"rating": 6},
        {"rating": "5"},
        {"rating": True},
        {"verdict": "maybe"},
        {"rating_note": "x" * 20_001},
        {"folder": "../elsewhere"},
        {"folder": ""},
        {"image": "../x.png"},
        {"image": "images/a/b.png"},
        {"sha256": "x"},
        {"row_key": "a\nb"},
        {"more": 1},
        {"item": -1},
    ],
)
def test_what_is_no_rating_is_refused(client: TestClient, made: Path, other: dict[str, Any]) -> None:
    """Nothing of it is saved."""
    reply = client.post(f"/{SECRET}/", content=said(made, **other), headers=JSON)
    assert reply.status_code == 422
    assert not made.joinpath("ratings.csv").exists()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"ratings": 5}', b"[" * 100_000, b"null"])
def test_what_is_no_json_of_ours_is_refused(client: TestClient, body: bytes) -> None:
    """Without a trace."""
    assert client.post(f"/{SECRET}/", content=body, headers=JSON).status_code == 422


def test_a_body_without_end_is_not_read(client: TestClient) -> None:
    """Memory stays small."""
    assert client.post(f"/{SECRET}/", content=b" " * (9 << 20), headers=JSON).status_code == 413


@pytest.mark.parametrize("is_gone", [True, False], ids=["who sends goes", "the server ends"])
def test_a_body_that_never_arrives_is_no_failure(made: Path, is_gone: bool) -> None:
    """Of hundreds of them the terminal would be full of tracebacks, else; nothing is saved."""
    made.joinpath("ratings.csv").unlink(missing_ok=True)
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{SECRET}/gallery/index.html",
        "raw_path": f"/{SECRET}/gallery/index.html".encode(),
        "query_string": b"",
        "headers": [
            (b"host", f"127.0.0.1:{PORT}".encode()),
            (b"origin", HERE.encode()),
            (b"content-type", b"application/json"),
        ],
    }
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def ask() -> None:
        waits = asyncio.Event()
        parts = iter([{"type": "http.request", "body": b'{"rat', "more_body": True}])

        async def receive() -> Any:
            if (part := next(parts, None)) is not None:
                return part
            if is_gone:
                return {"type": "http.disconnect"}
            waits.set()
            return await asyncio.Event().wait()

        files = ServedFiles(made / "gallery/index.html", [made])
        app = _App(SECRET, PORT, files, Saving({"out": made}, Disk())).app()
        asked = asyncio.create_task(app(scope, receive, send))
        if not is_gone:
            await waits.wait()
            asked.cancel()
        await asked

    asyncio.run(ask())
    assert told[0]["status"] == 408
    assert not made.joinpath("ratings.csv").exists()


def test_a_note_is_text_for_whoever_opens_the_file(client: TestClient, made: Path) -> None:
    """A spreadsheet reckons with nothing of it, and it comes back as it was."""
    note = '=HYPERLINK("http://evil.example")\r\n;@x,\t+1\u2028</script>'
    assert client.post(f"/{SECRET}/", content=said(made, rating_note=note), headers=JSON).json() == {
        "saved": 1
    }
    text = made.joinpath("ratings.csv").read_bytes().decode("utf-8-sig")
    assert "\"'=HYPERLINK(" in text
    assert ";'@x,\t'+1" in text
    assert [one.judgement for one in read_judged(made)] == [Judgement(5, None, note)]
    assert client.get(f"/{SECRET}/?said").json()["ratings"][0]["rating_note"] == note


def test_a_file_that_cannot_be_read_is_told_and_stays(client: TestClient, made: Path) -> None:
    """Until a person has seen to it."""
    body = said(made)
    made.joinpath("ratings.csv").write_text("id,rating\nfox,many\n")
    reply = client.post(f"/{SECRET}/", content=body, headers=JSON)
    assert (reply.status_code, "ratings.csv:2: rating is 'many'" in reply.json()["error"]) == (409, True)
    assert made.joinpath("ratings.csv").read_text() == "id,rating\nfox,many\n"
    made.joinpath("ratings.csv").unlink()


def test_many_at_once_lose_nothing(made: Path) -> None:
    """Pages of one server and of another one."""
    made.joinpath("ratings.csv").unlink(missing_ok=True)
    clients = [client_of(made), client_of(made)]

    def say(number: int) -> None:
        body = said(made, sha256=f"{number:064x}", id=f"r{number}")
        assert clients[number % 2].post(f"/{SECRET}/", content=body, headers=JSON).status_code == 200

    threads = [threading.Thread(target=say, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.id for one in read_judged(made)) == sorted(f"r{number}" for number in range(16))
    assert not [path.name for path in made.iterdir() if path.name.endswith(".part")]
    made.joinpath("ratings.csv").unlink()


def test_a_run_that_is_going_on_is_not_touched(client: TestClient, made: Path) -> None:
    """Its lock and its state are its own."""
    folder = Collection([made]).folders[0]
    before = folder.state.read_bytes()
    with held(folder):
        assert client.post(f"/{SECRET}/", content=said(made), headers=JSON).status_code == 200
    assert folder.state.read_bytes() == before


def test_the_command_serves_until_it_is_told_to_end(made: Path) -> None:
    """It prints the address, which leads to loopback, and ends in order."""
    words = [sys.executable, "-m", "nanobanana_batch", "gallery", str(made), "--serve", "--quiet"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        address = started.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert len(address.split("/")[3]) >= 32
        started.send_signal(signal.SIGINT)
        rest, errors = started.communicate(timeout=20)
    assert (started.returncode, rest) == (0, "")
    assert errors == "Only who has this address sees the gallery, or writes to its folders; Ctrl-C ends it.\n"
