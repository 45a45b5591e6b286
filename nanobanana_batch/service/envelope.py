"""An error leaves the service in one shape only, whoever raised it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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

SERVER_ERRORS = {
    500: ("internal_error", "Internal server error."),
    502: ("upstream_error", "The upstream replied with an error."),
    503: ("service_unavailable_error", "The service is temporarily unavailable."),
    504: ("upstream_error", "The upstream did not reply in time."),
}


@dataclass
class ApiError(Exception):
    """The request is answered by an error envelope."""

    status: int
    code: str
    message: str
    param: str | None = None
    suggestion: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, *, integer_codes: bool = False) -> dict[str, Any]:
        error: dict[str, Any] = {
            "code": self.status if integer_codes else self.code,
            "message": self.message,
            "type": _TYPES.get(self.status, "api_error"),
        }
        if self.param is not None:
            error["param"] = self.param
        if self.suggestion is not None:
            error["fallback_suggestion"] = self.suggestion
        return {"error": error}


def invalid(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, "invalid_request", message, param)


def server_error(status: int) -> ApiError:
    return ApiError(status, *SERVER_ERRORS[status])
