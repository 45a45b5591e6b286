"""What the API allows, written down once more from its contract.

The client has tables of its own. They are not shared: a service that reads the client's tables would
agree with every mistake in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["evolink", "unified"]
DIALECTS: tuple[Dialect, ...] = ("evolink", "unified")
PREFIX: dict[Dialect, str] = {"evolink": "", "unified": "/unified"}

PROMPT_MAX_CHARS = 2_000
URL_MAX_CHARS = 2_048
BATCH_MAX_IDS = 50
PAGE_MAX = 1_000_000
PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 100
OUTPUT_FORMATS = ("jpg", "png", "webp")
THINKING_LEVELS = ("auto", "min", "high")
TASK_STATUSES = ("pending", "processing", "completed", "failed", "cancelled")
ALIASES = {
    "gemini-2.5-flash-image": "nano-banana-beta",
    "nano-banana-2-lite": "nano-banana-2-lite-beta",  # its older name
}

MB = 1_000_000

FILE_TYPES = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
MIME_TYPES = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}

# The schema publishes what the checks enforce: these patterns are both. Anchored, and without flags, for the
# engines of all languages. A name, an IPv4 address, or an IPv6 address written in full (or ::1).
_HOST = r"(?:[A-Za-z0-9._-]+|\[::1\]|\[(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\])"
_PORT = r"(?::(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4}))?"
_URL_CHARS = r"[!$-;=@A-Z_a-z~%\[\]]"
_EXTENSION = r"\.(?:[Jj][Pp][Ee]?[Gg]|[Pp][Nn][Gg]|[Ww][Ee][Bb][Pp])"
_TAIL = rf"(?:\?(?:{_URL_CHARS}|\?)*)?(?:#(?:{_URL_CHARS}|\?)*)?"
IMAGE_URL = rf"^[Hh][Tt][Tt][Pp][Ss]?://{_HOST}{_PORT}/{_URL_CHARS}*{_EXTENSION}{_TAIL}$"
FILE_NAME = r"^[^/\\\x00-\x1f\x7f]{1,200}$"
UPLOAD_PATH = r"^[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*$"
UPLOAD_PATH_MAX_CHARS = 200


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_RATIOS_WIDE = _words("1:1 1:4 4:1 1:8 8:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9")
_RATIOS_PRO = _words("1:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9")
_RATIOS_BETA = _words("1:1 2:3 3:2 4:3 3:4 16:9 9:16")


@dataclass(frozen=True, slots=True)
class Offer:
    """One model in one dialect. `resolutions` empty: the field is not offered at all."""

    ratios: tuple[str, ...]
    resolutions: tuple[str, ...]
    max_images: int
    image_bytes: int
    default_ratio: str
    default_resolution: str
    web_search: bool = False
    image_search: bool = False
    thinking_level: bool = False
    output_format: bool = False


def _evolink(ratios: tuple[str, ...], resolutions: str, images: int, default: str, **more: bool) -> Offer:
    image_bytes = 20 * MB if images == 14 else 10 * MB
    return Offer(("auto", *ratios), _words(resolutions), images, image_bytes, "auto", default, **more)


# The contract states no number and size of images for `unified`: they are those of the model in `evolink`.
def _unified(ratios: tuple[str, ...], resolutions: str, images: int, **more: bool) -> Offer:
    image_bytes = 20 * MB if images == 14 else 10 * MB
    ratios = (*ratios, "match_input_image")
    return Offer(ratios, _words(resolutions), images, image_bytes, "1:1", "1K", output_format=True, **more)


OFFERS: dict[Dialect, dict[str, Offer]] = {
    "evolink": {
        "gemini-3.1-flash-image-preview": _evolink(
            _RATIOS_WIDE, "0.5K 1K 2K 4K", 14, "2K", web_search=True, image_search=True, thinking_level=True
        ),
        "gemini-3-pro-image-preview": _evolink(_RATIOS_PRO, "1K 2K 4K", 14, "2K", web_search=True),
        "nano-banana-beta": _evolink(_RATIOS_BETA, "", 5, "1K"),
        "gemini-3.1-flash-lite-image": _evolink(_RATIOS_WIDE, "1K", 14, "1K", thinking_level=True),
        "nano-banana-pro-beta": _evolink(_RATIOS_PRO, "1K 2K 4K", 10, "1K"),
        "nano-banana-2-beta": _evolink(_RATIOS_WIDE, "1K 2K 4K", 14, "1K", thinking_level=True),
        "nano-banana-2-lite-beta": _evolink(_RATIOS_WIDE, "1K", 14, "1K"),
    },
    "unified": {
        "gemini-3.1-flash-image-preview": _unified(
            _RATIOS_WIDE, "512 0.5K 1K 2K 4K", 14, web_search=True, image_search=True
        ),
        "gemini-3-pro-image-preview": _unified(_RATIOS_PRO, "1K 2K 4K", 14, web_search=True),
    },
}


@dataclass(frozen=True, slots=True)
class Names:
    """How a dialect calls its fields; a dot leads into an object, None is not offered."""

    ratio: str
    resolution: str
    web_search: str
    image_search: str
    thinking_level: str | None = None
    output_format: str | None = None
    callback: str | None = None

    def top_level(self) -> frozenset[str]:
        optional = (self.thinking_level, self.output_format, self.callback)
        names = (self.ratio, self.resolution, self.web_search, self.image_search, *optional)
        return frozenset({"model", "prompt", "image_urls"} | {n.partition(".")[0] for n in names if n})


NAMES: dict[Dialect, Names] = {
    "evolink": Names(
        ratio="size",
        resolution="quality",
        web_search="model_params.web_search",
        image_search="model_params.image_search",
        thinking_level="model_params.thinking_level",
        callback="callback_url",
    ),
    "unified": Names(
        ratio="aspect_ratio",
        resolution="resolution",
        web_search="google_search",
        image_search="image_search",
        output_format="output_format",
    ),
}

# Invented: the contract names no prices. What matters is that they differ and that they are whole numbers.
_PRICES = {"gemini-3-pro-image-preview": 12, "nano-banana-pro-beta": 10, "gemini-3.1-flash-image-preview": 6}
_PRICE_OTHERS = 4
_STEP = {"512": 0, "0.5K": 0, "1K": 1, "2K": 2, "4K": 4}
USD_PER_CREDIT = 0.01
CNY_PER_CREDIT = 0.07


def price(model: str, resolution: str) -> int:
    return _PRICES.get(model, _PRICE_OTHERS) + 2 * _STEP[resolution]


REJECTIONS = {
    "invalid_request": 400,
    "unauthorized": 401,
    "insufficient_quota": 402,
    "quota_exceeded": 402,
    "insufficient_token_quota": 402,
    "token_daily_quota_exceeded": 402,
    "model_access_denied": 403,
    "permission_denied": 403,
    "model_not_found": 404,
    "request_too_large_error": 413,
}
"""Codes of a refused submit; what each has for a status."""

TASK_ERRORS: dict[str, str] = {
    "content_policy_violation": "The request was refused by the content policy.",
    "content_filter": "The content filter stopped the result.",
    "sensitive_content": "The request contains sensitive content.",
    "moderation_blocked": "Moderation blocked the request.",
    "input_moderation_failed": "Moderation of the input failed.",
    "invalid_parameters": "The parameters do not fit together.",
    "image_processing_error": "A reference image could not be processed.",
    "image_dimension_mismatch": "The dimensions of the reference images do not match.",
    "resource_not_found": "A reference image could not be downloaded.",
    "model_unavailable": "The model is not available.",
    "request_cancelled": "The request was cancelled upstream.",
    "generation_failed_no_content": "The model returned no content.",
    "service_error": "The service failed.",
    "generation_timeout": "The generation took too long.",
    "resource_exhausted": "The upstream has no capacity left.",
    "quota_exceeded": "The upstream quota is used up.",
    "service_unavailable": "The service is not available.",
    "upstream_error": "The upstream failed.",
    "unknown_error": "An unknown error occurred.",
}
