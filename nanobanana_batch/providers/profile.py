"""A provider is a small YAML file: its address, its names for things, which key it wants; never a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urljoin, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from nanobanana_batch.catalog import Catalog, Finding, load_catalog
from nanobanana_batch.errors import ProfileError
from nanobanana_batch.model import REQUEST_FIELDS
from nanobanana_batch.provider_names import BUILT_IN, LOOPBACK
from nanobanana_batch.providers.base import Idempotency
from nanobanana_batch.providers.link_rules import LinkRules
from nanobanana_batch.providers.profile_file import Settings, moved, read_settings
from nanobanana_batch.wording import closest, counted, shown

_IN_CLEAR = "the key would travel in clear"
_KEY_GOES_TO = ("base_url", "files_url")
_FORGED = "prices could be changed on the way"
_OTHER_SERVICES = re.compile(
    r"(?i)(aws|amazon|azure|google|gcp|gcloud|gemini|vertex|openai|anthropic|claude|mistral|cohere|groq"
    r"|replicate|hf|huggingface|github|gh|gitlab|bitbucket|npm|pypi|twine|docker|kube|vault|ci|jenkins|circle"
    r"|stripe|paypal|slack|discord|telegram|twilio|sendgrid|mailgun|cloudflare|cf|digitalocean|do|heroku"
    r"|vercel|netlify|sentry|datadog|dd|newrelic|ssh|gpg|pgp|tls|ssl|django|flask|rails|jwt|session|db"
    r"|database|postgres|mysql|redis|mongo)_|.*(secret|private|password|access|signing|encryption|master)"
)
"""Variables that hold something else than a key of a provider of images, and are set on many machines."""


def _of_a_provider(variable: str) -> str:
    if _OTHER_SERVICES.match(variable):
        raise ValueError("it is another service's")
    return variable


KeyVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*KEY$"), AfterValidator(_of_a_provider)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
WireName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$")]
Route = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$")]
FileRoute = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*/\{id\}(/[A-Za-z0-9._~-]+)*$")]
FormName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
ResultPath = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*(\[\])?(\.[A-Za-z_][A-Za-z0-9_-]*(\[\])?)*$", max_length=200)
]
Query = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]+(&[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~-]+)*$")
]


class FilesForm(BaseModel):
    """How a provider's files API is asked; by default in the contract's words (section "Files")."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upload: Route = "/api/v1/files/upload/stream"
    name_field: FormName | None = "fileName"
    """What the form calls the file's name; None: it is only told with the file."""
    fields: dict[FormName, str] = {}
    """Further fields of the form, as they are sent."""
    delete: FileRoute | None = "/api/v1/files/{id}"
    quota: Route | None = "/api/v1/files/quota"


class Profile(BaseModel):
    """One provider; see `profiles/evolink.yaml` for the meaning of each line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    dialect: str = Field(min_length=1)
    embedded: bool = False
    base_url: str | None = None
    key_env: KeyVariable
    fields: dict[str, WireName | None]
    idempotency: Idempotency = Idempotency.UNPROVEN
    idempotency_lifetime_s: Positive = 86400.0
    poll_interval_s: Positive = 3.0
    link_lifetime_s: Positive = 86400.0
    reads_per_s: Positive = 10.0
    callback_field: WireName | None = None
    files_url: str | None = None
    files_api: FilesForm = FilesForm()
    result_paths: list[ResultPath] = []
    statuses: dict[str, Literal["working", "completed", "failed"]] = {}
    sync_query: Query | None = None
    links: LinkRules = LinkRules.HTTPS
    prices_url: str | None = None
    credits_per_usd: Positive | None = None
    models: dict[str, Any] = {}
    prices: dict[str, Any] = {}
    prices_as_of: date | None = None
    _file: str = PrivateAttr("")
    _catalog: Catalog | None = PrivateAttr(None)

    def wire_name(self, field: str) -> str | None:
        """What the provider calls a field of ours (dots nest), unless a model has its own name for it.

        None where it does not offer it.
        """
        return self.fields.get(field, field)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a provider is, checked: HTTPS, or HTTP on loopback."""

    url: str
    is_loopback: bool


