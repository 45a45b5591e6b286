"""What a paid request looks like on the wire: pure, so that a person can see it before it is sent."""

from __future__ import annotations

import json
from typing import Any

from nanobanana_batch.model import Request
from nanobanana_batch.providers.profile import Profile

SUBMIT_ROUTE = "/v1/images/generations"
"""Contract: "Submit"."""
USER_AGENT = "nanobanana-batch"


def account_headers(key: str) -> dict[str, str]:
    """What goes with every request of an account."""
    return {"Authorization": f"Bearer {key}", "User-Agent": USER_AGENT}


def submit_headers(idempotency_key: str) -> dict[str, str]:
    """What goes with a submit besides."""
    return {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}


def encode(request: Request, profile: Profile, callback_url: str | None = None) -> bytes:
    """The JSON body in the provider's words.

    Raises:
        ValueError: the request gives a field that the profile does not offer; the catalogue check
            comes before and names row and field.
    """
    wire: dict[str, Any] = {}
    given = request.given()
    for name in ("model", "prompt", *given):
        wire_name = profile.wire_name(name)
        if wire_name is None:
            raise ValueError(f"{profile.name} does not offer {name}")
        _put(wire, wire_name, given[name])
    if callback_url is not None:
        if profile.callback_field is None:
            raise ValueError(f"{profile.name} does not offer callbacks")
        _put(wire, profile.callback_field, callback_url)
    return json.dumps(wire, ensure_ascii=False, separators=(",", ":")).encode()


def _put(wire: dict[str, Any], dotted: str, value: object) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        wire = wire.setdefault(parent, {})
    wire[last] = value
