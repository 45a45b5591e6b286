"""No value that the chosen model does not allow is ever sent: what is allowed is data, in catalog.yaml.

The catalogue ages, so a profile may add to it or override it (`Catalog.merged`), and a model that it
does not know can still be let through by the caller, with the checks that hold for every model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources

import yaml

from nanobanana_batch.catalog.checks import check_images, check_prompt, check_values
from nanobanana_batch.catalog.entries import Reader
from nanobanana_batch.catalog.extras import Wire
from nanobanana_batch.catalog.findings import Finding
from nanobanana_batch.catalog.rules import ANY_RESOLUTION, BUILT_IN, ModelRules
from nanobanana_batch.catalog.spoken import Wires, collisions, unwritable, wires_of, without_unnamed
from nanobanana_batch.model import Request
from nanobanana_batch.wording import closest, shown


class Catalog:
    """All models of all dialects; immutable."""

    def __init__(
        self,
        rules: Iterable[ModelRules],
        same_resolution: Mapping[str, str] | None = None,
        wires: Wires | None = None,
    ) -> None:
        self._rules = {(entry.dialect, entry.name): entry for entry in rules}
        self._same_resolution = dict(same_resolution or {})
        self._wires: Wires = wires_of({}) if wires is None else wires
        self._aliases = {alias: entry.name for entry in self._rules.values() for alias in entry.aliases}
        self._older = {name: entry.name for entry in self._rules.values() for name in entry.older_names}

    @property
    def dialects(self) -> tuple[str, ...]:
        """The dialects that have at least one model."""
        return tuple(dict.fromkeys(dialect for dialect, _ in self._rules))

    def models(self, dialect: str) -> tuple[ModelRules, ...]:
        """The models offered in this dialect, in the order of the catalogue."""
        return tuple(entry for entry in self._rules.values() if entry.dialect == dialect)

    def canonical(self, model: str) -> str:
        """The model's own name for one of its aliases; any other name unchanged."""
        return self._aliases.get(model, model)

    def rules(self, model: str, dialect: str) -> ModelRules | None:
        """What the model of this name allows in this dialect; `None` when it is not offered there."""
        return self._rules.get((dialect, self._meant(model)))

    def _meant(self, model: str) -> str:
        """The model that any of its names means."""
        return self._older.get(model) or self.canonical(model)

    def extra_names(self, dialect: str) -> frozenset[str]:
        """The settings that some model of this dialect has beside our fields, by their names in manifests."""
        return frozenset(name for entry in self.models(dialect) for name in entry.extra)

    def wire(self, model: str, dialect: str, field: str) -> Wire | None:
        """How one of our fields is written for this model; None where it is not offered."""
        rules = self.rules(model, dialect)
        own = rules.fields if rules else {}
        return own[field] if field in own else self._wires[field]

    def normalised(self, request: Request, dialect: str) -> Request:
        """The same request with aliases and values that mean the same replaced by one spelling."""
        model = self.canonical(request.model)
        rules = self.rules(model, dialect)
        resolution = request.resolution
        same = self._same_resolution.get(resolution or "")
        if rules and same and resolution in rules.resolutions and same in rules.resolutions:
            resolution = same
        if model == request.model and resolution == request.resolution:
            return request
        return replace(request, model=model, resolution=resolution)

    def check(self, request: Request, dialect: str, *, allow_unknown_model: bool = False) -> list[Finding]:
        """Everything that is wrong with the request, not only the first thing."""
        rules = self.rules(request.model, dialect)
        return [
            *self.check_settings(request, dialect, allow_unknown_model=allow_unknown_model),
            *check_prompt(request.prompt),
            *check_images(request.images, request.aspect_ratio, rules),
        ]

    def check_settings(
        self, request: Request, dialect: str, *, allow_unknown_model: bool = False
    ) -> list[Finding]:
        """What is wrong apart from prompt and images: the part that many rows have in common."""
        rules = self.rules(request.model, dialect)
        if rules is not None:
            return list(check_values(request, rules, self._same_resolution))
        if allow_unknown_model:
            return list(unwritable(request, self._wires))
        return [self._unknown_model(request.model, dialect)]

    def _unknown_model(self, model: str, dialect: str) -> Finding:
        offered = tuple(entry.name for entry in self.models(dialect))
        elsewhere = [other for other in self.dialects if self.rules(model, other)]
        if elsewhere:
            message = f"{shown(model)} is not offered at {dialect} (it is at {', '.join(elsewhere)})"
            return Finding("model", message, offered)
        others = {**self._aliases, **self._older}
        allowed = (*offered, *(other for other, name in others.items() if name in offered))
        near = self._meant_model(model, dialect) or closest(model, allowed)
        return Finding("model", f"unknown model {shown(model)}", allowed, near)

    def _meant_model(self, model: str, dialect: str) -> str:
        """The model that this is the title of, or whose name or alias this goes on from; or nothing."""
        said = _letters(model)
        models = self.models(dialect)
        titled = next((entry.name for entry in models if entry.title and _letters(entry.title) == said), "")
        begun = {
            name: entry.name for entry in models for name in (entry.name, *entry.aliases, *entry.older_names)
        }
        longest = max(
            (name for name in begun if model.casefold().startswith(f"{name}-")), key=len, default=""
        )
        return titled or begun.get(longest, "")

    def price(self, request: Request, dialect: str) -> float | None:
        """What the request costs by the price list, in credits; `None` where it does not say."""
        rules = self.rules(request.model, dialect)
        if rules is None or rules.credits is None:
            return None
        resolution = request.resolution or rules.default_resolution or ""
        names = (resolution, self._same_resolution.get(resolution, ""), ANY_RESOLUTION)
        return next((rules.credits[name] for name in names if name in rules.credits), None)

    def merged(self, models: object, source: str = BUILT_IN) -> tuple[Catalog, list[Finding]]:
        """This catalogue with entries of the form of catalog.yaml's `models` added or overridden.

        What is wrong with the entries is all listed, each by its path.
        """
        reader, rules = Reader(), dict(self._rules)
        for said, entry in reader.pairs("models", models):
            name = self._older.get(said, said)
            known = [old for (_, model), old in rules.items() if model == name]
            for new in reader.model(f"models.{said}", name, entry, known):
                old = rules.get((new.dialect, name))
                if new != old:
                    said_by = f"{old.source}, changed by {source}" if old else source
                    rules[new.dialect, name] = replace(new, source=said_by)
        reader.check_names(rules.values())
        return Catalog(rules.values(), self._same_resolution), reader.findings

    def priced(self, prices: object, dialect: str, as_of: str) -> tuple[Catalog, list[Finding]]:
        """This catalogue with prices: model -> credits, or model -> resolution -> credits."""
        reader, rules = Reader(), dict(self._rules)
        for name, entry in reader.pairs("prices", prices):
            known = self.rules(name, dialect)
            if known is None:
                offered = tuple(entry.name for entry in self.models(dialect))
                message = f"no model of {dialect}; a new one belongs under models, too"
                reader.found(f"prices.{name}", message, offered, closest(name, offered))
                continue
            read = reader.credits(f"prices.{name}", entry, known.resolutions)
            credits = {self._same_resolution.get(size, size): amount for size, amount in read.items()}
            rules[dialect, known.name] = replace(known, credits=credits, credits_as_of=as_of)
        return Catalog(rules.values(), self._same_resolution), reader.findings

    def spoken(
        self, dialect: str, fields: Mapping[str, str | None], callback_field: str | None
    ) -> tuple[Catalog, list[Finding]]:
        """This catalogue as a profile writes it that has these names for our fields (None: not offered)."""
        common, rules, findings = wires_of(fields), dict(self._rules), list[Finding]()
        for entry in self.models(dialect):
            offered = rules[dialect, entry.name] = without_unnamed(entry, common)
            findings += collisions(offered, common, callback_field)
        return Catalog(rules.values(), self._same_resolution, common), findings


def load_catalog() -> Catalog:
    """The catalogue that is shipped with the package."""
    text = resources.files("nanobanana_batch.catalog").joinpath("catalog.yaml").read_text(encoding="utf-8")
    # The base loader knows no types: 16:9 stays a word.
    content = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    catalog, findings = Catalog((), content["same_resolution"]).merged(content["models"])
    assert not findings, findings
    return catalog


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
