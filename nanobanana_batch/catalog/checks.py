"""The checks of one request against one model's rules, and those that hold for every model."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from enum import Enum
from urllib.parse import urlsplit

from nanobanana_batch.catalog.extras import Extra
from nanobanana_batch.catalog.findings import Finding
from nanobanana_batch.catalog.rules import ModelRules
from nanobanana_batch.model import ExtraValue, Request
from nanobanana_batch.wording import closest, shown

PROMPT_LIMIT = 2000
"""Characters; the contract's schema."""

MATCH_INPUT = "match_input_image"
_BLANKS = "\u115f\u1160\u2800\u3164\ufe0e\ufe0f\uffa0"
"""Letters and marks that show nothing."""
IMAGE_ENDINGS = (".jpeg", ".jpg", ".png", ".webp")
_OTHER_ENDINGS = re.compile(
    r"\.(gif|bmp|svg|tiff?|pdf|hei[cf]|avif|jxl|ico|psd|eps|raw|mp4|mov|webm|zip|html?)", re.IGNORECASE
)
_SAID_OTHERWISE = {"jpeg": "jpg", "minimal": "min", "low": "min", "maximum": "high", "max": "high"}


class PromptFault(Enum):
    """What keeps a prompt from being sent, whichever model it is for."""

    NONE = "none"
    EMPTY = "empty"
    TOO_LONG = "too long"


def prompt_fault(prompt: str) -> PromptFault:
    """Whether a prompt has something in it, and no more than the provider takes."""
    if len(prompt) > PROMPT_LIMIT:
        return PromptFault.TOO_LONG
    return PromptFault.EMPTY if all(map(_is_invisible, prompt)) else PromptFault.NONE


def check_prompt(prompt: str) -> Iterator[Finding]:
    """A prompt has something in it, and no more than the provider takes."""
    fault = prompt_fault(prompt)
    if fault is PromptFault.EMPTY:
        yield Finding("prompt", "the prompt is empty", rests_on="prompt")
    elif fault is PromptFault.TOO_LONG:
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
    fault = _url_fault(image)
    if fault:
        return fault
    ending = re.search(r"\.[^./]*$", urlsplit(image).path)
    if ending and _OTHER_ENDINGS.fullmatch(ending[0]):
        return f"{shown(image)} ends in {ending[0]}; reference images are {' '.join(IMAGE_ENDINGS)}"
    return ""


def _url_fault(text: str) -> str:
    try:
        url = urlsplit(text)
        host, secret, _ = url.hostname, url.password or url.username, url.port
    except ValueError:
        host, secret = None, None
    if secret:
        return "a URL with a user name or password in it is refused; give a public URL"
    if not host or not text.partition(":")[2].startswith("//") or re.search(r"[\s\\<>\"]", text):
        return f"{shown(text)} is not a complete URL"
    return ""


def check_values(
    request: Request, rules: ModelRules, same_resolution: Mapping[str, str]
) -> Iterator[Finding]:
    """Each field has a value that the model allows, or none."""
    choices = (
        ("aspect_ratio", request.aspect_ratio, rules.aspect_ratios),
        ("resolution", request.resolution, rules.resolutions),
        ("output_format", request.output_format, rules.output_formats),
        ("thinking_level", request.thinking_level, rules.thinking_levels),
    )
    where = f"by {rules.name} at {rules.dialect}"
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


def read_extra(extra: Extra, text: str, rules: ModelRules) -> ExtraValue | Finding:
    """The value of a setting of the model's own, or what is wrong with it."""
    value = extra.read(text)
    if value is None:
        message = f"{shown(text)} is not allowed by {rules.name} at {rules.dialect}"
        allowed = extra.words or (extra.said,)
        return Finding(extra.name, message, allowed, closest(text, extra.words), rests_on="model")
    fault = _own_url_fault(extra.name, text) if extra.kind == "url" else ""
    if extra.counts_images and isinstance(value, int) and value > 1:
        fault = (
            f"{value} images of one task are all paid for, and only the first can be fetched yet;"
            f" give 1, and `variants: {value}` for as many rows"
        )
    return Finding(extra.name, fault, rests_on="model") if fault else value


def _own_url_fault(name: str, text: str) -> str:
    if is_local(text):
        return f"{shown(text)} is a local file; {name} takes a public URL, and nothing is uploaded for it yet"
    if not re.match(r"https?:", text, re.IGNORECASE):
        return f"{shown(text)} is not an http or https URL"
    return _url_fault(text)
