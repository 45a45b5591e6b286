"""Folders and profiles of strangers: whatever somebody has changed in them, nothing outside is touched.

    python -m tests.campaign.fuzz_state --examples 2000

A good output folder or profile is changed at random: values, tables and bytes of its state, its entries, its
pointer. Then the commands are used on it. Judged by a watch on the file system, by who was called with which
key, and by how each command ends: with a code of ours and a sentence, soon. Same seed, same changes.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import os
import platform
import random
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nanobanana_batch.cli import main as command
from nanobanana_batch.files.folder import POINTER_NAME, STATE_NAME
from nanobanana_batch.files.log import LOG_NAMES
from nanobanana_batch.jobs.connection import CONNECTION, Connection
from nanobanana_batch.state.store import Store
from tests.campaign.fuzz_manifest import deadline
from tests.security.journals import put_journal
from tests.unit.earlier_run import Earlier, make_run

KEYS = {name: f"canary-{name.lower()}-4f1c" for name in ("NANOBANANA_API_KEY", "EVOLINK_API_KEY", "AWS_KEY")}
_ENTRIES = (STATE_NAME, f"{STATE_NAME}-wal", f"{STATE_NAME}-shm", f"{STATE_NAME}-journal", ".run.lock")
_NAMES = (
    *_ENTRIES,
    POINTER_NAME,
    "results.csv",
    "images",
    ".service",
    *LOG_NAMES,
    "images/a.png",
    "images/new",
)
_TABLES = ("rows", "attempts", "attempts", "meta", "uploads", "attempt_uploads")
_SEEN_ALL = 0x00000FFF & ~0x00000010  # IN_ALL_EVENTS but a folder's being closed, which a look makes
_NEVER_SHOWN = {*map(chr, (*range(9), *range(11, 32), *range(127, 160))), "\u202e"}


@dataclass
class Findings:
    """How the commands ended, and what was wrong."""

    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass
class World:
    """A folder to change, what must stay untouched, and two hosts."""

    place: Path
    good_url: str
    evil_url: str
    called: list[bytes]
    """What the evil host was sent."""
    chance: random.Random

    @property
    def out(self) -> Path:
        """The stranger's folder."""
        return self.place / "out"

    @property
    def victim(self) -> Path:
        """What belongs to the person."""
        return self.place / "victim"


def fuzz(folder: Path, examples: int, seed: int) -> Findings:
    """Change and use the folder that many times."""
    found = Findings()
    with _hosts() as (good, evil, called), _as_person(folder):
        world = World(folder, good, evil, called, random.Random(seed))
        _lay_out(world)
        before = _content(world.victim)
        for number in range(examples):
            _again(world)
            change = world.chance.choice(CHANGES)
            said = change(world)
            for words in _commands(world, is_profile=change is _change_profile):
                with _watched(world.victim) as seen:
                    code, text = _used(world, words)
                    touched = seen()
                what = f"example {number}, {change.__name__} {said}: {words[0]}"
                found.ended[f"{change.__name__}, {words[0]}, exit {code}"] += 1
                found.wrong += [f"{what}: {fault}" for fault in _faults(world, code, text, touched)]
                world.called.clear()
        if _content(world.victim) != before:
            found.wrong.append("what belongs to the person has changed")
        outside = {path.name for path in folder.iterdir()} - {"victim", "good", "out", "home", *_LAID_OUT}
        found.wrong += [f"made outside: {name}" for name in sorted(outside)]
    return found


def _faults(world: World, code: int, text: str, seen: list[str]) -> Iterator[str]:
    if code not in (0, 1, 2, 3, 4):
        yield f"exit code {code}"
    if "Traceback" in text or "should not have happened" in text:
        yield text[-400:]
    if _NEVER_SHOWN & set(text):
        yield f"a terminal would move: {text!r}"
    if seen:
        yield f"the person's files were touched: {seen}"
    for sent in world.called:
        if any(key.encode() in sent for key in KEYS.values()):
            yield f"a key left: {sent[:200]!r}"


# --- what is done with it --------------------------------------------------------------------------

_LAID_OUT = ("m.yaml", "from.yaml", "p.yaml", "cache")


