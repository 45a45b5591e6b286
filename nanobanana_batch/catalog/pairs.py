"""Mappings of a person's file, key by key; whatever is wrong is noted by its path, and the rest goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nanobanana_batch.catalog.findings import Finding
from nanobanana_batch.wording import closest


class Pairs:
    """Reads mappings and collects what is wrong with them."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def found(self, path: str, message: str, allowed: Iterable[str] = (), suggestion: str = "") -> None:
        """Note what is wrong with the value at a path."""
        self.findings.append(Finding(path, message, tuple(allowed), suggestion))

    def pairs(self, path: str, value: object, allowed: Iterable[str] | None = None) -> list[tuple[str, Any]]:
        """The entries of a mapping that have a known key; by default every key is."""
        if not isinstance(value, Mapping):
            self.found(path, "has to be `key: value` pairs")
            return []
        known = tuple(value if allowed is None else allowed)
        for key in value:
            if key not in known:
                self.found(f"{path}.{key}", "unknown key", sorted(known), closest(str(key), known))
        return [(str(key), value[key]) for key in value if key in known]
