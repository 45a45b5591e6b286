"""A file is fetched from a public address or not at all, under the rules of a callback: see `addresses`."""

from __future__ import annotations

import asyncio
import re

from nanobanana_batch.service.addresses import AddressRefused, Target, target_of
from nanobanana_batch.service.envelope import ApiError, invalid
from nanobanana_batch.service.network import Connection, Network

_CHUNK_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] 200[ \r]")


async def fetch(network: Network, url: str, max_bytes: int) -> bytes:
    """The bytes behind an https URL; redirects are not followed."""
    try:
        target = target_of(url)
        async with asyncio.timeout(network.timeout_s):
            return await _get(await network.reach(target), target, max_bytes)
    except AddressRefused as refused:
        raise invalid(f"file_url {refused}", "file_url") from refused
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise invalid("file_url could not be downloaded.", "file_url") from error


async def _get(connection: Connection, target: Target, max_bytes: int) -> bytes:
    """By HTTP/1.0: the body ends with the connection, and is not chunked."""
    reader, writer = connection
    try:
        writer.write(f"GET {target.path} HTTP/1.0\r\nHost: {target.authority}\r\n\r\n".encode("ascii"))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        if not _STATUS_LINE.match(head):
            raise ValueError("the reply is not a file")
        body = bytearray()
        while piece := await reader.read(_CHUNK_BYTES):
            body += piece
            if len(body) > max_bytes:
                raise ApiError(413, "request_too_large_error", f"The file is larger than {max_bytes} bytes.")
        return bytes(body)
    finally:
        writer.transport.abort()
