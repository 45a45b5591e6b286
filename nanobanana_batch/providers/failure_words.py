"""What went wrong with a request: what an HTTP library says of it, and the operating system below it."""

from __future__ import annotations

import aiohttp

from nanobanana_batch.providers.bodies import BadCoding
from nanobanana_batch.providers.fresh_posts import BadReply


def failure_words(error: BaseException) -> str:
    """In aiohttp's own words, where it is behind it: its bridge calls nearly all a connect timeout."""
    if isinstance(error.__cause__, aiohttp.ClientError):
        error = error.__cause__
    if isinstance(error, BadCoding | BadReply):
        return str(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "the connection was not made in time"  # its own words hold the whole link
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"the connection was not made: {error}"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    why = _system_word(error)
    return said if why in said else f"{said} ({why})"


def _system_word(error: BaseException) -> str:
    """What the operating system said at the bottom of it, such as "Too many open files"."""
    word = ""
    while error is not None:
        word = getattr(error, "strerror", None) or word
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = inner or error.__cause__ or error.__context__  # type: ignore[assignment]
    return word