def load_profile(name_or_file: str) -> Profile:
    """A built-in profile by name, or one from a YAML file.

    Raises:
        ProfileError: there is no such profile, or something is wrong with it; all of it is listed.
    """
    settings = read_settings(name_or_file)
    profile = _validated(settings)
    profile._file = name_or_file
    _check_names(profile, settings)
    _check_addresses(profile, settings)
    for finding in _extended(profile)[1]:
        settings.found(finding.field, finding.message, finding.allowed, finding.suggestion)
    if settings.problems:
        lines = [str(problem) for problem in settings.problems]
        how_many = counted(len(lines), "problem")
        raise ProfileError("\n".join([*lines, f"{how_many} in the profile; nothing was sent."]))
    return profile


def catalog_for(profile: Profile) -> Catalog:
    """What the provider offers: the built-in catalogue with the profile's own names, models and prices."""
    if profile._catalog is None:
        profile._catalog = _extended(profile)[0]
    return profile._catalog


def _extended(profile: Profile) -> tuple[Catalog, list[Finding]]:
    catalog, of_models = load_catalog().merged(profile.models, profile._file)
    as_of = profile.prices_as_of.isoformat() if profile.prices_as_of else ""
    catalog, of_prices = catalog.priced(profile.prices, profile.dialect, as_of)
    catalog, of_names = catalog.spoken(profile.dialect, profile.fields, profile.callback_field)
    return catalog, [*of_models, *of_prices, *of_names]


def check_address(profile: Profile, base_url: str | None) -> Address:
    """The provider's address; the key must not travel in clear.

    Raises:
        ProfileError: there is none, it is no URL, or it is plain HTTP to another machine.
    """
    url = base_url or profile.base_url or ""
    if not url:
        raise ProfileError(
            f"Provider {profile.name} has no address of its own.", hint="Give one with --base-url URL."
        )
    return _checked(url, "The provider's address")


def is_own_address(profile: Profile, base_url: str) -> bool:
    """Whether a key that is meant for the profile's provider may go there without a person's word.

    The embedded service gets no key of anybody, so that any place on this machine will do for it.
    """
    parts = _address_parts(base_url.rstrip("/"))
    if parts is None:
        return False
    if profile.embedded and parts.hostname in LOOPBACK:
        return True
    return profile.base_url is not None and base_url.rstrip("/") == profile.base_url.rstrip("/")


def moved_to(profile: Profile, address: Address) -> Profile:
    """A built-in profile at a person's own address: nobody has said of its keys what this one says."""
    if profile.idempotency is not Idempotency.HONOURED or is_own_address(profile, address.url):
        return profile
    return profile.model_copy(update={"idempotency": Idempotency.UNPROVEN})


def files_address(profile: Profile, address: Address) -> Address | None:
    """Where local files are uploaded to; None where that is not offered.

    A profile's `files_url` goes with its `base_url`: at another base URL than that, the files are there
    too, so that the key goes nowhere else than a person said.

    Raises:
        ProfileError: it is no URL, or it is plain HTTP to another machine.
    """
    if profile.files_url is None:
        return None
    files = _checked(profile.files_url, "files_url")
    is_own = profile.base_url is None or profile.base_url.rstrip("/") == address.url
    return files if is_own else address


def prices_address(profile: Profile, base_url: str | None = None) -> Address | None:
    """Where the public price list is; None where there is none, or dollars say nothing about credits.

    Like files, a list on the host of the profile's `base_url` goes with that to another one.

    Raises:
        ProfileError: it is no URL, or it is plain HTTP to another machine.
    """
    url = profile.prices_url
    if url is None or profile.credits_per_usd is None:
        return None
    if base_url is not None and profile.base_url is not None:
        url = moved(url, profile.base_url, check_address(profile, base_url).url)
    return replace(_checked(url, "prices_url", _FORGED), url=url)


