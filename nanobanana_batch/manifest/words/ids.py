"""An id is safe as a file name on every system, and what a person wrote is never changed silently.

A given id that is not portable is a problem; only ids that are derived are made portable. They name images
that are paid for, so the rules are our own and stay: a library's could change with its version.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from nanobanana_batch.file_names import FORBIDDEN, MAX_ID_BYTES, RESERVED
from nanobanana_batch.model import Draft, PlainDraft

_SLUG_LENGTH = 40


def portable(text: str) -> str:
    """A derived id made safe; one that is too long keeps its difference as a hash at the end."""
    safe = FORBIDDEN.sub("-", text).strip().lstrip(". ").rstrip(". ")
    if not safe:
        return "row"
    if RESERVED.fullmatch(safe):
        safe = "row-" + safe
    encoded = safe.encode()
    if len(encoded) <= MAX_ID_BYTES:
        return safe
    mark = "-" + hashlib.sha256(encoded).hexdigest()[:8]
    return encoded[: MAX_ID_BYTES - len(mark)].decode(errors="ignore").rstrip(". -") + mark


def fold_id(id: str) -> str:
    """The form in which two ids are compared: file systems may ignore case and Unicode form."""
    if id.isascii():  # which has no other form
        return id.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", id).casefold())


def slug(text: str) -> str:
    """A short ASCII name for a text; may be empty."""
    plain = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode()
    return _shortened("-".join(re.findall(r"[a-z0-9]+", plain.lower())))


def word(text: str) -> str:
    """A short name for a value that keeps letters of every script; may be empty."""
    composed = unicodedata.normalize("NFC", text[:1000]).casefold()
    return _shortened(re.sub(r"[^\w.]+|_+", "-", composed).strip("-. "))


def distinct_words(values: Sequence[str]) -> tuple[str, ...]:
    """Names for the values of a factor that stay different from each other."""
    words: dict[str, str] = {}
    used: set[str] = set()
    for number, value in enumerate(values, 1):
        if value not in words:
            name = word(value) or str(number)
            words[value] = f"{name}-{number}" if name in used else name
            used.add(words[value])
    return tuple([words[value] for value in values])


def _shortened(name: str) -> str:
    if len(name) <= _SLUG_LENGTH:
        return name
    cut = name[: _SLUG_LENGTH + 1].rpartition("-")[0]
    return (cut if len(cut) > _SLUG_LENGTH // 2 else name[:_SLUG_LENGTH]).rstrip("-.")


def derive_id(draft: Draft | PlainDraft, row_key: str) -> str:
    """A readable name for a row without one: what it shows, and ten digits of what it is."""
    if draft.suggested_id:
        return draft.suggested_id
    variant = f"-v{draft.variant}" if draft.variant > 1 else ""
    digits = row_key.partition("-")[2][:10]
    return f"{slug(draft.prompt) or 'row'}{variant}-{digits}"
