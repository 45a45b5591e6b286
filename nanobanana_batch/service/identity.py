"""With a seed, a task's id, picture and latency follow from its request, in any order of arrival."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_SEEDED_FROM, _SEEDED_SPAN = 1_700_000_000, 60_000_000  # a believable time inside the id


@dataclass(frozen=True, slots=True)
class Identity:
    id: str
    render_seed: int
    latency_share: float  # 0..1 of the range of latencies


def seeded(seed: int, body: bytes, occurrence: int, salt: str = "") -> Identity:
    digest = sha256(f"{seed}:{occurrence}:{salt}:".encode() + body).digest()
    created = _SEEDED_FROM + int.from_bytes(digest[:8], "big") % _SEEDED_SPAN
    return _identity(created, digest[8:])


def unseeded(created: int) -> Identity:
    return _identity(created, secrets.token_bytes(24))


def _identity(created: int, digest: bytes) -> Identity:
    number = int.from_bytes(digest[:8], "big")
    letters = []
    for _ in range(8):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    share = int.from_bytes(digest[12:16], "big") / 2**32
    return Identity(f"task-unified-{created}-{''.join(letters)}", int.from_bytes(digest[8:12], "big"), share)
