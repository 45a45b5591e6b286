"""Entries of a person's file, or of catalog.yaml, become rules; whatever is wrong with them is all listed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, replace
from datetime import date
from typing import Any

from nanobanana_batch.catalog.own import OwnReader
from nanobanana_batch.catalog.pairs import Pairs
from nanobanana_batch.catalog.rules import ANY_RESOLUTION, ModelRules
from nanobanana_batch.wording import said, shown

_COMMON_KEYS = ("title", "aliases", "older_names", "maker", "retired_on")
"""What holds for a model in every dialect."""
_RULE_KEYS = tuple(
    field.name
    for field in fields(ModelRules)
    if field.name not in ("name", "dialect", "credits", "credits_as_of", "source", *_COMMON_KEYS)
)


class Reader(Pairs):
    """Reads entries of a person's file; whatever is wrong is noted by its path and left out."""

    def model(
        self, path: str, name: str, entry: object, known: Collection[ModelRules]
    ) -> Iterator[ModelRules]:
        """The rules of one entry, on top of what is known of the model."""
        body = dict(self.pairs(path, entry, (*_COMMON_KEYS, "dialects")))
        common = {key: self.value(f"{path}.{key}", key, body[key]) for key in body if key != "dialects"}
        common = {key: value for key, value in common.items() if value is not None}
        dialects = dict(self.pairs(f"{path}.dialects", body["dialects"])) if "dialects" in body else {}
        before = {rules.dialect: rules for rules in known}
        if not dialects and not before:
            self.found(path, "says nothing about any dialect; give it `dialects: {...}`")
        like = next(iter(known), ModelRules(name, ""))
        for dialect in dict.fromkeys([*before, *dialects]):
            old = before.get(dialect) or _namesake(like, dialect)
            at = f"{path}.dialects.{dialect}"
            yield self._rules(at, replace(old, **common), dialects.get(dialect, {}))

    def _rules(self, path: str, old: ModelRules, entry: object) -> ModelRules:
        pairs = dict(self.pairs(path, entry, _RULE_KEYS))
        own = OwnReader(self)
        fields_ = own.fields(f"{path}.fields", pairs.pop("fields", {}))
        extra = own.extra(f"{path}.extra", pairs.pop("extra", {}))
        values = {key: self.value(f"{path}.{key}", key, value) for key, value in pairs.items()}
        given = {key: value for key, value in values.items() if value is not None}
        kept = {name: known for name, known in {**old.extra, **extra}.items() if known is not None}
        rules = replace(old, fields={**old.fields, **fields_}, extra=kept, **given)
        own.compare(f"{path}.fields", rules, fields_)
        return rules

    def value(self, path: str, key: str, value: object) -> Any:
        """In the type that the field of this name has, or None when it is wrong."""
        if key in ("web_search", "image_search"):
            if value in ("true", "false"):
                return value == "true"
            self.found(path, f"{said(value)} is neither true nor false")
        elif key.startswith("max_"):
            if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
                return int(value)
            self.found(path, f"{said(value)} is not a whole number")
        elif key == "retired_on":
            if isinstance(value, str) and _is_day(value):
                return value
            self.found(path, f"{said(value)} is not a day, such as 2026-06-25")
        elif key in ("title", "maker") or key.startswith("default_"):
            if isinstance(value, str):
                return value
            self.found(path, f"{said(value)} is not a text")
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        else:
            self.found(path, f"{said(value)} is not a list of texts, such as [1K, 2K]")
        return None

    def credits(self, path: str, entry: object, resolutions: tuple[str, ...]) -> dict[str, float]:
        """The credits of one request by resolution; one number alone is that of all of them.

        What is wrong is noted as found at `path`, the place in the catalogue, and left out."""
        given = [(path, ANY_RESOLUTION, entry)]
        if isinstance(entry, Mapping):
            pairs = self.pairs(path, entry, (*resolutions, ANY_RESOLUTION))
            given = [(f"{path}.{name}", name, value) for name, value in pairs]
        credits = {}
        for place, name, value in given:
            if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
                credits[name] = float(value)
            else:
                self.found(place, f"{said(value)} is not a number of credits, such as 2 or 2.5")
        return credits

    def check_names(self, rules: Collection[ModelRules]) -> None:
        """A name means one model."""
        owners: dict[str, str] = {entry.name: entry.name for entry in rules}
        for entry in rules:
            for key, names in (("aliases", entry.aliases), ("older_names", entry.older_names)):
                for name in names:
                    owner = owners.setdefault(name, entry.name)
                    if owner != entry.name:
                        self.found(f"models.{entry.name}.{key}", f"{shown(name)} already means {owner}")


def _namesake(like: ModelRules, dialect: str) -> ModelRules:
    """A model in another dialect: nothing but its names is known there."""
    return ModelRules(
        like.name, dialect, like.title, like.aliases, like.older_names, like.maker, like.retired_on
    )


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
