"""From what a person says about a provider to an open connection; the key is checked before it is used."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobanana_batch import defaults
from nanobanana_batch.errors import FolderRefused, KeyProblem, ProfileError, ServiceFailed
from nanobanana_batch.files.folder import SERVICE_FOLDER
from nanobanana_batch.pricing.book import PriceBook, listed_prices
from nanobanana_batch.provider_names import BUILT_IN, is_practice

if TYPE_CHECKING:
    from nanobanana_batch.catalog import ModelRules
    from nanobanana_batch.pricing.earlier import Kind, Paid
    from nanobanana_batch.providers.base import Observer, Provider
    from nanobanana_batch.providers.profile import Address, Profile

    Connect = Callable[[Path, Observer | None], AbstractAsyncContextManager[Provider]]

CONNECTION = "connection"
"""Name under which the state remembers how the provider was reached last."""
LAST = ""
"""In the place of a provider's name: that of the last run on the folder."""
_LOCAL_KEY = "embedded-service"
_MOST_KEY_FILE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Connection:
    """Which provider, where, and where the key is."""

    provider: str = defaults.PROVIDER
    """A built-in profile's name, or a profile file; `LAST` for that of the folder's last run."""
    base_url: str | None = None
    key_file: Path | None = None
    debug: bool = False
    """Whether the observer is told what replies say."""

    def as_text(self) -> str:
        """For the state, so that later commands find the same provider; a key is not in it."""
        return json.dumps({"provider": _in_full(self.provider), "base_url": self.base_url})

    def is_embedded(self, profile: Profile) -> bool:
        """Whether what this profile describes is started here for each command; nobody pays for it."""
        return profile.embedded and self.base_url is None


def remembered(text: str | None, now: Connection) -> Connection:
    """The provider that `as_text` wrote down, unless another is given now; the key is that of now.

    A folder may be somebody else's. Of itself it leads to a built-in provider at its own address and nowhere
    else: a profile file or an address decides where a key goes, so a person names it.

    Raises:
        FolderRefused: it remembers a profile file or another address, which was not given now.
    """
    last, last_url = _known(text)
    provider = now.provider or last or defaults.PROVIDER
    is_file = not is_built_in(provider)
    missing = [f"--provider {shlex.quote(provider)}"] if is_file and not now.provider else []
    base_url = now.base_url
    if last_url and not base_url and _in_full(provider) == last:
        base_url = last_url
        if missing or not _leads_to(last_url, provider):
            missing.append(f"--base-url {shlex.quote(last_url)}")
    if missing:
        where = " at ".join(filter(None, [provider, last_url]))
        raise FolderRefused(
            f"The last run in this folder went to {where}, and a folder does not decide where your key goes;"
            " nothing was sent.",
            hint=f"If that is right, say so: {' '.join(missing)}",
        )
    return replace(now, provider=provider, base_url=base_url)


def _leads_to(url: str, provider: str) -> bool:
    from nanobanana_batch.providers.profile import is_own_address, load_profile

    return is_own_address(load_profile(provider), url)


def way_to(there: Connection, text: str | None) -> tuple[str, ...]:
    """The options by which a command on a folder reaches a provider, if it does not do so without.

    `text`: what `as_text` wrote down in the folder.
    """
    key = () if there.key_file is None else ("--key-file", str(there.key_file))
    try:
        led = remembered(text, Connection(LAST))
    except (FolderRefused, ProfileError):
        led = None
    if led is not None and led.as_text() == there.as_text():
        return key
    return named(there)


def named(there: Connection) -> tuple[str, ...]:
    """The options that name a provider."""
    url = () if there.base_url is None else ("--base-url", there.base_url)
    key = () if there.key_file is None else ("--key-file", str(there.key_file))
    return ("--provider", there.provider, *url, *key)


def built_in() -> list[str]:
    """The names of all providers that came with the program."""
    return sorted(BUILT_IN)


def is_built_in(provider: object) -> bool:
    """Whether it leads to a provider that came with the program, at its own address."""
    return isinstance(provider, str) and provider in BUILT_IN


def is_embedded(provider: str) -> bool:
    """Whether it is the service that comes with the program, where no address is given.

    Raises:
        ProfileError: there is no such profile, or something is wrong with it.
    """
    from nanobanana_batch.providers.profile import load_profile

    return load_profile(provider).embedded


def _in_full(provider: str) -> str:
    """A file's name as it is understood from anywhere."""
    path = Path(provider)
    return str(path.absolute()) if path.suffix in (".yaml", ".yml") else provider