def _checked(url: str, what: str, danger: str = _IN_CLEAR) -> Address:
    given, url = url, url.rstrip("/")
    parts = _address_parts(url)
    if parts is None:
        raise ProfileError(
            f"{what} cannot be used: {_fault_of(given)}.",
            hint="It is one such as https://api.example.com: a host, perhaps a port and a path.",
        )
    is_loopback = parts.hostname in LOOPBACK
    if parts.scheme == "http" and not is_loopback:
        raise ProfileError(f"{url} is plain HTTP: {danger}.", hint="Use https://.")
    # A proxy's way resolves `..` and the straight one does not: without them both lead to the same place.
    return Address(urljoin(url, parts.path).rstrip("/"), is_loopback)


def _fault_of(url: str) -> str:
    """What is wrong with an address; it is not repeated, since it may hold a key."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if "@" in rest:
        return "it holds a user name, a password or a key"
    if "?" in url or "#" in url:
        return "it has a query or a fragment"
    if not separator:
        return "it does not begin with https://"
    if scheme.lower() not in ("http", "https"):
        return "it begins with something else than https://"
    if not host:
        return "it names no host"
    return "its host or port is malformed, or its path has characters that no path has"


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


# --- what is wrong with a profile ------------------------------------------------------------------

_SECONDS = "seconds above 0, such as 3 or 0.5"
_WIRE = "a name, dots nest: model_params.web_search; or null: not offered"
_ALLOWED = {
    "name": "letters, digits, and . _ - behind the first; at most 64",
    "dialect": "evolink, unified, or one that models have an entry for",
    "embedded": "true or false",
    "base_url": "an address such as https://api.example.com",
    "files_url": "an address such as https://files.example.com, or null: not offered",
    "prices_url": "an address such as https://api.example.com/pricing, or null: no public price list",
    "credits_per_usd": "a number above 0, or null: not known",
    "key_env": "the name of an environment variable such as MY_API_KEY: it ends in KEY, and is not"
    " that of another well-known service (the key itself is never here)",
    "fields": "our name: the provider's",
    "idempotency": "honoured, unproven or ignored",
    "idempotency_lifetime_s": _SECONDS,
    "poll_interval_s": _SECONDS,
    "link_lifetime_s": _SECONDS,
    "reads_per_s": "a number above 0",
    "callback_field": _WIRE,
    "files_api": "a mapping of upload, name_field, fields, delete and quota",
    "result_paths": "a list of paths inside a task, such as pictures.href",
    "statuses": "the provider's word: working, completed or failed",
    "sync_query": "a query such as sync_upstream=true, or null: not offered",
    "links": "https (public hosts), http (also without encryption) or anywhere (also into private networks)",
    "models": "model: entry, of the form of the built-in catalogue",
    "prices": "model: credits, or model: {resolution: credits}",
    "prices_as_of": "a date such as 2026-11-21",
}
"""What each setting may be, in words; the keys are all that there are."""
_FORM_FIELD = "the name of a form's field: letters, digits, _ and -"
_ALLOWED_INSIDE = {
    "fields": _WIRE,
    "statuses": "working, completed or failed",
    "files_api.upload": "a path such as /v1/files/upload/stream",
    "files_api.name_field": f"{_FORM_FIELD}; or null: not offered",
    "files_api.fields": f"{_FORM_FIELD}, and its value",
    "files_api.delete": "a path such as /v1/files/{id}, or null: not offered",
    "files_api.quota": "a path such as /v1/files/quota, or null: not offered",
}
"""The same of what stands inside of some."""


_STAND_INS: dict[str, Any] = {"name": "x", "dialect": "evolink", "key_env": "X_KEY", "fields": {}}


def _validated(settings: Settings) -> Profile:
    """The profile; what is wrong with it is noted and left out, so that the rest can be looked at too."""
    try:
        return Profile.model_validate(settings.values)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    values = dict(settings.values)
    for fault in faults:
        _tell(fault, settings)
        key, *inner = (str(part) for part in fault["loc"])
        if inner and isinstance(values.get(key), dict):
            values[key] = {name: value for name, value in values[key].items() if name != inner[0]}
        else:
            values.pop(key, None)
    if "dialect" not in values:
        values.pop("prices", None)  # they are checked against the dialect's models
    return Profile.model_validate({**_STAND_INS, **values})


def _tell(fault: ErrorDetails, settings: Settings) -> None:
    path = ".".join(str(part) for part in fault["loc"])
    key = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        names = tuple(FilesForm.model_fields) if path.startswith("files_api.") else ("extends", *_ALLOWED)
        settings.found(path, "unknown key", names, closest(path.rpartition(".")[2], names))
        return
    inside = (_ALLOWED_INSIDE.get(".".join(path.split(".")[:depth])) for depth in (2, 1))
    allowed = ((next(filter(None, inside), None) if "." in path else None) or _ALLOWED[key],)
    if fault["type"] == "missing":
        settings.found(path, "is missing; give it, or begin with `extends: evolink`", allowed)
    else:
        # What stands in the place of the key's name may be the key.
        given = "this" if key == "key_env" else _given(fault["input"])
        settings.found(path, f"{given} is not allowed", allowed)


def _given(value: object) -> str:
    if isinstance(value, str):
        return shown(value)
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"


def _check_names(profile: Profile, settings: Settings) -> None:
    """Each field has a name of its own: of two with one name, one would be sent and both be paid for."""
    for name in profile.fields:
        if name not in REQUEST_FIELDS:
            settings.found(f"fields.{name}", "unknown field", REQUEST_FIELDS, closest(name, REQUEST_FIELDS))
    for name in ("model", "prompt"):
        if profile.wire_name(name) is None:
            settings.found(f"fields.{name}", "cannot be left out")
    taken = {f"fields.{name}": profile.wire_name(name) for name in REQUEST_FIELDS}
    paths = {**taken, "callback_field": profile.callback_field}
    wires = [(path, wire) for path, wire in paths.items() if wire is not None]
    for number, (path, wire) in enumerate(wires):
        for other, earlier in wires[:number]:
            if f"{wire}.".startswith(f"{earlier}.") or f"{earlier}.".startswith(f"{wire}."):
                settings.found(path, f"{shown(wire)} collides with {other} ({shown(earlier)})")


def _check_addresses(profile: Profile, settings: Settings) -> None:
    # Files that go to the base URL have no address of their own.
    files_url = None if profile.files_url == profile.base_url else profile.files_url
    places = {"files_url": files_url, "base_url": profile.base_url, "prices_url": profile.prices_url}
    for path, url in places.items():
        try:
            if url is not None:
                _checked(url, "this", _FORGED if path == "prices_url" else _IN_CLEAR)
        except ProfileError as error:
            settings.found(path, str(error).removesuffix("."))
            if path == "base_url":
                return  # prices may have come along with it, and be wrong for no reason of their own
        else:
            if url is not None and path in _KEY_GOES_TO:
                _check_whose_key(profile, path, url, settings)


def _check_whose_key(profile: Profile, path: str, url: str, settings: Settings) -> None:
    """The key of a built-in provider goes to that provider alone, whatever a profile from elsewhere says."""
    if settings.file in BUILT_IN:
        return
    owners = [
        built_in
        for name in BUILT_IN
        if (built_in := read_settings(name).values)["key_env"] == profile.key_env
    ]
    if owners and not any(
        _has_same_host(url, owner.get(place)) for owner in owners for place in _KEY_GOES_TO
    ):
        settings.found(
            path,
            f"the key in {profile.key_env} is not for {shown(url)}; name a variable of its own"
            " (`key_env: ..._API_KEY`), or give the address in the command (`--base-url`)",
        )


def _has_same_host(url: str, other: object) -> bool:
    """And the same port."""
    return isinstance(other, str) and urlsplit(url).netloc.lower() == urlsplit(other).netloc.lower()
