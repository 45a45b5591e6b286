"""The strict provider as a process: three ports, for the API, for the links, and for whoever judges.

    python -m tests.campaign.strict.server --port 0

Prints one line of JSON with the addresses, then serves until it is told to end (SIGTERM, or its standard
input is closed, so that it never outlives who started it). At the judge's address: `GET /report`,
`POST /reset` and `/set` with settings, `/mutation`, `/outage`, `/restart`, and `/calm`, which ends an outage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .mutations import FORMS, Mutation
from .provider import Provider
from .settings import Outage, Settings
from .wire import Listener, Reply, Request


@dataclass
class Timed:
    """A mutation, and when it is at work: by tasks made, and by seconds at the latest."""

    mutation: Mutation
    from_tasks: int = 0
    until_tasks: int | None = None
    until_s: float | None = None
    applied: int = 0

    def is_on(self, provider: Provider) -> bool:
        """Whether a reply is changed now."""
        made = provider.tasks_made
        since_s = time.monotonic() - (provider.began_at or time.monotonic())
        is_over = self.until_tasks is not None and made > self.until_tasks
        is_late = self.until_s is not None and since_s > self.until_s
        return made > self.from_tasks - (not self.from_tasks) and not is_over and not is_late


class Server:
    """The ports, and what the judge can do."""

    def __init__(self, settings: Settings) -> None:
        self.api, self.links = Listener(self._answer), Listener(self._download)
        self.admin = Listener(self._judge)
        self._settings = settings
        self._timed: Timed | None = None
        self._outage: tuple[str, float] | None = None
        self._outages: list[Outage] = []
        self._came_back = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, port: int) -> dict[str, str]:
        """The addresses."""
        ports = [await self.api.listen(port), await self.links.listen(0), await self.admin.listen(0)]
        self._begin(self._settings)
        return dict(zip(("api", "links", "admin"), map("http://127.0.0.1:{}".format, ports), strict=True))

    def _begin(self, settings: Settings) -> None:
        urls = (f"http://127.0.0.1:{self.links.port}", f"http://127.0.0.1:{self.api.port}")
        self._settings = settings
        self.provider = Provider(settings, *urls)
        self._outages = list(settings.faults.outages)
        self._timed = None

    # -- the API ---------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Reply:
        self._weather()
        if self._outage is not None and (reply := await self._away(request)) is not None:
            return reply
        reply = self._mutated(self.provider.answer(request))
        self.provider.note_wait(reply)
        return reply

    def _weather(self) -> None:
        """Begin the outage whose time has come."""
        began = self.provider.began_at
        for outage in self._outages:
            is_due = (
                began is not None and time.monotonic() - began >= outage.at_s
                if outage.after_tasks is None
                else self.provider.tasks_made >= outage.after_tasks
            )
            if is_due and self._outage is None:
                self._outages.remove(outage)
                self._start_outage(outage)
                return

    def _start_outage(self, outage: Outage) -> None:
        self.provider.ledger.outages.append(f"{outage.kind} {outage.length_s:g} s")
        self._came_back.clear()
        began = self._outage = outage.kind, time.monotonic() + outage.length_s
        if outage.kind == "refuse":
            self.api.refuse()

        async def end() -> None:
            if self._outage is began:  # else another has begun meanwhile, and ends by itself
                await self._end_outage()

        self._later(outage.length_s, end)

    async def _end_outage(self) -> None:
        if self._outage is None:
            return
        self._outage = None
        self._came_back.set()
        if not self.api.is_listening:
            await self.api.listen()

    def _later(self, wait_s: float, call: Callable[[], Any]) -> None:
        async def after() -> None:
            await asyncio.sleep(wait_s)
            await call()

        task = asyncio.get_running_loop().create_task(after())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _away(self, request: Request) -> Reply | None:
        """What an outage answers."""
        assert self._outage is not None
        kind = self._outage[0]
        self.provider.note_away(request, kind)
        if kind == "503":
            return self.provider.error(503, "service_unavailable_error", "the service is not available")
        if kind == "html":
            return Reply(
                502, body=b"<html><body>502 Bad Gateway</body></html>", headers=[_PAGE], kind="error"
            )
        if kind == "hang":
            await self._came_back.wait()
        return Reply(sent_share=0.0)

    async def _download(self, request: Request) -> Reply:
        return self._mutated(self.provider.download(request))

    def _mutated(self, reply: Reply) -> Reply:
        timed = self._timed
        if timed is None or not timed.mutation.is_for(reply) or not timed.is_on(self.provider):
            return reply
        timed.applied += 1
        changed = timed.mutation.applied(reply)
        self._keep_ids(reply, changed)
        return changed

    def _keep_ids(self, reply: Reply, changed: Reply) -> None:
        """A provider whose ids look otherwise knows them by that look."""
        mutation = self._timed.mutation if self._timed else None
        if mutation is None or (mutation.kind, mutation.place) != ("submit", "id"):
            return
        if mutation.change in FORMS and isinstance(reply.document, dict):
            assert isinstance(changed.document, dict)
            self.provider.rename(str(reply.document["id"]), changed.document["id"])

    # -- the judge -------------------------------------------------------------------------------------

    async def _judge(self, request: Request) -> Reply:
        given = json.loads(request.body or b"{}")
        if request.path in ("/calm", "/reset"):
            await self._end_outage()
        try:
            return Reply(document=self._judged(request.path, given))
        except (ValueError, TypeError, KeyError) as error:
            return Reply(400, {"error": str(error)})

    def _judged(self, path: str, given: dict[str, Any]) -> dict[str, Any]:
        if path == "/reset":
            self._begin(Settings.parse(given))
            self.api.abort()
        elif path == "/set":
            self._settings = Settings.parse(given, self._settings)
            self.provider.change(self._settings)
        elif path == "/mutation":
            self._timed = self._parse(given) if given else None
        elif path == "/outage":
            self._start_outage(Outage(**given))
        elif path == "/restart":
            self._restart(given)
        elif path not in ("/report", "/calm"):
            raise ValueError(f"no such route: {path}")
        applied = self._timed.applied if self._timed else 0
        return {**self.provider.report(), "mutated": applied, "cut": self.api.cut}

    def _parse(self, given: dict[str, Any]) -> Timed:
        mutation = Mutation(given.pop("kind"), given.pop("place"), given.pop("change"))
        return Timed(mutation, **given)

    def _restart(self, given: dict[str, Any]) -> None:
        """Away for a moment; what is remembered of keys or tasks may be gone."""
        if (lost := given.get("lost")) is not None:
            self.provider.forget(lost)
        self.links.abort()
        self._start_outage(Outage("refuse", given.get("length_s", 0.5)))


_FAREWELL_S = 0.05
_PAGE = ("Content-Type", "text/html")


async def serve(settings: Settings, port: int) -> None:
    """Until SIGTERM, SIGINT or the end of standard input."""
    server = Server(settings)
    print(json.dumps(await server.listen(port)), flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_reader(sys.stdin.fileno(), _end_with_input, ended)
    await ended.wait()
    for listener in (server.api, server.links, server.admin):
        listener.refuse()
    await asyncio.sleep(_FAREWELL_S)


def _end_with_input(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        ended.set()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--settings", default="{}", help="JSON, or @file")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--time-scale", type=float)
    given = parser.parse_args()
    text = given.settings
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    settings = Settings.parse(json.loads(text))
    if given.seed is not None:
        settings = replace(settings, seed=given.seed)
    if given.time_scale is not None:
        settings = replace(settings, time_scale=given.time_scale)
    asyncio.run(serve(settings, given.port))


if __name__ == "__main__":
    main()
