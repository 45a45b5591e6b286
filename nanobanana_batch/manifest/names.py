"""A misspelt field never silently becomes a variable, and no manifest holds a key.

Everything in a row that is no request field is a variable; so a name that is one slip away from a
field has to be refused unless the person says that it is meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from nanobanana_batch.catalog import Finding
from nanobanana_batch.model import REQUEST_FIELDS

ROW_NAMES = (*REQUEST_FIELDS, "id", "variants")
"""All names with a meaning in a row."""

FIELD_SET = frozenset(REQUEST_FIELDS)
HOLDS_NO_KEY = "a manifest holds no key or token; it comes from the environment"
_PERHAPS_SECRETS = frozenset({"key", "token"})
SECRET_NAMES = re.compile(
    r"(x|evolink|nanobanana|secret|private|access)?(api)?key|authorization|bearer(token)?|credential"
    r"|passw(or)?d|(client)?secret|((access|auth|secret|api)?token)"
)
_MEANS_IMAGES = frozenset(
    {"imageurl", "imageurls", "imagesurl", "imagesurls", "referenceimage", "inputimage"}
)


def is_secret(name: str) -> bool:
    """Whether a thing of this name is likely to be a key."""
    return bool(SECRET_NAMES.fullmatch(_folded(name)))


def name_fault(name: str, declared: Collection[str]) -> Finding | None:
    """Why this may not be the name of a variable; `None` for a good name and for the fields themselves."""
    if name in ROW_NAMES:
        return None
    if not name.strip():
        return Finding("", "an empty name")
    perhaps = _folded(name) in _PERHAPS_SECRETS
    if is_secret(name) and not (perhaps and name in declared):
        hint = f"; list it under `variables` if {name} is only a word" if perhaps else ""
        return Finding(name, HOLDS_NO_KEY + hint)
    if name == "variant":
        return Finding(
            name, "the number of a repetition is called this; choose another name", suggestion="variants"
        )
    if re.search(r"[{}\x00-\x1f\x7f\ud800-\udfff]", name) or len(name) > 200:
        return Finding(
            name[:80], "a name has no braces and no control characters, and at most 200 characters"
        )
    meant = None if name in declared else slip_of(name)
    if meant is None:
        return None
    message = "looks like a misspelt field; if it is meant, list it under `variables` (tables: `--variables`)"
    return Finding(name, message, suggestion=meant)


@lru_cache(maxsize=4096)
def slip_of(name: str) -> str | None:
    """The name with a meaning that this one misses by one slip, if there is one."""
    folded = _folded(name)
    if folded in _MEANS_IMAGES:
        return "images"
    for field in ROW_NAMES:
        target = _folded(field)
        if folded == target or (len(target) > 3 and one_slip(folded, target)):
            return field
        if len(target) > 3 and one_slip(name, field):
            return field
    return None


def _folded(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", name).casefold().removesuffix("s")


def one_slip(first: str, second: str) -> bool:
    """Whether one insertion, deletion, substitution or transposition makes them equal."""
    if abs(len(first) - len(second)) > 1:
        return False
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    one, two = first[start:], second[start:]
    return (
        one[1:] == two[1:]
        or one[1:] == two
        or one == two[1:]
        or (one[:2] == two[1::-1] and one[2:] == two[2:])
    )
