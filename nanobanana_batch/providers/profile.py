"""A provider is a small YAML file: its address, its names for things, which key it wants; never a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nanobanana_batch.errors import ProfileError
from nanobanana_batch.model import REQUEST_FIELDS
from nanobanana_batch.providers.base import Idempotency

BUILT_IN = ("evolink", "unified", "local", "local-unified")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

Seconds = Annotated[float, Field(gt=0)]


class Profile(BaseModel):
    """One provider; see `profiles/evolink.yaml` for the meaning of each line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    dialect: str
    embedded: bool = False
    base_url: str | None = None
    key_env: str
    fields: dict[str, str | None]
    idempotency: Idempotency = Idempotency.UNPROVEN
    idempotency_lifetime_s: Seconds = 86400.0
    poll_interval_s: Seconds = 3.0
    link_lifetime_s: Seconds = 86400.0

    def wire_name(self, field: str) -> str | None:
        """What the provider calls a field of ours (dots nest); None where it does not offer it."""
        return self.fields.get(field, field)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a provider is, checked: HTTPS, or HTTP on loopback."""

    url: str
    is_loopback: bool


def load_profile(name_or_file: str) -> Profile:
    """A built-in profile by name, or one from a YAML file.

    Raises:
        ProfileError: there is no such profile, or it is malformed.
    """
    raw = _with_parent(_read(name_or_file), seen=(name_or_file,))
    try:
        profile = Profile.model_validate(raw)
    except ValidationError as error:
        raise ProfileError(f"Profile {name_or_file}: {_first_fault(error)}.") from error
    unknown = [field for field in profile.fields if field not in REQUEST_FIELDS]
    if unknown:
        raise ProfileError(
            f"Profile {name_or_file}: fields: {unknown[0]!r} is none of {', '.join(REQUEST_FIELDS)}."
        )
    return profile


def check_address(profile: Profile, base_url: str | None) -> Address:
    """The provider's address; the key must not travel in clear.

    Raises:
        ProfileError: there is none, it is no URL, or it is plain HTTP to another machine.
    """
    url = (base_url or profile.base_url or "").rstrip("/")
    if not url:
        raise ProfileError(
            f"Provider {profile.name} has no address of its own.", hint="Give one with --base-url URL."
        )
    parts = _address_parts(url)
    if parts is None:
        raise ProfileError(
            "The provider's address is not one such as https://api.example.com"
            " (a host, perhaps a port and a path; no name, key or query)."
        )
    is_loopback = parts.hostname in _LOOPBACK
    if parts.scheme == "http" and not is_loopback:
        raise ProfileError(f"{url} is plain HTTP: the key would travel in clear.", hint="Use https://.")
    return Address(url, is_loopback)


def _address_parts(url: str) -> SplitResult | None:
    """None where a request could go elsewhere than it seems, or could not be sent at all."""
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        return None
    is_plain = re.fullmatch(r"(?i:https?)://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~%/-]*)?", url) is not None
    return parts if is_plain and has_port and parts.hostname else None


def identity(profile: Profile, address: Address) -> str:
    """By what name tasks of a provider are known: its profile and host.

    On loopback the port does not count: a test service that comes back on another one is the same.
    """
    if profile.embedded and address.is_loopback:
        return profile.name
    parts = urlsplit(address.url)
    place = parts.hostname if address.is_loopback else f"{parts.netloc}{parts.path}"
    return f"{profile.name}@{place}"


def is_practice(name: str) -> bool:
    """Whether a provider of this name (see `identity`) is a service on this machine, which costs nothing."""
    _, at, host = name.rpartition("@")
    return not at or host in _LOOPBACK


def _read(name_or_file: str) -> dict[str, Any]:
    try:
        if name_or_file in BUILT_IN:
            folder = resources.files("nanobanana_batch.providers") / "profiles"
            text = (folder / f"{name_or_file}.yaml").read_text(encoding="utf-8")
        elif name_or_file.endswith((".yaml", ".yml")):
            text = Path(name_or_file).read_text(encoding="utf-8")
        else:
            known = ", ".join(BUILT_IN)
            raise ProfileError(
                f"There is no provider {name_or_file!r}.", hint=f"Known: {known}, or a .yaml file."
            )
        raw = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProfileError(f"Profile {name_or_file} cannot be read: {error}.") from error
    if not isinstance(raw, dict):
        raise ProfileError(f"Profile {name_or_file} is not a mapping of settings.")
    return raw


def _with_parent(raw: Mapping[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    settings = dict(raw)
    parent = settings.pop("extends", None)
    if parent is None:
        return settings
    if parent in seen or len(seen) > 8:
        raise ProfileError(f"Profile {seen[0]} extends itself.")
    inherited = _with_parent(_read(str(parent)), (*seen, str(parent)))
    own, theirs = settings.get("fields") or {}, inherited.get("fields") or {}
    if isinstance(own, dict) and isinstance(theirs, dict):
        settings["fields"] = {**theirs, **own}
    return {**inherited, **settings}


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}"
