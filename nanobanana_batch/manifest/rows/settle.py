"""Texts of a row become a checked request here, in one place for every kind of manifest.

Rows differ in their prompts and share nearly everything else, so what does not depend on prompt and
images is settled once for each combination of texts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from nanobanana_batch.catalog import (
    FALSE,
    TRUE,
    Catalog,
    Extra,
    Finding,
    ModelRules,
    check_images,
    check_prompt,
    read_extra,
)
from nanobanana_batch.manifest.rows.local_images import LocalImages
from nanobanana_batch.manifest.words.names import SETTINGS
from nanobanana_batch.manifest.words.template import Value, as_text, names_in
from nanobanana_batch.model import ExtraValue, LocalImage, Request
from nanobanana_batch.wording import closest, shown

_CACHE_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class _Settled:
    request: Request
    rules: ModelRules | None
    findings: tuple[Finding, ...]
    """What is wrong whatever its prompt and its images are."""
    without_images: tuple[Finding, ...]
    """What is wrong besides when it has no images."""


class Settler:
    """Checks rows against the catalogue for one dialect."""

    def __init__(
        self,
        catalog: Catalog,
        dialect: str,
        local_images: LocalImages,
        *,
        allow_unknown_model: bool,
        words: Collection[str] = (),
    ) -> None:
        self.warnings = local_images.warnings
        self._own = OwnSettings(catalog, dialect, words, self.warnings)
        self._catalog = catalog
        self._dialect = dialect
        self._local_images = local_images
        self._allow_unknown_model = allow_unknown_model
        self._settled = lru_cache(_CACHE_SIZE)(self._settle_settings)

    def settle(self, values: Mapping[str, Value], prompt: str) -> tuple[Request, list[Finding]]:
        """The request that these values ask for, and all that is wrong with it."""
        key = tuple(map(values.get, SETTINGS))
        settled = self._settled(key)
        base = settled.request
        images = image_list(values["images"]) if "images" in values else ()
        files: tuple[LocalImage, ...] = ()
        of_images: Iterable[Finding] = settled.without_images
        if images:
            files, wrong_files = self._local_images.find(images, settled.rules)
            of_images = (*check_images(images, base.aspect_ratio, settled.rules), *wrong_files)
        own = self._own.read(values, base.model, settled.rules)
        findings = [*settled.findings, *check_prompt(prompt), *of_images, *own.findings]
        request = Request(
            base.model,
            prompt,
            base.aspect_ratio,
            base.resolution,
            images,
            base.output_format,
            base.web_search,
            base.image_search,
            base.thinking_level,
            files,
            own.extra,
            own.priced_by,
        )
        return request, findings

    def has_own(self, names: Collection[str]) -> bool:
        """Whether a setting of some model's own is among these names."""
        return self._own.has(names)

    def _settle_settings(self, key: tuple[Value | None, ...]) -> _Settled:
        texts = {name: as_text(value).strip() for name, value in zip(SETTINGS, key, strict=True) if value}
        findings: list[Finding] = []
        request = Request(
            model=texts.get("model", ""),
            prompt="",
            aspect_ratio=texts.get("aspect_ratio") or None,
            resolution=texts.get("resolution") or None,
            output_format=texts.get("output_format") or None,
            web_search=_flag(texts, "web_search", findings),
            image_search=_flag(texts, "image_search", findings),
            thinking_level=texts.get("thinking_level") or None,
        )
        if not request.model:
            offered = tuple(rules.name for rules in self._catalog.models(self._dialect))
            findings.append(Finding("model", "no model is given", offered, rests_on="model"))
            rules = None
        else:
            request = self._catalog.normalised(request, self._dialect)
            findings += self._catalog.check_settings(
                request, self._dialect, allow_unknown_model=self._allow_unknown_model
            )
            rules = self._catalog.rules(request.model, self._dialect)
            if rules is None:
                self._warn(request.model)
        without_images = tuple(check_images((), request.aspect_ratio, rules))
        return _Settled(_without_idle_searches(request, rules), rules, tuple(findings), without_images)

    def _warn(self, model: str) -> None:
        where = f"at {self._dialect}"
        text = f"model {shown(model)} is not known {where}; it is sent as written"
        if self._allow_unknown_model and text not in self.warnings:
            self.warnings.append(text)


def _without_idle_searches(request: Request, rules: ModelRules | None) -> Request:
    # Switched off where there is none, it must not reach the wire: the service may refuse the name.
    if rules is None:
        return request
    if request.web_search is False and not rules.web_search:
        request = replace(request, web_search=None)
    if request.image_search is False and not rules.image_search:
        request = replace(request, image_search=None)
    return request


def _flag(texts: Mapping[str, str], name: str, findings: list[Finding]) -> bool | None:
    text = texts.get(name, "")
    if not text:
        return None
    word = text.casefold()
    if word not in TRUE and word not in FALSE:
        allowed = (*TRUE, *FALSE)
        findings.append(
            Finding(name, f"{shown(text)} is neither yes nor no", allowed, closest(word, allowed))
        )
    return word in TRUE


def image_list(value: Value) -> tuple[str, ...]:
    """Several images in one text are separated by `|`."""
    parts = value.split("|") if isinstance(value, str) else value
    return tuple(part.strip() for part in parts if part.strip())


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

    def has(self, names: Collection[str]) -> bool:
        """Whether some model takes one of these names."""
        return any(name in names for name in self._takers)

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
        slot = next((slot for slot in names_in(text) if slot in values), None)
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