def _known(text: str | None) -> tuple[str, str]:
    """Provider and address of the last run, empty where they are not known."""
    try:
        known: Any = json.loads(text or "{}")
        found = known.get("provider"), known.get("base_url")
    except (ValueError, AttributeError, RecursionError):
        return "", ""
    provider, url = (value if isinstance(value, str) else "" for value in found)
    return provider, url


@dataclass(frozen=True, slots=True)
class CheckedConnection:
    """A checked connection that is not open yet."""

    dialect: str
    name: str
    """Profile and host, as the state names the provider of a task."""
    is_embedded: bool
    offers_callbacks: bool
    connect: Connect
    """Opens the provider for the work on an output folder, and tells the observer of every request."""
    prices: PriceBook = field(default_factory=PriceBook)
    """What requests cost, as far as that is known before any reply."""
    key_goes: str = ""
    """Where the key goes, in words, if that is not a built-in provider's own address."""
    account: str = ""
    """A mark of the key; empty where it was not read."""
    connection: Connection = field(default_factory=Connection)
    """What was said of it."""


def prepare(
    connection: Connection, submits_at_once: int, *, needs_key: bool = True, or_else: str = ""
) -> CheckedConnection:
    """Check profile, address and key now; connect later, and only if there is something to do.

    `submits_at_once`: for how many paid requests at a time there will be connections. Without `needs_key`
    that is only found out, and the line is never connected. `or_else` is what a person
    without a key can do.

    Raises:
        ProfileError: there is no such profile, or it has no usable address.
        KeyProblem: there is no key, or it cannot be one.
        BadSurroundings: the environment's proxies or certificates cannot be used.
    """
    from nanobanana_batch.providers.profile import check_address, identity, load_profile, moved_to
    from nanobanana_batch.providers.proxies import named_proxy
    from nanobanana_batch.providers.trust import check_key_log, tls_context

    check_key_log()
    from nanobanana_batch.providers.tasks.api import account_mark

    profile = load_profile(connection.provider)
    calls_back, debug = profile.callback_field is not None, connection.debug
    prices = price_book(profile, connection.base_url)
    if connection.is_embedded(profile):

        def embedded(folder: Path, observer: Observer | None) -> AbstractAsyncContextManager[Provider]:
            return _open_embedded(profile, folder, submits_at_once, observer, debug=debug)

        mark = account_mark(_LOCAL_KEY)
        line = CheckedConnection(
            profile.dialect, profile.name, True, calls_back, embedded, prices, account=mark
        )
        return replace(line, connection=connection)
    address = check_address(profile, connection.base_url)
    if is_built_in(connection.provider):
        profile = moved_to(profile, address)
    key = api_key(connection, profile, or_else) if needs_key else _key_at_hand(connection, profile)
    if not address.is_loopback:
        tls_context()
        named_proxy("https")

    def connect(folder: Path, observer: Observer | None) -> AbstractAsyncContextManager[Provider]:
        return _open_api(profile, address, key, submits_at_once, observer, debug=debug)

    goes = _where_the_key_goes(connection, profile, address)
    name = identity(profile, address)
    mark = account_mark(key) if key else ""
    line = CheckedConnection(profile.dialect, name, False, calls_back, connect, prices, goes, mark)
    return replace(line, connection=connection)


def _where_the_key_goes(connection: Connection, profile: Profile, address: Address) -> str:
    from nanobanana_batch.providers.profile import files_address, is_own_address

    if is_built_in(connection.provider) and is_own_address(profile, address.url):
        return ""
    files = files_address(profile, address)
    places = dict.fromkeys(place.url for place in (address, files) if place is not None)
    key = profile.key_env if connection.key_file is None else str(connection.key_file)
    return f"The key in {key} goes to {' and '.join(places)}."


def price_book(profile: Profile, base_url: str | None) -> PriceBook:
    """What is known of a provider's prices on this machine: its profile's, and the list that was read last.

    Raises:
        ProfileError: the address of its price list cannot be used.
    """
    from nanobanana_batch.pricing.cache import cache_file, kept_list
    from nanobanana_batch.providers.profile import catalog_for, prices_address

    catalog, dialect = catalog_for(profile), profile.dialect
    book = PriceBook(
        of_profile=lambda request: catalog.price(request, dialect),
        profile_day=profile.prices_as_of.isoformat() if profile.prices_as_of else "",
        credits_per_usd=profile.credits_per_usd,
        earlier=_paid_earlier(profile, base_url),
    )
    address = prices_address(profile, base_url)
    if address is None or profile.credits_per_usd is None:
        return book
    found, note = kept_list(cache_file(profile.name, address.url), address.url)
    if found is None:
        return replace(book, note=note)
    of_list = listed_prices(found, catalog, dialect, profile.credits_per_usd)
    return replace(book, of_list=of_list, list_day=found.day)


