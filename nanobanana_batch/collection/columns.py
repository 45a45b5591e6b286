"""One name for each thing that is known of a picture: those of results.csv, of ratings and of checks.

`--where`, exports and the gallery use these names, so that what is seen in one
place can be asked for in another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.collection.judgements import Judgement

Cell = str | int | float | None
Getter = Callable[[Entry, Picture | None], Cell]
"""What finds one thing of a row and a picture of it, or of a row alone: None where it is not known."""

_OF_ROW: Mapping[str, Getter] = {
    "id": lambda row, _: row.id,
    "status": lambda row, _: str(row.status),
    "folder": lambda row, _: row.folder_name,
    "prompt": lambda row, _: row.request.prompt,
    "model": lambda row, _: row.request.model,
    "aspect_ratio": lambda row, _: row.request.aspect_ratio,
    "resolution": lambda row, _: row.request.resolution,
    "images": lambda row, _: "|".join(row.request.images) or None,
    "output_format": lambda row, _: row.request.output_format,
    "web_search": lambda row, _: _truth(row.request.web_search),
    "image_search": lambda row, _: _truth(row.request.image_search),
    "thinking_level": lambda row, _: row.request.thinking_level,
    "variant": lambda row, _: row.variant,
    "credits": lambda row, _: row.credits,
    "task_id": lambda row, _: row.task_id,
    "duplicate_of": lambda row, _: row.duplicate_of,
    "note": lambda row, _: row.note or None,
    "error_code": lambda row, _: row.error_code,
    "error_message": lambda row, _: row.error_message,
    "provider": lambda row, _: row.provider,
    "attempts": lambda row, _: row.attempts,
    "row_key": lambda row, _: row.row_key,
}
_OF_PICTURE: Mapping[str, Getter] = {
    "image": lambda _, one: one.path if one else None,
    "image_number": lambda _, one: one.number if one else None,
    "width": lambda _, one: one.width if one else None,
    "height": lambda _, one: one.height if one else None,
    "size_bytes": lambda _, one: one.size_bytes if one else None,
    "sha256": lambda _, one: one.sha256 if one else None,
    "media_type": lambda _, one: one.media_type if one else None,
    "rating": lambda _, one: one.judgement.rating if one and one.judgement else None,
    "verdict": lambda _, one: _verdict(one.judgement) if one and one.judgement else None,
    "rating_note": lambda _, one: (one.judgement.note or None) if one and one.judgement else None,
}
FIXED = (*_OF_ROW, *_OF_PICTURE)
"""Names that mean the same in every folder; a variable of such a name is `var_<name>`."""
OF_VARIABLE = "var_"
OF_CHECK = "check_"
_REMEMBERED = 1024
"""Names."""


def column_of(variable: str) -> str:
    """What a manifest's variable is called among these names; no two are called the same."""
    return f"{OF_VARIABLE}{variable}" if _has_another_meaning(variable) else variable


@lru_cache(_REMEMBERED)
def getter(name: str) -> Getter:
    """What finds what is known under a name; where there is no such name, nothing is.

    A name is understood once, and not for each of a million rows.
    """
    known = _OF_ROW.get(name) or _OF_PICTURE.get(name)
    if known is not None:
        return known
    if name.startswith(OF_CHECK):
        check = name.removeprefix(OF_CHECK)
        return lambda _, picture: None if picture is None else picture.measures.get(check) or None
    variable = name.removeprefix(OF_VARIABLE) if _has_another_meaning(name) else name
    return lambda row, _: row.variables.get(variable)


def _has_another_meaning(name: str) -> bool:
    """Whether no variable is called so: it is a name of ours, or what a variable of that name is called."""
    while name.startswith(OF_VARIABLE):
        name = name.removeprefix(OF_VARIABLE)
    return name in FIXED or name.startswith(OF_CHECK)


def _verdict(judgement: Judgement) -> str | None:
    return judgement.verdict and judgement.verdict.value


def _truth(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
