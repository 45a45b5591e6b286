"""What an entry says of one model alone: how it calls our fields, and which settings it has beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nanobanana_batch.catalog.extras import KINDS, Extra, Wire, kind_of, shown_value, typed
from nanobanana_batch.catalog.pairs import Pairs
from nanobanana_batch.catalog.rules import ModelRules
from nanobanana_batch.model import REQUEST_FIELDS, ExtraValue
from nanobanana_batch.wording import closest, said, shown

_WIRE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
_WIRE = "a name, dots nest: model_params.seed"
_FIELD = (_WIRE, "{field: name, values: {ours: theirs}}", "null: not offered")
_EXTRA = (*KINDS, "a list of values", "{type, allowed, min, max, field, default, images, priced}", "null")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_TAKEN = (*REQUEST_FIELDS, "id", "variants", "variant", "image", "parent_id")
"""Names that mean something else in manifests."""
_NULLS = (None, "null")
"""The second is how the base loader of catalog.yaml reads the first."""
_COUNTS = {"integer": "a whole number", "number": "a number"}


class OwnReader:
    """Reads `fields` and `extra` of one entry; what is wrong is noted, and left out."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._found = pairs.found

    def fields(self, path: str, entry: object) -> dict[str, Wire | None]:
        """Our fields that the model writes otherwise; None: it does not offer them."""
        read: dict[str, Wire | None] = {}
        for name, value in self._pairs.pairs(path, entry, REQUEST_FIELDS):
            at = f"{path}.{name}"
            if value not in _NULLS:
                wire = (
                    self._table(at, name, value) if isinstance(value, Mapping) else self._renamed(at, value)
                )
                read.update({name: wire} if wire else {})
            elif name in ("model", "prompt"):
                self._found(at, "cannot be left out")
            else:
                read[name] = None
        return read

    def extra(self, path: str, entry: object) -> dict[str, Extra | None]:
        """Settings beside our fields; None: it does not have this one, whatever was said before."""
        read: dict[str, Extra | None] = {}
        for name, value in self._pairs.pairs(path, entry):
            at = f"{path}.{name}"
            if name in _TAKEN or not _NAME.fullmatch(name):
                why = "means something else in manifests" if name in _TAKEN else "cannot be a name"
                self._found(at, f"{why}; choose another, and say what the model calls it by `field:`")
            elif value in _NULLS:
                read[name] = None
            else:
                extra = _ExtraReader(self._pairs, at, name).read(value)
                read.update({name: extra} if extra else {})
        return read

    def compare(self, path: str, rules: ModelRules, fields: Mapping[str, Wire | None]) -> None:
        """A table says of each value that the model allows what is sent for it, and of no other."""
        for name, wire in fields.items():
            if wire is None or wire.values is None:
                continue
            at, allowed = f"{path}.{name}.values", rules.values_of(name) or ()
            for value in wire.values:
                if value not in allowed:
                    self._found(f"{at}.{value}", _not_a_value(value, name, rules), allowed)
            missing = [value for value in allowed if value not in wire.values]
            if missing:
                self._found(at, f"says nothing of {', '.join(missing)}")

    def _renamed(self, at: str, value: object) -> Wire | None:
        return Wire((str(value),)) if self._is_wire(at, value, _FIELD) else None

    def _is_wire(self, at: str, value: object, allowed: tuple[str, ...] = (_WIRE,)) -> bool:
        if isinstance(value, str) and _WIRE_NAME.fullmatch(value):
            return True
        self._found(at, f"{said(value)} is not allowed", allowed)
        return False

    def _table(self, at: str, name: str, entry: Mapping[str, Any]) -> Wire | None:
        parts = dict(self._pairs.pairs(at, entry, ("field", "values", "type")))
        field = parts.get("field")
        if field is not None and not self._is_wire(f"{at}.field", field):
            return None
        if "values" not in parts:
            return self._renamed(f"{at}.field", field)
        if name in ("model", "prompt", "images"):
            self._found(f"{at}.values", f"{name} has no values that could be listed; it can only be renamed")
            return None
        texts = {
            value: self._texts(f"{at}.values.{value}", field, written)
            for value, written in self._pairs.pairs(f"{at}.values", parts["values"])
        }
        return self._typed(at, texts, parts.get("type"))

    def _texts(self, at: str, field: str | None, written: object) -> dict[str, str]:
        """What is sent for one value, by name on the wire."""
        if written is None:
            return {}
        if isinstance(written, str):
            if field is None:
                self._found(at, "under which name? Give `field:` beside `values`, or `{name: value}` here")
            return {field or "": written}
        found = {}
        for wire, text in self._pairs.pairs(at, written):
            if self._is_wire(f"{at}.{wire}", wire) and self._is_text(f"{at}.{wire}", text):
                found[wire] = text
        return found

    def _is_text(self, at: str, value: object) -> bool:
        if not isinstance(value, str):
            self._found(at, f"{said(value)} is not a text; names with a dot nest")
        return isinstance(value, str)

    def _typed(self, at: str, texts: dict[str, dict[str, str]], kind: object) -> Wire | None:
        if kind is not None and kind not in KINDS:
            self._found(f"{at}.type", f"{said(kind)} is not allowed", KINDS)
            return None
        names = tuple(dict.fromkeys(name for written in texts.values() for name in written))
        kinds = {
            name: str(kind) if kind else kind_of([each[name] for each in texts.values() if name in each])
            for name in names
        }
        values: dict[str, dict[str, ExtraValue]] = {}
        for value, written in texts.items():
            values[value] = {}
            for name, text in written.items():
                one = typed(kinds[name], text)
                if one is None:
                    self._found(f"{at}.values.{value}", f"{shown(text)} is not {KINDS[kinds[name]]}")
                else:
                    values[value][name] = one
        return Wire(names, values)


