"""What the contract allows in a request for an image: its table, read by another pair of eyes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_FLASH = [
    "auto",
    "1:1",
    "1:4",
    "4:1",
    "1:8",
    "8:1",
    "2:3",
    "3:2",
    "3:4",
    "4:3",
    "4:5",
    "5:4",
    "9:16",
    "16:9",
    "21:9",
]
_PRO = ["auto", "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
_FIRST = ["auto", "1:1", "2:3", "3:2", "4:3", "3:4", "16:9", "9:16"]
KEY_FORM = re.compile(r"[A-Za-z0-9._-]{16,96}")
LONGEST_PROMPT = 2000
LONGEST_CALLBACK = 2048
CREDITS = {"0.5K": 2.0, "512": 2.0, "1K": 4.0, "2K": 6.0, "4K": 9.0}


@dataclass(frozen=True)
class Model:
    """A line of the table, dialect evolink."""

    ratios: list[str]
    resolutions: tuple[str, ...]
    images: int
    params: tuple[str, ...] = ()
    real_name: str = ""


MODELS = {
    "gemini-3.1-flash-image-preview": Model(
        _FLASH, ("0.5K", "1K", "2K", "4K"), 14, ("web_search", "image_search", "thinking_level")
    ),
    "gemini-3-pro-image-preview": Model(_PRO, ("1K", "2K", "4K"), 14, ("web_search",)),
    "nano-banana-beta": Model(_FIRST, (), 5),
    "gemini-2.5-flash-image": Model(_FIRST, (), 5, real_name="nano-banana-beta"),
    "gemini-3.1-flash-lite-image": Model(_FLASH, ("1K",), 14, ("thinking_level",)),
    "nano-banana-pro-beta": Model(_PRO, ("1K", "2K", "4K"), 10),
    "nano-banana-2-beta": Model(_FLASH, ("1K", "2K", "4K"), 14, ("thinking_level",)),
    "nano-banana-2-lite-beta": Model(_FLASH, ("1K",), 14),
    "nano-banana-2-lite": Model(_FLASH, ("1K",), 14, real_name="nano-banana-2-lite-beta"),
}


@dataclass(frozen=True)
class Wrong:
    """Why a body is refused."""

    param: str
    message: str


def check(body: Any) -> Wrong | None:
    """The first thing that the contract does not allow, or None."""
    if not isinstance(body, dict):
        return Wrong("body", "the body is not a JSON object")
    model = MODELS.get(body.get("model", ""))
    if model is None:
        return Wrong("model", "model not found")
    for name, value in body.items():
        judge = _FIELDS.get(name)
        if judge is None:
            return Wrong(name, f"unknown field {name}")
        if message := judge(value, model):
            return Wrong(name, message)
    return None if "prompt" in body else Wrong("prompt", "prompt is required")


def _prompt(value: Any, _: Model) -> str:
    if not isinstance(value, str) or not value.strip():
        return "prompt must be a text that is not empty"
    return f"prompt is longer than {LONGEST_PROMPT} characters" if len(value) > LONGEST_PROMPT else ""


def _ratio(value: Any, model: Model) -> str:
    return "" if value in model.ratios else f"size must be one of {model.ratios}"


def _quality(value: Any, model: Model) -> str:
    return "" if value in model.resolutions else f"quality must be one of {model.resolutions}"


def _images(value: Any, model: Model) -> str:
    if not isinstance(value, list) or not value:
        return "image_urls must be a list of URLs"
    if len(value) > model.images:
        return f"at most {model.images} images"
    good = all(isinstance(url, str) and urlsplit(url).scheme in ("http", "https") for url in value)
    return "" if good else "image_urls must be URLs"


def _params(value: Any, model: Model) -> str:
    if not isinstance(value, dict):
        return "model_params must be an object"
    if strange := value.keys() - set(model.params):
        return f"model_params does not have {sorted(strange)}"
    if value.get("thinking_level", "auto") not in ("auto", "min", "high"):
        return "thinking_level must be auto, min or high"
    switches = (value.get(name, True) for name in ("web_search", "image_search"))
    return "" if all(isinstance(switch, bool) for switch in switches) else "a search is true or false"


def _callback(value: Any, _: Model) -> str:
    good = isinstance(value, str) and value.startswith("https://") and len(value) <= LONGEST_CALLBACK
    return "" if good else "callback_url must be an https URL"


_FIELDS = {
    "model": lambda value, model: "",
    "prompt": _prompt,
    "size": _ratio,
    "quality": _quality,
    "image_urls": _images,
    "model_params": _params,
    "callback_url": _callback,
}
