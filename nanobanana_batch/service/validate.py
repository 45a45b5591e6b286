"""Nothing is charged that the contract does not allow: a request passes every check here or is a 400/404.

Pure functions from bytes and words to facts; the first thing wrong is an `ApiError` naming its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanobanana_batch.service import contract
from nanobanana_batch.service.addresses import AddressRefused, target_of
from nanobanana_batch.service.contract import ALIASES, NAMES, OFFERS, Dialect, Offer
from nanobanana_batch.service.envelope import ApiError, invalid

_KEY_FORM = re.compile(r"[A-Za-z0-9._-]{16,96}")
_TASK_ID_FORM = re.compile(r"task-unified-[0-9]{1,12}-[a-z0-9]{8}")
_IMAGE_URL = re.compile(contract.IMAGE_URL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Checked:
    """A submit that may be charged, in the service's own words."""

    model: str
    prompt: str
    ratio: str
    resolution: str
    images: tuple[str, ...]
    output_format: str
    image_bytes: int
    callback_url: str | None = None


def idempotency_key(value: str) -> str:
    if not _KEY_FORM.fullmatch(value):
        raise invalid("Idempotency-Key must be 16 to 96 characters of A-Z a-z 0-9 . _ -", "Idempotency-Key")
    return value


def task_id(value: str) -> str:
    if not _TASK_ID_FORM.fullmatch(value):
        raise ApiError(400, "invalid_task_id", "The task id is not well formed.", "task_id")
    return value


def json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ApiError:
        raise
    except (ValueError, RecursionError) as exc:
        raise invalid("The body is not valid JSON.") from exc
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object.")
    if _SURROGATE.search(body):
        _check_text(value)
    return value


