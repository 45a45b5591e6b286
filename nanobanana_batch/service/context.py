"""What every endpoint shares, made once, and what it is told of one call.

A caller is known by the hash of a key, never the key.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request

from nanobanana_batch.service import data_folder
from nanobanana_batch.service.callbacks import Callbacks
from nanobanana_batch.service.contract import ApiError, Dialect
from nanobanana_batch.service.faults import FaultPlan, Outages
from nanobanana_batch.service.network import Network
from nanobanana_batch.service.options import ServiceError, ServiceOptions
from nanobanana_batch.service.render import render
from nanobanana_batch.service.store import Store
from nanobanana_batch.service.tasks import TaskRunner

_HOST_FORM = re.compile(r"[A-Za-z0-9.\-_]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")


@dataclass(slots=True)
class Context:
    """The service behind its endpoints."""

    options: ServiceOptions
    store: Store
    images: data_folder.Folder
    runner: TaskRunner
    callbacks: Callbacks
    plan: FaultPlan
    network: Network
    accounts: frozenset[str] | None  # hashes of the only keys allowed; None: any key
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, options: ServiceOptions, network: Network) -> Context:
        """Opens the data folder. Raises ServiceError where it, or the key file, cannot be used."""
        store = Store(options.data_dir, options.credits, unlimited=options.unlimited_credits)
        plan = FaultPlan(options.faults, Outages(options.outages))
        images = data_folder.Folder(options.data_dir, data_folder.IMAGES)
        images.keep_only()
        callbacks = Callbacks(store, plan, options, network=network)
        lifetime_s, count = options.link_lifetime_s, options.images
        runner = TaskRunner(store, images, render, lifetime_s, count, callbacks.look)
        accounts = _read_keys(options.key_file) if options.key_file else None
        return cls(options, store, images, runner, callbacks, plan, network, accounts)

    def account(self, request: Request) -> str:
        """Who asks. Raises ApiError: 401."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise ApiError(401, "unauthorized", "Send Authorization: Bearer KEY.")
        account = _hashed(key)
        if self.accounts is not None and account not in self.accounts:
            raise ApiError(401, "unauthorized", "The key is not valid.")
        return account


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an endpoint: who asks, by which dialect, and what."""

    request: Request
    account: str  # empty where none is asked for
    dialect: Dialect

    @property
    def base_url(self) -> str:
        """The service as the caller calls it, so that links lead where the caller can follow."""
        host = self.request.headers.get("host", "")
        if not _HOST_FORM.fullmatch(host):
            host = "{}:{}".format(*self.request.scope["server"])
        return f"{self.request.scope['scheme']}://{host}"


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
