"""No value that the chosen model does not allow is ever sent: what is allowed is data, in catalog.yaml.

The catalogue ages, so a profile may add to it or override it (`Catalog.merged`), and a model that it
does not know can still be let through by the caller, with the checks that hold for every model.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from dataclasses import field as dataclass_field
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import yaml

from nanobanana_batch.errors import Problem
from nanobanana_batch.model import Request

PROMPT_LIMIT = 2000
"""Characters; the contract's schema."""

BUILT_IN = "built in"
ANY_RESOLUTION = "any"
MATCH_INPUT = "match_input_image"
_BLANKS = "\u115f\u1160\u2800\u3164\ufe0e\ufe0f\uffa0"
"""Letters and marks that show nothing."""
IMAGE_ENDINGS = (".jpeg", ".jpg", ".png", ".webp")
_OTHER_ENDINGS = re.compile(
    r"\.(gif|bmp|svg|tiff?|pdf|hei[cf]|avif|jxl|ico|psd|eps|raw|mp4|mov|webm|zip|html?)", re.IGNORECASE
)
_SAID_OTHERWISE = {"jpeg": "jpg", "minimal": "min", "low": "min", "maximum": "high", "max": "high"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One value that is not allowed: the field, what is wrong, what would be right."""

    field: str
    message: str
    allowed: tuple[str, ...] = ()
    suggestion: str = ""
    rests_on: str = dataclass_field(default="", compare=False)
    """As in `Problem`."""

    def at(self, place: str) -> Problem:
        """The same as a problem of this place."""
        return Problem(place, self.message, self.field, self.allowed, self.suggestion, rests_on=self.rests_on)


@dataclass(frozen=True, slots=True)
class ModelRules:
    """What one model allows in one dialect; empty means "not offered", `None` means "not stated"."""

    name: str
    dialect: str
    title: str = ""
    aliases: tuple[str, ...] = ()
    aspect_ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    default_aspect_ratio: str | None = None
    default_resolution: str | None = None
    max_images: int | None = None
    max_image_bytes: int | None = None
    output_formats: tuple[str, ...] = ()
    web_search: bool = False
    image_search: bool = False
    thinking_levels: tuple[str, ...] = ()
    credits: Mapping[str, float] | None = None
    """What one image costs by resolution, or `any`; the contract names no prices, a profile may."""
    credits_as_of: str = ""
    source: str = BUILT_IN
    """Who says all this."""


class Catalog:
    """All models of all dialects; immutable."""

    def __init__(self, rules: Iterable[ModelRules], same_resolution: Mapping[str, str] | None = None) -> None:
        self._rules = {(entry.dialect, entry.name): entry for entry in rules}
        self._same_resolution = dict(same_resolution or {})
        self._aliases = {alias: entry.name for entry in self._rules.values() for alias in entry.aliases}

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
        """What this model (or alias) allows in this dialect; `None` when it is not offered there."""
        return self._rules.get((dialect, self.canonical(model)))

    def normalised(self, request: Request, dialect: str) -> Request:
        """The same request with aliases and values that mean the same replaced by one spelling."""
        model = self.canonical(request.model)
        rules = self._rules.get((dialect, model))
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
            return list(_check_values(request, rules, self._same_resolution))
        return [] if allow_unknown_model else [self._unknown_model(request.model, dialect)]

    def _unknown_model(self, model: str, dialect: str) -> Finding:
        offered = tuple(entry.name for entry in self.models(dialect))
        elsewhere = [d for d in self.dialects if (d, self.canonical(model)) in self._rules]
        if elsewhere:
            message = f"{shown(model)} is not offered in dialect {dialect} (it is in {', '.join(elsewhere)})"
            return Finding("model", message, offered)
        allowed = (*offered, *(alias for alias, name in self._aliases.items() if name in offered))
        near = self._meant_model(model, dialect) or closest(model, allowed)
        return Finding("model", f"unknown model {shown(model)}", allowed, near)

    def _meant_model(self, model: str, dialect: str) -> str:
        """The model that this is the title of, or whose name or alias this goes on from; or nothing."""
        said = _letters(model)
        models = self.models(dialect)
        titled = next((entry.name for entry in models if entry.title and _letters(entry.title) == said), "")
        begun = {name: entry.name for entry in models for name in (entry.name, *entry.aliases)}
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
        reader, rules = _Reader(), dict(self._rules)
        for name, entry in reader.pairs("models", models):
            known = [old for (_, model), old in self._rules.items() if model == name]
            for new in reader.model(name, entry, known):
                old = rules.get((new.dialect, name))
                if new != old:
                    said_by = f"{old.source}, changed by {source}" if old else source
                    rules[new.dialect, name] = replace(new, source=said_by)
        reader.check_aliases(rules.values())
        return Catalog(rules.values(), self._same_resolution), reader.findings

    def priced(self, prices: object, dialect: str, as_of: str) -> tuple[Catalog, list[Finding]]:
        """This catalogue with prices: model -> credits, or model -> resolution -> credits."""
        reader, rules = _Reader(), dict(self._rules)
        for name, entry in reader.pairs("prices", prices):
            known = self.rules(name, dialect)
            if known is None:
                offered = tuple(entry.name for entry in self.models(dialect))
                message = f"unknown model in dialect {dialect}; a new one belongs under models, too"
                reader.found(f"prices.{name}", message, offered, closest(name, offered))
                continue
            read = reader.credits(f"prices.{name}", entry, known.resolutions)
            credits = {self._same_resolution.get(size, size): amount for size, amount in read.items()}
            rules[dialect, known.name] = replace(known, credits=credits, credits_as_of=as_of)
        return Catalog(rules.values(), self._same_resolution), reader.findings


def load_catalog() -> Catalog:
    """The catalogue that is shipped with the package."""
    text = resources.files("nanobanana_batch").joinpath("catalog.yaml").read_text(encoding="utf-8")
    # The base loader knows no types: 16:9 stays a word.
    content = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    catalog, findings = Catalog((), content["same_resolution"]).merged(content["models"])
    assert not findings, findings
    return catalog


def check_prompt(prompt: str) -> Iterator[Finding]:
    """A prompt has something in it, and no more than the provider takes."""
    if all(map(_is_invisible, prompt)):
        yield Finding("prompt", "the prompt is empty", rests_on="prompt")
    elif len(prompt) > PROMPT_LIMIT:
        excess = len(prompt) - PROMPT_LIMIT
        yield Finding(
            "prompt", f"{len(prompt)} characters; at most {PROMPT_LIMIT} are allowed, shorten it by {excess}"
        )


def _is_invisible(char: str) -> bool:
    return char.isspace() or char in _BLANKS or unicodedata.category(char) in ("Cf", "Cc")


def check_images(
    images: tuple[str, ...], aspect_ratio: str | None, rules: ModelRules | None
) -> Iterator[Finding]:
    """References are image URLs or local files, as many as the model takes, and there where they are needed.

    What a local file is, is not looked at here.
    """
    for image in images:
        message = "" if is_local(image) else _image_fault(image)
        if message:
            yield Finding("images", message)
    if rules and rules.max_images is not None and len(images) > rules.max_images:
        message = f"{len(images)} images; {rules.name} takes at most {rules.max_images}"
        yield Finding("images", message, rests_on="model")
    offered = rules is None or MATCH_INPUT in rules.aspect_ratios
    if aspect_ratio == MATCH_INPUT and offered and not images:
        message = f"aspect_ratio {MATCH_INPUT} needs a reference image, and none is given"
        yield Finding("images", message, rests_on="images")


def is_local(image: str) -> bool:
    """Whether a reference image is a file on this machine rather than a URL."""
    return re.match(r"(https?|data|file):|[^/]*://", image, re.IGNORECASE) is None


def _image_fault(image: str) -> str:
    scheme = image.partition(":")[0].casefold()
    if scheme == "file":
        return f"{shown(image)}: write a local file as its path, without file://"
    if scheme not in ("http", "https"):
        return f"{shown(image)} is not an http or https URL"
    try:
        url = urlsplit(image)
        host, secret, _ = url.hostname, url.password or url.username, url.port
    except ValueError:
        host, secret, url = None, None, urlsplit("")
    if secret:
        return "a URL with a user name or password in it is refused; give a public URL"
    if not host or not image.partition(":")[2].startswith("//") or re.search(r"[\s\\<>\"]", image):
        return f"{shown(image)} is not a complete URL"
    ending = re.search(r"\.[^./]*$", url.path)
    if ending and _OTHER_ENDINGS.fullmatch(ending[0]):
        return f"{shown(image)} ends in {ending[0]}; reference images are {' '.join(IMAGE_ENDINGS)}"
    return ""


def _check_values(
    request: Request, rules: ModelRules, same_resolution: Mapping[str, str]
) -> Iterator[Finding]:
    choices = (
        ("aspect_ratio", request.aspect_ratio, rules.aspect_ratios),
        ("resolution", request.resolution, rules.resolutions),
        ("output_format", request.output_format, rules.output_formats),
        ("thinking_level", request.thinking_level, rules.thinking_levels),
    )
    where = f"by {rules.name} in dialect {rules.dialect}"
    for field, value, allowed in choices:
        if value is None or value in allowed:
            continue
        if not allowed:
            message = f"{shown(value)} is given, but {field} is not offered {where}; leave it out"
            yield Finding(field, message, rests_on="model")
            continue
        same = same_resolution.get(value, "") if field == "resolution" else ""
        suggestion = same if same in allowed else _suggest_value(value, allowed)
        message = f"{shown(value)} is not allowed {where}"
        yield Finding(field, message, allowed, suggestion, rests_on="model")
    for field, wanted, offered in (
        ("web_search", request.web_search, rules.web_search),
        ("image_search", request.image_search, rules.image_search),
    ):
        if wanted and not offered:
            yield Finding(field, f"not offered {where}; leave it out", rests_on="model")


def _suggest_value(value: str, allowed: tuple[str, ...]) -> str:
    text = value.strip()
    pair = re.fullmatch(r"(\d{1,5})\s*[:/xX×*.,\- ]\s*(\d{1,5})", text)  # noqa: RUF001
    if pair and int(pair[1]) and int(pair[2]):
        width, height = int(pair[1]), int(pair[2])
        divisor = math.gcd(width, height)
        ratio = f"{width // divisor}:{height // divisor}"
        return ratio if ratio in allowed else ""
    near = closest(_SAID_OTHERWISE.get(text.casefold(), text), allowed)
    # Of two numbers that look alike neither was meant to be the other.
    return near if re.findall(r"\d", near) == re.findall(r"\d", text) else ""


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def closest(word: str, allowed: Iterable[str]) -> str:
    """The allowed word that this one was probably meant to be, or nothing."""
    folded = {name.casefold(): name for name in allowed}
    key = word.strip().casefold()
    if key in folded:
        return folded[key]
    found = difflib.get_close_matches(key[:200], folded, 1, 0.7) if len(key) > 2 else []
    return folded[found[0]] if found else ""


def shown(value: str) -> str:
    """A value in quotes for a message: one line, and not longer than helps."""
    return repr(value if len(value) <= 80 else value[:77] + "...")


_RULE_KEYS = tuple(
    field.name
    for field in fields(ModelRules)
    if field.name not in ("name", "dialect", "title", "aliases", "credits", "credits_as_of", "source")
)


class _Reader:
    """Reads entries of a person's file; whatever is wrong is noted by its path and left out."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def found(self, path: str, message: str, allowed: Iterable[str] = (), suggestion: str = "") -> None:
        self.findings.append(Finding(path, message, tuple(allowed), suggestion))

    def pairs(self, path: str, value: object, allowed: Iterable[str] | None = None) -> list[tuple[str, Any]]:
        if not isinstance(value, Mapping):
            self.found(path, "has to be `key: value` pairs")
            return []
        known = tuple(value if allowed is None else allowed)
        for key in value:
            if key not in known:
                self.found(f"{path}.{key}", "unknown key", sorted(known), closest(str(key), known))
        return [(str(key), value[key]) for key in value if key in known]

    def model(self, name: str, entry: object, known: list[ModelRules]) -> Iterator[ModelRules]:
        path = f"models.{name}"
        body = dict(self.pairs(path, entry, ("title", "aliases", "dialects")))
        common = {key: self.value(f"{path}.{key}", key, body[key]) for key in body if key != "dialects"}
        common = {key: value for key, value in common.items() if value is not None}
        dialects = dict(self.pairs(f"{path}.dialects", body["dialects"])) if "dialects" in body else {}
        before = {rules.dialect: rules for rules in known}
        if not dialects and not before:
            self.found(path, "says nothing about any dialect; give it `dialects: {...}`")
        like = known[0] if known else ModelRules(name, "")
        for dialect in dict.fromkeys([*before, *dialects]):
            old = before.get(dialect) or ModelRules(name, dialect, like.title, like.aliases)
            values = self.rules(f"{path}.dialects.{dialect}", dialects.get(dialect, {}))
            yield replace(old, **common, **values)

    def rules(self, path: str, entry: object) -> dict[str, Any]:
        values = {
            key: self.value(f"{path}.{key}", key, value) for key, value in self.pairs(path, entry, _RULE_KEYS)
        }
        return {key: value for key, value in values.items() if value is not None}

    def value(self, path: str, key: str, value: object) -> Any:
        """In the type that the field of this name has, or None when it is wrong."""
        if key in ("web_search", "image_search"):
            if value in ("true", "false"):
                return value == "true"
            self.found(path, f"{_said(value)} is neither true nor false")
        elif key.startswith("max_"):
            if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
                return int(value)
            self.found(path, f"{_said(value)} is not a whole number")
        elif key == "title" or key.startswith("default_"):
            if isinstance(value, str):
                return value
            self.found(path, f"{_said(value)} is not a text")
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        else:
            self.found(path, f"{_said(value)} is not a list of texts, such as [1K, 2K]")
        return None

    def credits(self, path: str, entry: object, resolutions: tuple[str, ...]) -> dict[str, float]:
        given = [(path, ANY_RESOLUTION, entry)]
        if isinstance(entry, Mapping):
            pairs = self.pairs(path, entry, (*resolutions, ANY_RESOLUTION))
            given = [(f"{path}.{name}", name, value) for name, value in pairs]
        credits = {}
        for place, name, value in given:
            if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
                credits[name] = float(value)
            else:
                self.found(place, f"{_said(value)} is not a number of credits, such as 2 or 2.5")
        return credits

    def check_aliases(self, rules: Iterable[ModelRules]) -> None:
        owners: dict[str, str] = {entry.name: entry.name for entry in rules}
        for entry in rules:
            for alias in entry.aliases:
                owner = owners.setdefault(alias, entry.name)
                if owner != entry.name:
                    self.found(f"models.{entry.name}.aliases", f"{shown(alias)} already means {owner}")


def _said(value: object) -> str:
    if isinstance(value, str):
        return shown(value)
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"
