"""A model's settings beside our fields: the variables of a row that it takes become part of its request.

They stay variables as well, for templates and results. What a model does not take is a variable and nothing
else, which is said once for each model, since whoever writes `seed` believes that it is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nanobanana_batch.catalog import Catalog, Extra, Finding, ModelRules, read_extra
from nanobanana_batch.manifest.names import as_name
from nanobanana_batch.manifest.template import Value, as_text
from nanobanana_batch.model import ExtraValue
from nanobanana_batch.wording import shown

_IN_BRACES = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Own:
    """What a row asks of its model beside our fields."""

    extra: tuple[tuple[str, ExtraValue], ...] = ()
    priced_by: str = ""
    """As in `Request`."""
    findings: tuple[Finding, ...] = ()


_NOTHING = Own()


class OwnSettings:
    """Reads them for one manifest; `words` are variables of which it is known that they are only that."""

    def __init__(self, catalog: Catalog, dialect: str, words: Collection[str], warnings: list[str]) -> None:
        models = catalog.models(dialect)
        self._takers = {
            name: [entry.name for entry in models if name in entry.extra]
            for name in sorted(catalog.extra_names(dialect))
        }
        self._words = frozenset(words)
        self._warnings = warnings
        self._warned: set[tuple[str, str]] = set()

    def read(self, values: Mapping[str, Value], model: str, rules: ModelRules | None) -> Own:
        """What these values ask of this model, and what is wrong with it; an empty text asks for nothing."""
        given = [name for name in self._takers if name in values]
        if not given:
            return _NOTHING
        texts = {name: as_text(values[name]).strip() for name in given}
        extras = rules.extra if rules else {}
        found: dict[str, ExtraValue] = {}
        findings = []
        for name, text in texts.items():
            if text and name in extras:
                self._warn_of_literal(name, text, values)
                value = read_extra(extras[name], text, rules) if rules else text
                if isinstance(value, Finding):
                    findings.append(value)
                else:
                    found[name] = value
            elif text:
                self._warn_of_no_taker(name, model)
        return Own(tuple(found.items()), _priced_by(found, extras), tuple(findings))

    def _warn_of_no_taker(self, name: str, model: str) -> None:
        if name not in self._words and model:
            takers = self._takers[name]
            others = f"{takers[0]} takes it" if len(takers) == 1 else f"{', '.join(takers)} take it"
            self._warn(name, model, f"is not sent for {model}, which has no such setting ({others})")

    def _warn_of_literal(self, name: str, text: str, values: Mapping[str, Value]) -> None:
        if "{" not in text:
            return
        slots = (as_name(inner).partition(":")[0].strip() for inner in _IN_BRACES.findall(text))
        slot = next((slot for slot in slots if slot in values), None)
        if slot is not None:
            said = f"{shown('{' + slot + '}')} is sent as it stands"
            self._warn(name, slot, f"{said}; templates are `prompt`, `images` and `id`")

    def _warn(self, name: str, about: str, message: str) -> None:
        if (name, about) not in self._warned:
            self._warned.add((name, about))
            self._warnings.append(f"{name}: {message}")


def _priced_by(found: Mapping[str, ExtraValue], extras: Mapping[str, Extra]) -> str:
    priced = {
        name: extras[name].priced_as(value) for name, value in found.items() if extras[name].decides_price
    }
    return json.dumps(priced, sort_keys=True) if priced else ""
