"""Models as a profile writes them: what it has no name for is not offered, and no name means two things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from nanobanana_batch.catalog.extras import Wire
from nanobanana_batch.catalog.findings import Finding
from nanobanana_batch.catalog.rules import ModelRules
from nanobanana_batch.model import REQUEST_FIELDS, Request
from nanobanana_batch.wording import shown

Wires = Mapping[str, Wire | None]
"""Our fields, and how each is written; None: it is not offered."""

_NOTHING: dict[str, dict[str, Any]] = {
    "aspect_ratio": {"aspect_ratios": ()},
    "resolution": {"resolutions": ()},
    "images": {"max_images": 0},
    "output_format": {"output_formats": ()},
    "web_search": {"web_search": False},
    "image_search": {"image_search": False},
    "thinking_level": {"thinking_levels": ()},
}


def wires_of(fields: Mapping[str, str | None]) -> Wires:
    """A profile's names for our fields; what it does not name is called as here."""
    names = {name: fields.get(name, name) for name in REQUEST_FIELDS}
    return {name: None if wire is None else Wire((wire,)) for name, wire in names.items()}


def without_unnamed(rules: ModelRules, common: Wires) -> ModelRules:
    """What a model offers of what can be written."""
    wires = {**common, **rules.fields}
    taken: dict[str, Any] = {}
    for name, nothing in _NOTHING.items():
        taken.update(nothing if wires[name] is None else {})
    return replace(rules, **taken)


def unwritable(request: Request, common: Wires) -> Iterator[Finding]:
    """What a request of a model that nobody knows gives, and the profile has no name for."""
    for name in request.given():
        if name in common and common[name] is None:
            yield Finding(name, "not offered by this provider's profile; leave it out", rests_on="model")


def collisions(rules: ModelRules, common: Wires, callback_field: str | None) -> Iterator[Finding]:
    """Names of one model that stand for two things: one of them would be sent, and both be paid for."""
    if not rules.fields and not rules.extra:
        return
    names = list(_names(rules, common, callback_field))
    for (other, earlier), (path, wire) in combinations(names, 2):
        if not _overlap(wire, earlier):
            continue
        if _is_own(path):
            yield Finding(path, f"{shown(wire)} collides with {other} ({shown(earlier)})")
        elif _is_own(other):
            yield Finding(other, f"{shown(earlier)} collides with {path} ({shown(wire)})")


def _names(rules: ModelRules, common: Wires, callback_field: str | None) -> Iterator[tuple[str, str]]:
    """Everything that a request of the model may set, with where that is said."""
    own = f"models.{rules.name}.dialects.{rules.dialect}"
    for name, wire in {**common, **rules.fields}.items():
        if wire is not None and rules.offers(name):
            path = f"{own}.fields.{name}" if name in rules.fields else f"fields.{name}"
            yield from ((path, each) for each in wire.names)
    if callback_field is not None:
        yield "callback_field", callback_field
    for name, extra in rules.extra.items():
        yield f"{own}.extra.{name}", extra.field


def _is_own(path: str) -> bool:
    return path.startswith("models.")


def _overlap(wire: str, other: str) -> bool:
    return f"{wire}.".startswith(f"{other}.") or f"{other}.".startswith(f"{wire}.")