def _commands(world: World, *, is_profile: bool) -> list[list[str]]:
    if is_profile:
        here = ["--provider", "p.yaml"]
        quick = ["--no-progress", "--max-outage", "0.1s"]
        return [
            ["models", *here],
            ["plan", "m.yaml", *here],
            ["run", "m.yaml", "--out", "new", *here, *quick],
        ]
    here = ["--base-url", world.good_url, "--no-progress"]
    return [
        ["status", "out"],
        ["status", "out", "--json"],
        ["audit", "out"],
        ["results", "out"],
        ["results", "out", "--for-spreadsheets"],
        ["plan", "from.yaml", "--provider", "unified", *here[:2]],
        ["retry", "out", "--only", "failed", "--no-progress", "--max-outage", "0.1s"],
        ["retry", "out", "--only", "unknown", "--max-outage", "0.1s", *here],
        ["run", "m.yaml", "--out", "out", "--provider", "unified", "--max-outage", "0.1s", *here],
        ["audit", "out", "--repair", *here],
    ]


def _used(world: World, words: list[str]) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["nanobanana-batch", *words]
    try:
        with (
            contextlib.chdir(world.place),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            deadline(),
        ):
            command()
    except SystemExit as ended:
        return int(ended.code or 0), err.getvalue() + out.getvalue()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return -1, repr(error)
    raise AssertionError("the command has to end the program")


# --- what somebody changes -------------------------------------------------------------------------


def _odd(world: World) -> Any:
    """A value that somebody would try, or nobody."""
    victim, chance = world.victim, world.chance
    return chance.choice(
        [
            *(
                "../victim/bashrc",
                "images/../../victim/bashrc",
                str(victim / "bashrc"),
                "images/a/b.png",
                "..",
            ),
            *(f"{world.evil_url}/x.png", "http://169.254.169.254/", "file:///etc/passwd", world.evil_url),
            *(
                "\x1b]0;owned\x07",
                "\u202egnp",
                "a\nb\rc",
                "",
                "con",
                "x" * 5000,
                "\ud7ff\x00",
                "$(touch RCE)",
            ),
            *(None, -1, 0, 1, 2**62, -(2**62), 1e308, float("inf"), -1e9, b"\xff\xfe", b"", "NaN", "1e400"),
            *("intent", "unknown", "accepted", "ready", "saved", "failed", "expired", "not_sent", "odd"),
            *('{"provider": "evolink", "base_url": "' + world.evil_url + '"}', "[" * 50_000, "[]", "{}", "7"),
            *('{"model": "m", "prompt": 7}', '["' + world.evil_url + '/1.png"]', "[1, null]", '"x"', "{"),
            json.dumps({"provider": str(victim / "p.yaml"), "base_url": None}),
            json.dumps({"began": "2026-01-01T00:00:00Z", "ended": "x"}),
            json.dumps({"model": "m", "prompt": "p", "files": [{"path": str(victim / "secret.png")}]}),
        ]
    )


