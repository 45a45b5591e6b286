"""One name for each thing that is known of a picture: those of results.csv, of ratings and of checks.

`--where`, exports and the gallery use these names, so that what is seen in one
place can be asked for in another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nanobanana_batch.collection.entries import Entry, Picture

Cell = str | int | float | None

_OF_ROW: Mapping[str, Callable[[Entry], Cell]] = {
    "id": lambda row: row.id,
    "status": lambda row: row.status.value,
    "folder": lambda row: row.folder_name,
    "prompt": lambda row: row.request.prompt,
    "model": lambda row: row.request.model,
    "aspect_ratio": lambda row: row.request.aspect_ratio,
    "resolution": lambda row: row.request.resolution,
    "images": lambda row: "|".join(row.request.images) or None,
    "output_format": lambda row: row.request.output_format,
    "web_search": lambda row: _truth(row.request.web_search),
    "image_search": lambda row: _truth(row.request.image_search),
    "thinking_level": lambda row: row.request.thinking_level,
    "variant": lambda row: row.variant,
    "credits": lambda row: row.credits,
    "task_id": lambda row: row.task_id,
    "duplicate_of": lambda row: row.duplicate_of,
    "note": lambda row: row.note or None,
    "error_code": lambda row: row.error_code,
    "error_message": lambda row: row.error_message,
    "provider": lambda row: row.provider,
    "attempts": lambda row: row.attempts,
    "row_key": lambda row: row.row_key,
}
_OF_PICTURE: Mapping[str, Callable[[Picture], Cell]] = {
    "image": lambda one: one.path,
    "image_number": lambda one: one.number,
    "width": lambda one: one.width,
    "height": lambda one: one.height,
    "size_bytes": lambda one: one.size_bytes,
    "sha256": lambda one: one.sha256,
    "media_type": lambda one: one.media_type,
    "rating": lambda one: one.judgement.rating if one.judgement else None,
    "verdict": lambda one: one.judgement.verdict.value if one.judgement and one.judgement.verdict else None,
    "rating_note": lambda one: (one.judgement.note or None) if one.judgement else None,
}
FIXED = (*_OF_ROW, *_OF_PICTURE)
"""Names that mean the same in every folder; a variable of such a name is `var_<name>`."""
OF_VARIABLE = "var_"
OF_CHECK = "check_"


def column_of(variable: str) -> str:
    """What a manifest's variable is called among these names; no two are called the same."""
    return f"{OF_VARIABLE}{variable}" if _has_another_meaning(variable) else variable


def cell(entry: Entry, picture: Picture | None, name: str) -> Cell:
    """What is known under a name; None: nothing, or there is no such name.

    `picture`: the one that is asked about; without it what only pictures have is not known.
    """
    if name in _OF_ROW:
        return _OF_ROW[name](entry)
    if name in _OF_PICTURE:
        return None if picture is None else _OF_PICTURE[name](picture)
    if name.startswith(OF_CHECK):
        return None if picture is None else picture.measures.get(name.removeprefix(OF_CHECK)) or None
    return entry.variables.get(name.removeprefix(OF_VARIABLE) if _has_another_meaning(name) else name)


def _has_another_meaning(name: str) -> bool:
    """Whether no variable is called so: it is a name of ours, or what a variable of that name is called."""
    while name.startswith(OF_VARIABLE):
        name = name.removeprefix(OF_VARIABLE)
    return name in FIXED or name.startswith(OF_CHECK)


def _truth(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