def _paid_earlier(profile: Profile, base_url: str | None) -> Mapping[Kind, Paid]:
    """A service on this machine costs nothing, and has no prices to remember."""
    from nanobanana_batch.pricing.earlier import earlier_prices
    from nanobanana_batch.providers.profile import check_address, identity

    try:
        name = identity(profile, check_address(profile, base_url))
    except ProfileError:
        return {}
    return {} if is_practice(name) else earlier_prices(name)


def provider_name(connection: Connection) -> str:
    """As `CheckedConnection.name`, for whoever sends nothing and so needs no key.

    Raises:
        ProfileError: there is no such profile, or it has no usable address.
    """
    from nanobanana_batch.providers.profile import check_address, identity, load_profile

    profile = load_profile(connection.provider)
    if connection.is_embedded(profile):
        return profile.name
    return identity(profile, check_address(profile, connection.base_url))


def known_models(provider: str | None) -> list[ModelRules]:
    """What a provider offers, its profile's own and changed models first; by default all that is built in.

    Raises:
        ProfileError: there is no such profile, or something is wrong with it.
    """
    from nanobanana_batch.catalog import load_catalog
    from nanobanana_batch.providers.profile import catalog_for, load_profile

    catalog = load_catalog()
    if provider is not None:
        profile = load_profile(provider)
        offered = catalog_for(profile).models(profile.dialect)
        return sorted(offered, key=lambda rules: catalog.rules(rules.name, rules.dialect) == rules)
    return [rules for dialect in catalog.dialects for rules in catalog.models(dialect)]


def api_key(connection: Connection, profile: Profile, or_else: str = "") -> str:
    """The API key, from the file that the person names or else from the environment.

    Raises:
        KeyProblem: there is none, or it cannot be one; it is never in the text.
    """
    from nanobanana_batch.providers.tasks.api import check_key

    if connection.key_file is not None:
        try:
            text = _beginning_of(connection.key_file)
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(
                f"The key file {connection.key_file} cannot be read ({type(error).__name__})."
            ) from None
        return check_key(text.rstrip("\r\n"), str(connection.key_file))
    key = os.environ.get(profile.key_env, "")
    if not key:
        ways = [f"set {profile.key_env} to yours", *filter(None, [or_else])]
        raise KeyProblem(f"There is no API key: {', '.join(ways)}.")
    return check_key(key, profile.key_env)


def _key_at_hand(connection: Connection, profile: Profile) -> str:
    """The key where it can be read any number of times; empty where not."""
    if connection.key_file is not None and not connection.key_file.is_file():
        return ""
    try:
        return api_key(connection, profile)
    except KeyProblem:
        return ""


def _beginning_of(file: Path) -> str:
    """A key file may be a pipe (`<(pass show key)`), so it is not looked at; a device would never end."""
    with file.open("rb") as stream:
        return stream.read(_MOST_KEY_FILE_BYTES).decode("utf-8")


@asynccontextmanager
async def _open_api(
    profile: Profile,
    address: Address,
    key: str,
    submits_at_once: int,
    observer: Observer | None,
    *,
    debug: bool,
) -> AsyncIterator[Provider]:
    from nanobanana_batch.providers.tasks.api import open_task_api

    async with open_task_api(
        profile, address, key, submits_at_once=submits_at_once, observer=observer, debug=debug
    ) as provider:
        yield provider


@asynccontextmanager
async def _open_embedded(
    profile: Profile, folder: Path, submits_at_once: int, observer: Observer | None, *, debug: bool
) -> AsyncIterator[Provider]:
    """The embedded service for the length of the block; its data stays in the folder for a resumed run."""
    from nanobanana_batch.providers.profile import check_address
    from nanobanana_batch.service.embedded import EmbeddedService
    from nanobanana_batch.service.options import ServiceError, ServiceOptions

    try:
        with EmbeddedService(ServiceOptions(data_dir=folder / SERVICE_FOLDER)) as service:
            url = service.base_url + ("/unified" if profile.dialect == "unified" else "")
            address = check_address(profile, url)
            async with _open_api(
                profile, address, _LOCAL_KEY, submits_at_once, observer, debug=debug
            ) as provider:
                yield provider
    except ServiceError as error:
        raise ServiceFailed(str(error)) from error