def _change_value(world: World) -> str:
    """Of a random row and column, up to three times."""
    said = []
    with closing(sqlite3.connect(world.out / STATE_NAME)) as db:
        for _ in range(world.chance.randint(1, 3)):
            table = world.chance.choice(_TABLES)
            column = world.chance.choice([name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")])
            (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
            value, row = _odd(world), world.chance.randint(0, max(0, rows))
            every = world.chance.random() < 0.5
            where = "1" if every else f"rowid = {row}" if table not in ("meta", "attempt_uploads") else "1"
            with suppress(sqlite3.Error):
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))
                said.append(f"{table}.{column}={str(value)[:60]!r}")
        db.commit()
    return ", ".join(said)


def _change_memory(world: World) -> str:
    """What the state remembers under a name."""
    name, value = world.chance.choice([CONNECTION, "ended", "variables", "manifest", "digest"]), _odd(world)
    with closing(sqlite3.connect(world.out / STATE_NAME)) as db, suppress(sqlite3.Error):
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
        db.commit()
    return f"{name}={str(value)[:60]!r}"


def _change_schema(world: World) -> str:
    """Tables, views, triggers and versions."""
    statement = world.chance.choice(
        [
            "DROP TABLE uploads",
            "DROP TABLE attempts",
            "DROP TABLE requests",
            "DROP TABLE images",
            "DROP INDEX rows_key",
            "ALTER TABLE rows RENAME COLUMN stem TO other",
            "ALTER TABLE rows DROP COLUMN source",
            "CREATE VIEW v AS SELECT 1",
            "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM attempts; END",
            "ALTER TABLE meta RENAME TO m2",
            "PRAGMA user_version = 1",
            "PRAGMA user_version = 2",
            "PRAGMA user_version = 99",
            "PRAGMA user_version = -1",
            "PRAGMA application_id = 7",
            "DELETE FROM rows",
            "DELETE FROM attempts",
            "DELETE FROM requests",
            "DELETE FROM images",
            "UPDATE sqlite_master SET sql = replace(sql, 'TEXT NOT NULL', 'TEXT NOT NULL CHECK (0)')",
            "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL,', 'UNIQUE ON CONFLICT REPLACE,')",
            "UPDATE sqlite_master SET sql = 'odd', name = CAST(x'61ff' AS TEXT) WHERE type = 'table'",
            "UPDATE sqlite_master SET rootpage = 2",
        ]
    )
    with closing(sqlite3.connect(world.out / STATE_NAME)) as db, suppress(sqlite3.Error):
        db.execute("PRAGMA writable_schema = ON")
        db.execute(statement)
        db.commit()
    return statement


def _change_bytes(world: World) -> str:
    """Of the state file, or what stands beside it."""
    path = world.out / world.chance.choice(
        [STATE_NAME, STATE_NAME, f"{STATE_NAME}-wal", f"{STATE_NAME}-journal"]
    )
    data = bytearray(path.read_bytes() if path.exists() else world.chance.randbytes(5000))
    for _ in range(world.chance.randint(1, 30)):
        if data:
            data[world.chance.randrange(len(data))] = world.chance.randrange(256)
    if world.chance.random() < 0.2:
        del data[world.chance.randrange(len(data)) :]
    path.write_bytes(data)
    return path.name


def _change_journal(world: World) -> str:
    """One that wants a file of the person's deleted once it is rolled back, with an empty log or without."""
    victim = world.chance.choice([world.victim / "bashrc", world.victim / "secret.png"])
    put_journal(world.out / STATE_NAME, victim)
    if world.chance.random() < 0.5:
        (world.out / f"{STATE_NAME}-wal").touch()
    return victim.name


def _change_entry(world: World) -> str:
    """A link, a pipe, a socket, a folder, nothing or noise in the place of something."""
    name = world.chance.choice(_NAMES)
    place, target = (
        world.out / name,
        world.chance.choice(["bashrc", "folder", "other", "state.sqlite3", "none"]),
    )
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    kind = world.chance.choice(
        ["link", "link", "link", "hard", "pipe", "socket", "folder", "nothing", "noise"]
    )
    if kind == "link":
        place.symlink_to(world.victim / target)
    elif kind == "hard":
        os.link(world.victim / world.chance.choice(["bashrc", "state.sqlite3"]), place)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with contextlib.chdir(place.parent), socket.socket(socket.AF_UNIX) as one:
            one.bind(place.name)
    elif kind == "folder":
        place.mkdir()
    elif kind == "noise":
        place.write_bytes(world.chance.randbytes(300))
    return f"{name}: {kind} to {target}"


def _change_pointer(world: World) -> str:
    """Where the state is said to be."""
    path = world.chance.choice([str(world.victim), str(world.victim / "other"), "/", "victim", _odd(world)])
    host = world.chance.choice([platform.node(), platform.node(), "elsewhere", _odd(world)])
    text = world.chance.choice([json.dumps({"host": str(host), "path": str(path)}), str(_odd(world))])
    (world.out / POINTER_NAME).write_text(text, "utf-8", errors="replace")
    return text[:80]


def _change_profile(world: World) -> str:
    """From a forum: where its key goes, what it is called, and what else it says."""
    settings: dict[str, Any] = {
        "extends": world.chance.choice(["evolink", "foxapi", "unified", "local", "none"])
    }
    keys = ("name", "base_url", "files_url", "prices_url", "key_env", "links", "dialect", "models", "fields")
    for key in world.chance.sample([*keys, "base_url", "key_env"], world.chance.randint(1, 5)):
        settings[key] = world.chance.choice(
            [world.evil_url, *KEYS, "MY_API_KEY", "anywhere", {"a": {"b": 1}}, "mine", _odd(world)]
        )
    text = "\n".join(f"{key}: {json.dumps(value, default=str)}" for key, value in settings.items())
    (world.place / "p.yaml").write_text(text, "utf-8", errors="replace")
    return text.replace("\n", "; ")[:200]


CHANGES: tuple[Callable[[World], str], ...] = (
    _change_value,
    _change_value,
    _change_value,
    _change_memory,
    _change_schema,
    _change_bytes,
    _change_journal,
    _change_entry,
    _change_entry,
    _change_pointer,
    _change_profile,
)


# --- the world -------------------------------------------------------------------------------------


def _lay_out(world: World) -> None:
    victim = world.victim
    for name in ("folder", "other"):
        (victim / name).mkdir(parents=True)
    make_run(victim / "other", [Earlier("mine")], provider="unified@127.0.0.1")
    shutil.copy(victim / "other" / STATE_NAME, victim / STATE_NAME)
    (victim / "bashrc").write_text("mine\n")
    (victim / "p.yaml").write_text(f"extends: unified\nname: p\nbase_url: {world.evil_url}\nkey_env: P_KEY\n")
    shutil.copy(victim / "other" / "images" / "mine.png", victim / "secret.png")
    rows = [Earlier("a", {"style": "ink"}), Earlier("b"), Earlier("c", end="failed"), *map(Earlier, "defg")]
    make_run(world.place / "good", [*rows, Earlier("h", end="pending")], provider="unified@127.0.0.1")
    store = Store(world.place / "good" / STATE_NAME)
    store.remember(CONNECTION, Connection("unified", world.good_url).as_text())
    store.close()
    with closing(sqlite3.connect(world.place / "good" / STATE_NAME)) as db, db:
        for attempt, phase in enumerate(("unknown", "accepted", "ready", "expired"), 4):
            db.execute("UPDATE attempts SET phase = ? WHERE attempt = ?", (phase, attempt))
        db.execute(
            "INSERT INTO uploads VALUES (1, 'unified@127.0.0.1', 'me', 'ab', 'f', 'https://x/f', 1, 2, 3, 4)"
        )
        db.execute("INSERT INTO attempt_uploads VALUES (4, 1)")
    (world.place / "m.yaml").write_text(
        "defaults: {model: gemini-3.1-flash-image-preview}\nrows: [{id: new, prompt: a}]\n"
    )
    (world.place / "from.yaml").write_text(
        'defaults: {model: gemini-3.1-flash-image-preview}\nfrom: out\nprompt: "edit {row.prompt}"\n'
        'images: "{image}"\n'
    )


def _again(world: World) -> None:
    for name in ("out", "new"):
        shutil.rmtree(world.place / name, ignore_errors=True)
    shutil.copytree(world.place / "good", world.out)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def _as_person(folder: Path) -> Iterator[None]:
    """With keys, a home and a cache of one's own; and no way to any other machine."""
    before, argv = dict(os.environ), sys.argv
    home = folder / "home"
    home.mkdir()
    proxies = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    os.environ.update({**KEYS, **proxies, "HOME": str(home), "XDG_CACHE_HOME": str(folder / "cache")})
    os.environ["NO_PROXY"] = "127.0.0.1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.argv = argv


@contextmanager
def _hosts() -> Iterator[tuple[str, str, list[bytes]]]:
    """One that a person has named, which takes no key, and one of the stranger's, which listens."""
    called: list[bytes] = []

    class Good(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b'{"error": {"code": "unauthorized", "message": "no", "type": "authentication_error"}}'
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, *words: object) -> None:
            pass

    class Evil(Good):
        def do_GET(self) -> None:
            called.append(
                f"{self.path}\n{self.headers}".encode()
                + self.rfile.read(int(self.headers.get("Content-Length") or 0))
            )
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_DELETE = do_GET

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Good, Evil)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        good, evil = (f"http://127.0.0.1:{server.server_port}" for server in servers)
        yield good, evil, called
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@contextmanager
def _watched(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Which files of a folder were opened, read, written, made or removed, as the system tells (inotify)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "no watch on the file system")
    try:
        for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            libc.inotify_add_watch(fd, os.fsencode(place), _SEEN_ALL)

        def seen() -> list[str]:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return []
            return _events(data)

        yield seen
    finally:
        os.close(fd)


def _events(data: bytes) -> list[str]:
    """What happened to files; that somebody has looked at a folder's names is nothing."""
    found, at = [], 0
    while at < len(data):
        mask, length = (
            int.from_bytes(data[at + 4 : at + 8], "little"),
            int.from_bytes(data[at + 12 : at + 16], "little"),
        )
        name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode("utf-8", "replace")
        if name and not mask & 0x40000000:  # IN_ISDIR
            found.append(f"{name} ({mask:#x})")
        at += 16 + length
    return found


def main() -> None:
    """As told above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), given.examples, given.seed)
    for name, count in sorted(found.ended.items()):
        print(f"{count:6}  {name}")
    for fault in found.wrong:
        print(f"WRONG: {fault}")
    print(f"{given.examples} examples, {len(found.wrong)} wrong.")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
