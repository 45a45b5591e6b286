"""What every endpoint shares, made once; and a caller is known by the hash of a key, never the key."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nanobanana_batch.service.callbacks import Callbacks
from nanobanana_batch.service.envelope import ApiError
from nanobanana_batch.service.faults import FaultPlan
from nanobanana_batch.service.images import ImageFolder
from nanobanana_batch.service.network import Network
from nanobanana_batch.service.options import ServiceError, ServiceOptions
from nanobanana_batch.service.outages import Outages
from nanobanana_batch.service.render import PlaceholderRenderer
from nanobanana_batch.service.store import Store
from nanobanana_batch.service.tasks import TaskRunner

_HOST_FORM = re.compile(r"[A-Za-z0-9.\-_]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class Context:
    options: ServiceOptions
    store: Store
    images: ImageFolder
    runner: TaskRunner
    callbacks: Callbacks
    faults: FaultPlan
    outages: Outages
    accounts: frozenset[str] | None  # hashes of the only keys allowed; None: any key
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, options: ServiceOptions, network: Network) -> Context:
        store = Store(options.data_dir, options.credits, unlimited=options.unlimited_credits)
        faults = FaultPlan(options.faults)
        images = ImageFolder(options.data_dir)
        callbacks = Callbacks(
            store,
            faults,
            options.base_url,
            allow_loopback=options.allow_loopback_callbacks,
            network=network,
        )
        lifetime_s = options.link_lifetime_s
        runner = TaskRunner(store, images, PlaceholderRenderer(), lifetime_s, callbacks.look)
        accounts = _read_keys(options.key_file) if options.key_file else None
        return cls(options, store, images, runner, callbacks, faults, Outages(options.outages), accounts)

    def account(self, request: Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise ApiError(401, "unauthorized", "Send Authorization: Bearer KEY.")
        account = _hashed(key)
        if self.accounts is not None and account not in self.accounts:
            raise ApiError(401, "unauthorized", "The key is not valid.")
        return account


def _hashed(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _read_keys(key_file: Path) -> frozenset[str]:
    try:
        lines = key_file.read_text("utf-8").splitlines()
    except OSError as exc:
        raise ServiceError(f"cannot read the key file {key_file}: {exc.strerror}") from exc
    keys = frozenset(_hashed(line.strip()) for line in lines if line.strip())
    if not keys:
        raise ServiceError(f"the key file {key_file} holds no key")
    return keys


async def read_body(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "request_too_large_error", f"The body is larger than {limit} bytes.")


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encode(value), status, dict(headers or {}), "application/json")


def error_reply(error: ApiError, options: ServiceOptions) -> Response:
    return reply(error.body(integer_codes=options.integer_codes), error.status, error.headers)


def base_url(request: Request) -> str:
    """The service as the caller calls it, so that links lead where the caller can follow."""
    host = request.headers.get("host", "")
    if not _HOST_FORM.fullmatch(host):
        host = "{}:{}".format(*request.scope["server"])
    return f"{request.scope['scheme']}://{host}"


def switched_off(path: str) -> ApiError:
    return ApiError(404, "not_found", f"No such path: {path}")
