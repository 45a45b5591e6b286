"""A price list is read once, without a key, from where a person said; runs and plans never ask for it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.doctor import Check, Verdict, examine
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.jobs.prices import price_report, refresh
from nanobanana_batch.pricing import cache
from nanobanana_batch.providers.profile import Address
from nanobanana_batch.providers.tasks.price_list import read_price_list
from tests.service.conftest import Start
from tests.service.test_http_paid import (
    Answer,
    closed_port,
    drip,
    half_a_body,
    half_a_chunked_body,
    half_a_head,
    hang_up,
    no_http,
    reset,
    send,
    serving,
    silence,
)
from tests.warm import run_copy

MODEL = "gemini-3.1-flash-image-preview"
PATH = "/web/api/models/pricing"
KEY = "canary-key-77e0"
MANIFEST = f"""\
name: cats
defaults: {{model: {MODEL}}}
prompt: "a {{style}} cat"
matrix: {{style: [ink, oil], resolution: [1K, 4K]}}
"""


def sku(title: str, usd: float, **more: Any) -> dict[str, Any]:
    """An entry of the list."""
    price = {"price_range": {"min_usd": usd / 2, "max_usd": usd}}
    return (
        {"sku_name": title, "model_name": MODEL, "model_type": "image", "billing_rule": "per_image"}
        | price
        | more
    )


SKUS = [
    sku("Nano Banana 2", 0.125),
    sku("Nano Banana 2 - 4K Output", 0.25),
    sku("Nano Banana 2 - Input Image", 0.025),
    sku("Nano Banana", 0.05, model_name="gemini-2.5-flash-image"),
    sku("Other", 0.5, model_name="seen-nowhere"),
    sku("By tokens", 27, model_name="gpt-image-2", billing_rule="per_1k_tokens"),
]
LIST = json.dumps({"success": True, "data": SKUS}).encode()


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


# --- reading it ------------------------------------------------------------------------------------


async def read(url: str, deadline_s: float = 5.0) -> int:
    """How many models the list at an address has."""
    return len((await read_price_list(Address(url, True), deadline_s)).tariffs)


@pytest.mark.anyio
async def test_a_list_is_read_with_one_request_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the address that was given; nothing that could tell who asks."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    async with serving(send(body=LIST, headers="Set-Cookie: a=b\r\n")) as server:
        assert await read(f"{server.url}{PATH}/") == 4
    (request,) = server.seen
    assert request.line == f"GET {PATH}/ HTTP/1.1"
    assert set(request.headers) <= {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert request.body == b""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (send(500, b"oops"), "HTTP 500"),
        (send(404, LIST), "HTTP 404"),
        (send(200, b"<html>Just a moment...</html>"), "not JSON"),
        (send(200, b""), "not JSON"),
        (send(200, LIST[:-5]), "not JSON"),
        (send(204, b""), "HTTP 204"),
        (send(200, b'{"success": true, "data": []}'), "no price of an image"),
        (send(200, b" " * (16 << 20) + LIST), "larger than"),
        (half_a_head, "not read"),
        (half_a_body, "not read"),
        (half_a_chunked_body, "not read"),
        (hang_up, "not read"),
        (reset, "not read"),
        (no_http, "not read"),
    ],
)
async def test_what_is_no_whole_list_is_refused(answer: Answer, said: str) -> None:
    """In one sentence."""
    async with serving(answer) as server:
        with pytest.raises(NoPriceList, match=said) as caught:
            await read(f"{server.url}{PATH}")
    assert "\n" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [drip, silence])
async def test_a_slow_list_is_given_up(answer: Answer) -> None:
    """After so many seconds in all, however it drips."""
    async with serving(answer) as server:
        with pytest.raises(NoPriceList, match=r"within 0\.3 s"):
            await read(f"{server.url}{PATH}", deadline_s=0.3)


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """Not to another place on the host either: the list is where the profile says, or it is not read."""
    async with serving(send(body=LIST)) as elsewhere:
        headers = f"Location: {elsewhere.url}{PATH}\r\n"
        async with serving(send(status, b"", headers)) as server:
            with pytest.raises(NoPriceList, match="redirect"):
                await read(f"{server.url}{PATH}")
    assert (len(server.seen), elsewhere.seen) == (1, [])


@pytest.mark.anyio
async def test_a_port_where_nobody_listens_is_told() -> None:
    """With what the network said."""
    with pytest.raises(NoPriceList, match="connection was not made"):
        await read(f"http://127.0.0.1:{closed_port()}{PATH}")


# --- the command -----------------------------------------------------------------------------------


@dataclass
class Shop:
    """A server with a list, and a folder with a profile that names it."""

    folder: Path
    url: str
    body: bytes = LIST
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def profile(self, name: str = "mine", base_url: str = "http://127.0.0.1:9", **more: object) -> str:
        """A profile of one's own."""
        path = self.folder / f"{name}.yaml"
        values = {
            "extends": "evolink",
            "name": name,
            "key_env": "MINE_API_KEY",
            "base_url": base_url,
            "prices_url": self.url + PATH,
            **more,
        }
        path.write_text(json.dumps(values))
        return str(path)

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command as a process of its own."""
        surroundings = {"XDG_CACHE_HOME": str(self.folder / "cache"), "COLUMNS": "160", **environment}
        return run_copy(words, cwd=self.folder, env={**os.environ, **surroundings})


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Sells what `SKUS` says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cats.yaml").write_text(MANIFEST)
    found = Shop(tmp_path, "")
    with listening(found) as url:
        found.url = url
        yield found


@contextmanager
def listening(shop: Shop) -> Iterator[str]:
    """Answers as the shop says at that moment."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shop.asked.append(self.path)
            self.send_response_only(shop.status)
            self.send_header("Content-Length", str(len(shop.body)))
            self.end_headers()
            self.wfile.write(shop.body)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_prices_are_told_read_and_kept(shop: Shop) -> None:
    """Before, what to do; after, credits and dollars of each model and resolution, and the rest."""
    before = shop.command("prices", "--provider", shop.profile())
    assert before.returncode == 0
    assert "no price list was read yet; `nanobanana-batch prices --refresh`" in before.stdout
    assert shop.asked == []
    after = shop.command("prices", "--provider", shop.profile(), "--refresh")
    assert (after.returncode, after.stderr, shop.asked) == (0, "", [PATH])
    assert "(today)" in after.stdout
    assert "1 USD is 68 credits" in after.stdout
    lines = [line.split() for line in after.stdout.splitlines()]
    assert [MODEL, "0.5K", "1K", "2K", "8.5", "$0.125", "1.7", "price", "list"] in lines
    assert [MODEL, "4K", "17", "$0.25", "1.7", "price", "list"] in lines
    assert ["nano-banana-beta", "-", "3.4", "$0.05", "price", "list"] in lines
    assert "Only the list knows (--json has their prices): seen-nowhere" in after.stdout
    assert "gpt-image-2 (by 1k tokens)" in after.stdout
    assert shop.command("prices", "--provider", shop.profile()).stdout == after.stdout
    found = json.loads(shop.command("prices", "--provider", shop.profile(), "--json").stdout)
    assert {price["credits"] for price in found["others"]} == {34.0}
    assert shop.asked == [PATH]


