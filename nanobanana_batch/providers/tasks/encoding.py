"""What a paid request looks like on the wire: pure, so that a person can see it before it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import NotOffered
from nanobanana_batch.providers.profile import Profile, catalog_for

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
        NotOffered: the request gives what the profile does not offer. The check of the manifest comes before
            and names row and field; a profile may have changed since.
        ValueError: the profile knows no callbacks.
    """
    wire: dict[str, Any] = {}
    for name, value in _written(request, profile):
        _put(wire, name, value)
    if callback_url is not None:
        if profile.callback_field is None:
            raise ValueError(f"{profile.name} does not offer callbacks")
        _put(wire, profile.callback_field, callback_url)
    return json.dumps(wire, ensure_ascii=False, separators=(",", ":")).encode()


def _written(request: Request, profile: Profile) -> Iterator[tuple[str, object]]:
    """Everything that was asked for, by its name on the wire."""
    catalog, given = catalog_for(profile), request.given()
    given.pop("extra", None)
    for name in dict.fromkeys(("model", "prompt", *given)):
        wire = catalog.wire(request.model, profile.dialect, name)
        try:
            if wire is None:
                raise KeyError(name)
            yield from wire.written(given[name]).items()
        except KeyError:
            raise NotOffered(f"{profile.name} does not offer {name} {given[name]!r}") from None
    rules = catalog.rules(request.model, profile.dialect)
    for name, value in request.extra:
        if rules is None or name not in rules.extra:
            raise NotOffered(f"{profile.name} knows no setting {name} of {request.model}")
        yield rules.extra[name].field, value


def _put(wire: dict[str, Any], dotted: str, value: object) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        wire = wire.setdefault(parent, {})
    wire[last] = value
