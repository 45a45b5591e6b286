"""What the API says beside its description (`openapi`): errors, sizes, prices.

Written down once more from its contract: the client has tables of its own, and a service that read those
would agree with every mistake in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Dialect = Literal["evolink", "unified"]
DIALECTS: tuple[Dialect, ...] = ("evolink", "unified")
PREFIX: dict[Dialect, str] = {"evolink": "", "unified": "/unified"}

URL_MAX_CHARS = 2_048
FILE_TYPES = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
MIME_TYPES = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}

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

SERVER_ERRORS = {
    500: ("internal_error", "Internal server error."),
    502: ("upstream_error", "The upstream replied with an error."),
    503: ("service_unavailable_error", "The service is temporarily unavailable."),
    504: ("upstream_error", "The upstream did not reply in time."),
}

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "idempotency_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


@dataclass
class ApiError(Exception):
    """The request is answered by an error envelope, the one shape in which an error leaves the service."""

    status: int
    code: str
    message: str
    param: str | None = None
    suggestion: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, *, integer_codes: bool = False) -> dict[str, Any]:
        """The envelope; `integer_codes` as on the provider's older pages: the status is the code."""
        error = {
            "code": self.status if integer_codes else self.code,
            "message": self.message,
            "type": _TYPES.get(self.status, "api_error"),
            "param": self.param,
            "fallback_suggestion": self.suggestion,
        }
        return {"error": {name: value for name, value in error.items() if value is not None}}


def invalid(message: str, param: str | None = None) -> ApiError:
    """A 400 for a request that says something wrong in the field `param`."""
    return ApiError(400, "invalid_request", message, param)


def server_error(status: int) -> ApiError:
    """One of `SERVER_ERRORS`."""
    return ApiError(status, *SERVER_ERRORS[status])


# Invented: the contract names no prices. What matters is that they differ and that they are whole numbers.
_PRICES = {"gemini-3-pro-image-preview": 12, "nano-banana-pro-beta": 10, "gemini-3.1-flash-image-preview": 6}
_PRICE_OTHERS = 4
_STEP = {"512": 0, "0.5K": 0, "1K": 1, "2K": 2, "4K": 4}
USD_PER_CREDIT = 0.01
CNY_PER_CREDIT = 0.07


def price(model: str, resolution: str) -> int:
    """What a task costs, in credits."""
    return _PRICES.get(model, _PRICE_OTHERS) + 2 * _STEP[resolution]


# At 1K every side is a multiple of 16 and the area about 1 megapixel; each step of resolution has exactly
# twice the sides of the one before, so ratios do not drift.
SIZES_1K: dict[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "1:4": (512, 2048),
    "4:1": (2048, 512),
    "1:8": (368, 2944),
    "8:1": (2944, 368),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1152),
    "4:3": (1152, 864),
    "4:5": (896, 1120),
    "5:4": (1120, 896),
    "9:16": (768, 1360),
    "16:9": (1360, 768),
    "21:9": (1568, 672),
}
_SCALE = {"512": 0.5, "0.5K": 0.5, "1K": 1, "2K": 2, "4K": 4}
_LONGEST = 8.0  # no ratio of the API goes beyond 1:8


def pixel_size(ratio: str, resolution: str) -> tuple[int, int]:
    """Width and height, in pixels."""
    return _scaled(*SIZES_1K[ratio], resolution)


def matching_size(image: tuple[int, int], resolution: str) -> tuple[int, int]:
    """The size for `match_input_image`, in pixels: the image's ratio, about the resolution's area."""
    proportion = min(max(image[0] / image[1], 1 / _LONGEST), _LONGEST)
    width = round(math.sqrt(1024 * 1024 * proportion) / 16) * 16
    return _scaled(width, round(width / proportion / 16) * 16, resolution)


def nearest_ratio(image: tuple[int, int], ratios: tuple[str, ...]) -> str:
    """The one of `ratios` that is most like an image of this width and height."""
    wanted = math.log(image[0] / image[1])
    known = [ratio for ratio in ratios if ratio in SIZES_1K]
    return min(known, key=lambda ratio: abs(math.log(SIZES_1K[ratio][0] / SIZES_1K[ratio][1]) - wanted))


def _scaled(width: int, height: int, resolution: str) -> tuple[int, int]:
    scale = _SCALE[resolution]
    return int(width * scale), int(height * scale)