@pytest.mark.parametrize(("status", "body"), [(500, LIST), (200, b"<html>"), (302, b"")])
def test_a_list_that_cannot_be_read_leaves_the_old_one(shop: Shop, status: int, body: bytes) -> None:
    """One sentence, exit 2; what was read last week is still there."""
    connection = Connection(shop.profile())
    refresh(connection)
    before = price_report(connection)
    shop.status, shop.body = status, body
    ended = shop.command("prices", "--provider", shop.profile(), "--refresh")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "was not read" in ended.stderr
    assert price_report(connection) == before


def test_a_provider_without_a_list_says_so(shop: Shop) -> None:
    """Nobody is asked; a service of this machine costs nothing; dollars need a rate."""
    ended = shop.command("prices", "--refresh", "--provider", "unified")
    assert (ended.returncode, "publishes no price list" in ended.stderr) == (2, True)
    assert "costs nothing" in shop.command("prices", "--provider", "local").stdout
    ended = shop.command("prices", "--refresh", "--provider", shop.profile(credits_per_usd=None))
    assert (ended.returncode, "credits_per_usd" in ended.stderr) == (2, True)
    assert shop.asked == []


@pytest.mark.parametrize("home", ["", "/nonexistent", "/proc"])
def test_a_machine_without_a_place_for_it_is_told(shop: Shop, home: str) -> None:
    """The list is asked for, not kept, and plans go on without one."""
    where = {"XDG_CACHE_HOME": "", "HOME": home}
    if home == "/nonexistent" and os.geteuid() == 0:
        where["HOME"] = str(shop.folder / "cats.yaml" / "deeper")
    ended = shop.command("prices", "--refresh", "--provider", shop.profile(), **where)
    assert (ended.returncode, "cannot be kept" in ended.stderr) == (2, True)
    assert len(ended.stderr.splitlines()) == 1
    plan = shop.command("plan", "cats.yaml", "--provider", shop.profile(), **where)
    assert (plan.returncode, "no price is told" in plan.stdout) == (0, True)


def test_a_list_goes_with_another_base_url(shop: Shop) -> None:
    """As files do: what belongs to the profile's host is nowhere else than a person said."""
    refresh(Connection("evolink", f"{shop.url}/v9/"))
    assert shop.asked == [f"/v9{PATH}"]
    assert price_report(Connection("evolink", f"{shop.url}/v9")).read_at is not None
    assert price_report(Connection("evolink")).read_at is None
    assert price_report(Connection("evolink", "http://127.0.0.1:9")).read_at is None


# --- what rests on it ------------------------------------------------------------------------------


