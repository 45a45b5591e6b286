"""A run opens no more than it may: without descriptors, images that are paid for could not be fetched.

Counted before anything is paid, since later it would be too late to say so.
"""

from __future__ import annotations

from dataclasses import replace

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import BadSurroundings
from nanobanana_batch.files.descriptors import most_open, open_now

_AT_REST = 20
"""State (to write and to read), locks, run.log, results.csv, event loop, service; and some to spare."""
_A_SUBMIT = 2
"""A connection, and what looking up a name or reading a reference image takes."""
_A_READ = 1
_A_DOWNLOAD = 3
"""A connection, the file, and a connection that is kept for the next one."""
_OF_CALLERS = 8
"""One part in so many is for those who call from outside, where they cannot all be served."""
_MARGIN = 32
"""Connections that hosts and proxies of links keep open, where there is room for them."""


def fitted(settings: Settings, tally: Tally, callbacks: int = 0) -> Settings:
    """The settings, with as many requests at once as this process may have connections; says so if fewer.

    `callbacks`: connections that may come in.

    Raises:
        BadSurroundings: not even one of each could be open; nothing was sent.
    """
    at_rest = open_now() + _AT_REST
    wanted = at_rest + callbacks + _MARGIN + _taken(settings)
    limit = most_open(wanted)
    if limit >= wanted:
        return settings
    fewer = _within(settings, limit - at_rest - min(callbacks, limit // _OF_CALLERS))
    if fewer is None:
        least = at_rest + _taken(_at_most(settings, 1))
        raise BadSurroundings(
            f"This process may have {limit} files and connections open, and a run needs {least};"
            " nothing was sent.",
            hint="Allow more with `ulimit -n 1024`.",
        )
    if fewer != settings:
        tally.say_once(
            f"Only {limit} files and connections may be open at once (`ulimit -n`):"
            f" {fewer.submit_concurrency} paid requests, {fewer.read_concurrency} reads and"
            f" {fewer.download_concurrency} downloads at a time."
        )
    return fewer


def callers_at_once(most: int) -> int:
    """How many connections that come in are taken, of `most`, so that a run keeps what it needs itself."""
    return min(most, most_open(0) // _OF_CALLERS)


def _taken(settings: Settings) -> int:
    return (
        _A_SUBMIT * settings.paid_at_once
        + _A_READ * settings.read_concurrency
        + _A_DOWNLOAD * settings.download_concurrency
    )


def _within(settings: Settings, room: int) -> Settings | None:
    """The most even share of what there is room for; None: there is none for one of each."""
    most = max(settings.submit_concurrency, settings.read_concurrency, settings.download_concurrency)
    for at_once in range(most, 0, -1):
        fewer = _at_most(settings, at_once)
        if _taken(fewer) <= room:
            return fewer
    return None


def _at_most(settings: Settings, at_once: int) -> Settings:
    return replace(
        settings,
        submit_concurrency=min(settings.submit_concurrency, at_once),
        read_concurrency=min(settings.read_concurrency, at_once),
        download_concurrency=min(settings.download_concurrency, at_once),
    )
