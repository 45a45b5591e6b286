"""A misspelt field never silently becomes a variable, and no manifest holds a key.

Everything in a row that is no request field is a variable; so a name that is one slip away from a
field has to be refused unless the person says that it is meant.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Collection
from functools import lru_cache

from nanobanana_batch.catalog import Finding
from nanobanana_batch.model import REQUEST_FIELDS

ROW_NAMES = (*REQUEST_FIELDS, "id", "variants")
"""All names with a meaning in a row."""
FIELD_SET = frozenset(REQUEST_FIELDS)
_KEEP = "keep it by `variables: [{name}]`"
IN_A_TABLE = (
    "rename the column, take it by `--columns {field}={name}`,"
    " or keep it as a variable by `--variables {name}`"
)
IN_A_MAPPED_TABLE = (
    "map it by `columns: {{field}: {name}}`, or keep it as a variable by `variables: [{name}]`"
)
HOLDS_NO_KEY = "a manifest holds no key or token; it comes from the environment"
_PERHAPS_SECRETS = frozenset({"key", "token"})
SECRET_NAMES = re.compile(
    r"(x|evolink|nanobanana|secret|private|access)?(api)?key|authorization|bearer(token)?|credential"
    r"|passw(or)?d|(client)?secret|((access|auth|secret|api)?token)"
)
_SETTINGS_ELSEWHERE = {
    "aspect_ratio": ("size", "imagesize", "ratio", "aspect"),
    "resolution": ("quality", "imagequality", "res"),
    "output_format": ("format", "imageformat"),
    "thinking_level": ("thinking",),
    "web_search": ("googlesearch",),
    "variants": ("n", "numimages", "count", "variation", "variations", "repeat", "repeats", "repetitions"),
    "": ("negativeprompt", "seed", "step", "steps", "guidance", "guidancescale", "cfg", "cfgscale"),
}
"""Settings as other tools, and providers on the wire, call them; under "" those of few models."""
NO_SETTING = "no model known here has such a setting (a profile may say that one has)"
_FIELD_ELSEWHERE = {word: field for field, words in _SETTINGS_ELSEWHERE.items() for word in words}
_MEANS_IMAGES = frozenset(
    {"imageurl", "imageurls", "imagesurl", "imagesurls", "referenceimage", "inputimage"}
)
BLOCK_KEYS = (
    "defaults",
    "prompt",
    "images",
    "variants",
    "variables",
    "rows",
    "table",
    "sheet",
    "images_from",
    "from",
    "columns",
    "where",
    "skip",
    "zip",
    "matrix",
    "styles",
    "exclude",
    "include",
    "sample",
    "id",
)
SETTINGS = (
    "model",
    "aspect_ratio",
    "resolution",
    "output_format",
    "web_search",
    "image_search",
    "thinking_level",
)
"""The fields of which each model allows few values; they decide what a request costs."""


def as_name(text: str) -> str:
    """A name as names are compared: some systems write `ö` as two characters, and people mean one name."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_secret(name: str) -> bool:
    """Whether a thing of this name is likely to be a key."""
    return bool(SECRET_NAMES.fullmatch(_folded(name)))


def name_fault(name: str, declared: Collection[str], if_meant: str = "") -> Finding | None:
    """Why this may not be the name of a variable; `None` for a good name and for the fields themselves.

    `if_meant` says what to do with a name that looks like a misspelt field, `{name}` and `{field}` in it.
    """
    if name in ROW_NAMES:
        return None
    if not name.strip():
        return Finding("", "an empty name")
    perhaps = _folded(name) in _PERHAPS_SECRETS
    if is_secret(name) and not (perhaps and name in declared):
        hint = "; if it is only a word, " + _keeping(name, "word", if_meant or _KEEP) if perhaps else ""
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
    hint = _keeping(name, meant, if_meant or f"if it is meant, {_KEEP}")
    return Finding(name, f"looks like a misspelt field; {hint}", suggestion=meant)


def _keeping(name: str, field: str, way: str) -> str:
    return way.replace("{name}", shlex.quote(name)).replace("{field}", field)


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


def field_written_otherwise(name: str) -> str | None:
    """The name with a meaning of which this has the letters, in another case or with other gaps."""
    return _BY_LETTERS.get(_joined(name))


def perhaps_meant(name: str) -> str:
    """What a column of this name is elsewhere, and a variable of a table here: `images`, or `key`."""
    folded = _folded(name)
    if folded in ("image", "inputimage"):
        return "images"
    return "key" if folded in _PERHAPS_SECRETS else ""


def offers_prompts(name: str) -> bool:
    """Whether a column of this name is likely to hold prompts."""
    letters = _joined(name)
    return letters.isalnum() and bool(_LIKELY_PROMPTS.search(letters))


def field_elsewhere(name: str) -> str | None:
    """The field that this name stands for elsewhere, "" for none of ours; `None` for other names."""
    return _FIELD_ELSEWHERE.get(_joined(name))


def not_sent(name: str, extras: Collection[str] = ()) -> str:
    """What to say of a variable that is likely to be taken for a setting; nothing of any other name.

    `extras` are settings that some models have: a variable of that name is one, where its row's model has it.
    """
    if name in extras:
        return ""
    meant = next((extra for extra in sorted(extras) if _is_meant(name, extra)), "")
    field = field_elsewhere(name)
    if field is None and not meant:
        return ""
    why = f"; a setting is called `{meant}`" if meant else f"; the field is `{field}`" if field else ""
    return f"is a variable here and is not sent{why or f': {NO_SETTING}'}"


def _is_meant(name: str, extra: str) -> bool:
    said, target = _folded(name), _folded(extra)
    return said == target or (len(target) > 4 and one_slip(said, target))


def _folded(name: str) -> str:
    return _joined(name).removesuffix("s")


def _joined(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", name).casefold()


_BY_LETTERS = {_joined(name): name for name in ROW_NAMES}
_LIKELY_PROMPTS = re.compile("prompt|caption|instruction|description|sentence|^texts?(en|eng|english)?$")


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