def _not_a_value(value: str, name: str, rules: ModelRules) -> str:
    if rules.offers(name):
        return f"{shown(value)} is no {name} of {rules.name}"
    return f"{rules.name} offers no {name} yet: list what it allows, too (`{_LISTED_BY[name]}`)"


_LISTED_BY = {
    "aspect_ratio": "aspect_ratios",
    "resolution": "resolutions",
    "output_format": "output_formats",
    "thinking_level": "thinking_levels",
    "web_search": "web_search: true",
    "image_search": "image_search: true",
}


class _ExtraReader:
    """Reads one setting."""

    def __init__(self, pairs: Pairs, at: str, name: str) -> None:
        self._pairs = pairs
        self._at = at
        self._name = name
        self._is_sound = True

    def read(self, entry: object) -> Extra | None:
        """None when it is wrong."""
        parts = self._parts(entry)
        allowed = self._listed(parts.get("allowed"))
        kind = self._kind(parts, allowed)
        if not self._is_sound:
            return None
        low, high = self._bound(parts, "min", kind), self._bound(parts, "max", kind)
        if low is not None and high is not None and low > high:
            self._wrong("max", f"is below min, {shown_value(low)}")
        extra = Extra(
            self._name,
            self._field(parts.get("field")),
            kind,
            self._values(kind, allowed),
            low,
            high,
            images=self._truth(parts, "images") or False,
            priced=self._truth(parts, "priced"),
        )
        if extra.images and kind != "integer":
            self._wrong("images", "only a whole number can say how many images a task makes")
        return self._with_default(extra, parts.get("default")) if self._is_sound else None

    def _wrong(self, key: str, message: str, allowed: tuple[str, ...] = (), suggestion: str = "") -> None:
        self._is_sound = False
        path = f"{self._at}.{key}" if key else self._at
        self._pairs.found(path, message, allowed, suggestion)

    def _parts(self, entry: object) -> dict[str, Any]:
        """All its forms as the long one."""
        if isinstance(entry, str) and entry in KINDS:
            return {"type": entry}
        if isinstance(entry, list):
            return {"allowed": entry}
        if isinstance(entry, Mapping):
            keys = ("type", "allowed", "min", "max", "field", "default", "images", "priced")
            return dict(self._pairs.pairs(self._at, entry, keys))
        self._wrong("", f"{said(entry)} is not allowed", _EXTRA, closest(str(entry), KINDS))
        return {}

    def _listed(self, given: object) -> list[str]:
        if given is None:
            return []
        if isinstance(given, list) and given and all(isinstance(item, str) for item in given):
            return given
        self._wrong("allowed", f"{said(given)} is not a list of values, such as [low, high]")
        return []

    def _kind(self, parts: Mapping[str, Any], allowed: list[str]) -> str:
        kind = parts.get("type")
        if isinstance(kind, str) and kind in KINDS:
            return kind
        if kind is not None:
            self._wrong("type", f"{said(kind)} is not allowed", tuple(KINDS), closest(str(kind), KINDS))
        elif not allowed and self._is_sound:
            self._wrong("", "says not what it may be; give its `type`, or its values", _EXTRA)
        return kind_of(allowed) if allowed else "text"

    def _values(self, kind: str, allowed: list[str]) -> tuple[ExtraValue, ...]:
        values = []
        for text in allowed:
            value = typed(kind, text)
            if value is None:
                self._wrong("allowed", f"{shown(text)} is not {KINDS[kind]}")
            elif value in values:
                self._wrong("allowed", f"{shown(text)} stands there twice")
            else:
                values.append(value)
        return tuple(values)

    def _bound(self, parts: Mapping[str, Any], key: str, kind: str) -> float | None:
        if parts.get(key) is None:
            return None
        if kind not in _COUNTS:
            self._wrong(key, "goes with `type: integer` or `type: number` only")
            return None
        value = typed(kind, str(parts[key]))
        if value is None:
            self._wrong(key, f"{said(parts[key])} is not {_COUNTS[kind]}")
        return value if isinstance(value, int | float) else None

    def _field(self, given: object) -> str:
        if given is None:
            return self._name
        if not isinstance(given, str) or not _WIRE_NAME.fullmatch(given):
            self._wrong("field", f"{said(given)} is not allowed", (_WIRE,))
        return str(given)

    def _truth(self, parts: Mapping[str, Any], key: str) -> bool | None:
        if parts.get(key) in (None, "true", "false"):
            return None if parts.get(key) is None else parts[key] == "true"
        self._wrong(key, f"{said(parts[key])} is neither true nor false")
        return None

    def _with_default(self, extra: Extra, given: object) -> Extra | None:
        if given is None:
            return extra
        value = extra.read(given) if isinstance(given, str) else None
        if value is None:
            self._wrong("default", f"{said(given)} is not allowed", (extra.said,))
            return None
        return replace(extra, default=value)
