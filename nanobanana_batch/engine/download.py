"""Fetches finished images, those with the least time left first, and gives each its name when it is whole.

A link that fails is read anew from its task before the next try. Only a link of which its own host
says that it is gone, and for which the task has no other, makes a row `expired`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from contextlib import aclosing

import anyio

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.pace import backoff_s
from nanobanana_batch.engine.work import Work
from nanobanana_batch.errors import DiskFailed, ImageRejected, LinkFailed
from nanobanana_batch.files.images import ImageFile
from nanobanana_batch.model import Image
from nanobanana_batch.state import facts


class Downloader:
    """All finished images that are not on disk yet."""

    def __init__(
        self,
        context: Context,
        *,
        look_again: Callable[[Work, float], None],
        set_aside: Callable[[Work], None],
    ) -> None:
        self._context = context
        self._look_again = look_again
        self._set_aside = set_aside
        self._queue: list[tuple[float, int, Work]] = []
        self._order = itertools.count()
        self._arrived = anyio.Event()

    def add(self, work: Work) -> None:
        """Fetch a finished image when its turn comes."""
        heapq.heappush(self._queue, (work.dies_at, next(self._order), work))
        self._arrived.set()

    async def work(self) -> None:
        """Fetch one image after the other, until cancelled."""
        while True:
            work = await self._next()
            await self._fetch(work)
            self._context.first_look.at(work)

    async def _next(self) -> Work:
        while not self._queue:
            if self._arrived.is_set():
                self._arrived = anyio.Event()
            await self._arrived.wait()
        return heapq.heappop(self._queue)[2]

    async def _fetch(self, work: Work) -> None:
        context = self._context
        try:
            image = await self._save(work)
        except (LinkFailed, ImageRejected) as error:
            self._try_again(work, error)
            return
        except DiskFailed as error:
            context.stop.ask(str(error))
            context.slots.give_back()
            return
        await context.journal.record(facts.Saved(work.attempt, image, context.now()))
        context.space.seen(image.size_bytes)
        context.ends.completed(work.credits_used)
        context.slots.give_back()

    async def _save(self, work: Work) -> Image:
        """Stream to disk: one thread hop for a small image, one per MiB for a large one."""
        context = self._context
        async with (
            context.provider.open_link(work.links[0]) as body,
            aclosing(body.pieces()) as pieces,
        ):
            with ImageFile(context.disk, context.folder, work.stem) as file:
                last = b""
                async for piece in pieces:
                    if last:
                        await context.blocking(lambda data=last: file.write(data))  # type: ignore[misc]
                    last = piece
                return await context.blocking(lambda: file.write_last(last))

    def _try_again(self, work: Work, error: LinkFailed | ImageRejected) -> None:
        context = self._context
        work.failed_downloads += 1
        if isinstance(error, LinkFailed) and error.dead:
            work.dead_links |= {work.links[0]}
            work.gone += 1
        if context.stop.asked and work.failed_downloads >= context.settings.read_tries:
            self._set_aside(work)
        elif work.failed_downloads >= context.settings.download_tries:
            context.tally.say_once(f"{work.id}: {error.message}; set aside, and tried again later")
            self._set_aside(work)
        else:
            self._look_again(work, backoff_s(work.failed_downloads, first_s=2.0))