def test_a_plan_is_priced_by_the_list_and_asks_nobody(shop: Shop) -> None:
    """Credits and dollars by resolution, with the day of the list."""
    refresh(Connection(shop.profile()))
    shop.asked.clear()
    ended = shop.command("plan", "cats.yaml", "--provider", shop.profile(), "--max-credits", "50")
    assert ended.returncode == 0
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert [MODEL, "4K", "2", "2", "34", "$0.5"] in lines
    assert "cost    about 51 credits, $0.75 (estimate, price list of 20" in ended.stdout
    assert "over --max-credits 50" in ended.stdout
    assert shop.asked == []


def test_neither_help_nor_a_plan_loads_the_http_library(shop: Shop) -> None:
    """They are asked for often; a list that is there is read from its file."""
    refresh(Connection(shop.profile()))
    program = (
        "import sys; from nanobanana_batch.cli import commands;"
        "commands.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'httpx', 'aiohttp'} & set(sys.modules)))"
    )
    for words in (
        ["plan", "cats.yaml", "--provider", shop.profile()],
        ["prices", "--provider", shop.profile()],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=shop.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.stdout.splitlines()[-1] == "[]", ended.stderr


def test_a_damaged_list_and_an_old_one_are_told_by_the_plan(shop: Shop) -> None:
    """With what to do; neither stands in the way."""
    refresh(Connection(shop.profile()))
    file = cache.cache_file("mine", shop.url + PATH)
    assert file is not None
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "read_at": "2026-01-02T00:00:00+00:00"}))
    ended = shop.command("plan", "cats.yaml", "--provider", shop.profile())
    assert "warning  the price list is of 2026-01-02, " in ended.stdout
    assert "`nanobanana-batch prices --refresh` reads it anew" in ended.stdout
    file.write_text("{")
    ended = shop.command("plan", "cats.yaml", "--provider", shop.profile())
    assert (ended.returncode, "it is damaged" in ended.stdout) == (0, True)
    assert "unknown: no price is told before the first reply" in ended.stdout


def test_a_run_keeps_to_its_limit_by_the_list_until_replies_say_more(shop: Shop, start: Start) -> None:
    """Refused where the list makes it too dear; else the first reply decides, and is known then."""
    api = start(key=KEY)
    mine = shop.profile(base_url=api.service.base_url, poll_interval_s="0.1", key_env="MY_KEY")
    refresh(Connection(mine))
    run = ("run", "cats.yaml", "--provider", mine, "--out", "out", "--no-progress")
    refused = shop.command(*run, "--max-credits", "50", MY_KEY=KEY)
    assert refused.returncode == 3
    assert "estimated at 51 credits ($0.75), at most, by the price list of 20" in refused.stderr
    assert api.ledger().tasks == ()
    shown = shop.command("status", "out", "--provider", mine).stdout
    assert "left to pay: about 51 credits, $0.75 (estimate, price list of 20" in shown
    done = shop.command(*run, "--max-credits", "60", MY_KEY=KEY)
    assert (done.returncode, len(api.ledger().tasks)) == (0, 4)
    assert "Credits used in this folder so far: 44 ($0.647)" in done.stderr
    assert (
        "credits used: 44 ($0.647), reserved: 0 ($0)\n"
        in shop.command("status", "out", "--provider", mine).stdout
    )
    with closing(sqlite3.connect(shop.folder / "out" / "state.sqlite3")) as db:
        expected = {credits for (credits,) in db.execute("SELECT credits_expected FROM requests")}
    assert {8.5, 17.0} <= expected  # what the first of each kind was thought to cost
    shop.folder.joinpath("mine.yaml").unlink()
    standing = priced_standing_of(shop.folder / "out")
    assert (standing["credits_used"], standing["credits_per_usd"], standing["left"]) == (44.0, None, None)


def priced_standing_of(out: Path) -> dict[str, Any]:
    """What `status` knows, by name."""
    from nanobanana_batch.files.folder import find

    found = priced_standing(find(out))
    return {name: getattr(found, name) for name in found.__slots__}


def of_prices(connection: Connection, folder: Path) -> list[Check]:
    """What `doctor` says of prices."""
    return [check for check in examine(connection, folder).checks if check.name == "prices"]


def test_doctor_reads_the_list_if_it_can_and_goes_on_if_not(shop: Shop) -> None:
    """No key is needed, and nothing of it stands in the way of a run."""
    connection = Connection(shop.profile())
    shop.status = 503
    (check,) = of_prices(connection, shop.folder)
    assert (check.verdict, "Estimates begin with a folder's first replies" in check.found) == (
        Verdict.OK,
        True,
    )
    shop.status = 200
    (check,) = of_prices(connection, shop.folder)
    assert check.found == "the public list was read, models in it: 4"
    shop.status = 503
    (check,) = of_prices(connection, shop.folder)
    assert (check.verdict, "The list of 20" in check.found) == (Verdict.OK, True)
    assert of_prices(Connection("local"), shop.folder) == []
    assert len(shop.asked) == 3