def _check_text(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as exc:
        raise invalid("The body holds half of a surrogate pair.") from exc


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise invalid("The body names a field twice.")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def submit(dialect: Dialect, values: Mapping[str, Any], *, allow_loopback_callbacks: bool = False) -> Checked:
    names = NAMES[dialect]
    known_fields(values, names.top_level())
    model, offer = _model(dialect, values)
    prompt = _prompt(values)
    flat = _flatten(values)
    images = _images(values, offer)
    ratio = _choice(flat, names.ratio, offer.ratios, offer.default_ratio)
    if ratio == "match_input_image" and not images:
        raise invalid("match_input_image needs an image in image_urls.", names.ratio)
    resolution = _choice(flat, names.resolution, offer.resolutions, offer.default_resolution)
    _flag(flat, names.web_search, offer.web_search)
    _flag(flat, names.image_search, offer.image_search)
    if names.thinking_level:
        _choice(flat, names.thinking_level, contract.THINKING_LEVELS if offer.thinking_level else (), "auto")
    output_format = "png"
    if names.output_format:
        formats = contract.OUTPUT_FORMATS if offer.output_format else ()
        output_format = _choice(flat, names.output_format, formats, "png")
    callback = None
    if names.callback and names.callback in values:
        callback = _callback(values[names.callback], names.callback, allow_loopback_callbacks)
    return Checked(model, prompt, ratio, resolution, images, output_format, offer.image_bytes, callback)


def known_fields(values: Mapping[str, Any], known: frozenset[str], where: str = "") -> None:
    for name in values:
        if name not in known:
            raise invalid(f"Unknown field {where}{name}.", f"{where}{name}")


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """`model_params` is the one nested object of the API: its fields are known by their dotted names."""
    flat = dict(values)
    if "model_params" in flat:
        nested = flat.pop("model_params")
        if not isinstance(nested, dict):
            raise invalid("model_params must be an object.", "model_params")
        known = frozenset({"web_search", "image_search", "thinking_level"})
        known_fields(nested, known, "model_params.")
        flat |= {f"model_params.{name}": value for name, value in nested.items()}
    return flat


def _model(dialect: Dialect, values: Mapping[str, Any]) -> tuple[str, Offer]:
    if "model" not in values:
        raise invalid("model is required.", "model")
    name = values["model"]
    if not isinstance(name, str):
        raise invalid("model must be a string.", "model")
    actual = ALIASES.get(name, name)
    offer = OFFERS[dialect].get(actual)
    if offer is None:
        raise ApiError(404, "model_not_found", f"Model {name[:100]!r} not found.", "model")
    return actual, offer


def _prompt(values: Mapping[str, Any]) -> str:
    if "prompt" not in values:
        raise invalid("prompt is required.", "prompt")
    prompt = values["prompt"]
    if not isinstance(prompt, str):
        raise invalid("prompt must be a string.", "prompt")
    if not prompt.strip():
        raise invalid("prompt must not be empty.", "prompt")
    if len(prompt) > contract.PROMPT_MAX_CHARS:
        raise invalid(f"prompt is longer than {contract.PROMPT_MAX_CHARS} characters.", "prompt")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise invalid("prompt contains a lone surrogate.", "prompt") from exc
    return prompt


def _choice(flat: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    if name not in flat:
        return default
    if not allowed:
        raise invalid(f"{name} is not offered by this model.", name)
    value = flat[name]
    if not isinstance(value, str) or value not in allowed:
        raise invalid(f"{name} must be one of: {', '.join(allowed)}.", name)
    return value


def _flag(flat: Mapping[str, Any], name: str, offered: bool) -> None:
    if name not in flat:
        return
    if not isinstance(flat[name], bool):
        raise invalid(f"{name} must be true or false.", name)
    if not offered:
        raise invalid(f"{name} is not offered by this model.", name)


def _images(values: Mapping[str, Any], offer: Offer) -> tuple[str, ...]:
    if "image_urls" not in values:
        return ()
    urls = values["image_urls"]
    if not isinstance(urls, list):
        raise invalid("image_urls must be a list.", "image_urls")
    if len(urls) > offer.max_images:
        raise invalid(f"image_urls: at most {offer.max_images} images.", "image_urls")
    return tuple(_image_url(url, f"image_urls[{number}]") for number, url in enumerate(urls))


def _image_url(value: Any, name: str) -> str:
    if isinstance(value, str) and len(value) > contract.URL_MAX_CHARS:
        raise invalid(f"{name} is longer than {contract.URL_MAX_CHARS} characters.", name)
    if not isinstance(value, str) or not _IMAGE_URL.fullmatch(value):
        raise invalid(f"{name} must be an http or https URL that ends in .jpeg, .jpg, .png or .webp.", name)
    return value


def _callback(url: Any, name: str, allow_loopback: bool) -> str:
    """Names are not resolved here: what they lead to is judged when the callback is sent."""
    try:
        target_of(url, allow_loopback=allow_loopback)
    except AddressRefused as refused:
        raise invalid(f"{name} {refused}", name) from refused
    return str(url)


def batch(values: Mapping[str, Any]) -> list[str]:
    known_fields(values, frozenset({"task_ids"}))
    ids = values.get("task_ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise invalid("task_ids must be a list of strings.", "task_ids")
    if not 1 <= len(ids) <= contract.BATCH_MAX_IDS:
        raise invalid(f"task_ids must name 1 to {contract.BATCH_MAX_IDS} tasks.", "task_ids")
    return list(dict.fromkeys(ids))


@dataclass(frozen=True, slots=True)
class ListQuery:
    status: str | None
    type: str | None
    model: str | None
    page: int
    page_size: int


def list_query(query: Mapping[str, str]) -> ListQuery:
    status = query.get("status") or None
    if status is not None and status not in contract.TASK_STATUSES:
        raise invalid(f"status must be one of: {', '.join(contract.TASK_STATUSES)}.", "status")
    return ListQuery(
        status,
        query.get("type") or None,
        query.get("model") or None,
        _number(query, "page", 1, contract.PAGE_MAX),
        _number(query, "page_size", contract.PAGE_SIZE_DEFAULT, contract.PAGE_SIZE_MAX),
    )


def _number(query: Mapping[str, str], name: str, default: int, highest: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,7}", text) or not 1 <= int(text) <= highest:
        raise invalid(f"{name} must be a number from 1 to {highest}.", name)
    return int(text)
