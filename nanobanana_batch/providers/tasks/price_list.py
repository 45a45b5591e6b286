"""A provider's public price list: read once, without a key, from where the profile says and nowhere else.

Contract: "Prices". What is not understood is left out and said, never guessed at: the list is other
people's text, and a limit of credits rests on what is made of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.pricing.tariff import Charge, PriceList, Role, Tariff, size_name
from nanobanana_batch.providers.profile import Address
from nanobanana_batch.providers.tasks.encoding import USER_AGENT

CNY_PER_USD = 6.8
UC_PER_CREDIT = 10_000.0
"""What `min_charge_uc` counts in; by the provider's own client."""
DEADLINE_S = 30.0
_MOST = 1e9
_MOST_MODELS = 10_000
_MOST_ENTRIES = 200
"""Of one model."""
_MOST_TEXT = 500
_UNITS = {"image": True, "images": True, "call": False, "request": False, "generation": False}
"""Units that can be counted beforehand, and whether they count images."""
_PRICE = re.compile(
    r"\$ ?(?P<low>[\d,.]{1,12})(?: ?[-\u2013\u2014~] ?\$?(?P<high>[\d,.]{1,12}))?"
    r" per (?P<unit>[a-z0-9 ]{1,30}?)(?=[^a-z0-9 ]|$)",
    re.IGNORECASE,
)
_SIZES = re.compile(r"(?<![\w.])\d+(?:\.\d+)?k(?!\w)|(?<![\w.])512(?:px)?(?![\w.])", re.IGNORECASE)
_INPUT_IMAGE = re.compile(r"\b(?:input|reference)[ _-]?images?\b|\u8f93\u5165\u56fe", re.IGNORECASE)
_SEARCH = re.compile(r"\b(?:web|image|google)[ _-]?search\b", re.IGNORECASE)
_EXTRA = re.compile(
    r"\b(?:input|reference)[ _-]?(?:text|video|audio)|\bcache|\bupload\b|\u8f93\u5165", re.IGNORECASE
)
"""Charges for what no request of ours has."""


async def read_price_list(address: Address, deadline_s: float = DEADLINE_S) -> PriceList:
    """The list that stands at an address; no redirect is followed.

    Raises:
        NoPriceList: nothing came within so many seconds, or nothing that can be understood.
    """
    from nanobanana_batch.providers.http import FreeHttp, NoReply, Timeouts
    from nanobanana_batch.providers.watch import Secret, Watch, without_links

    headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
    timeouts = Timeouts(read_s=deadline_s, free_s=deadline_s)
    http = FreeHttp(address, headers, timeouts, Watch(Secret("")))
    try:
        reply = await http.request("GET", "")
    except NoReply as error:
        raise _unreadable(address.url, without_links(str(error))) from error
    finally:
        await http.aclose()
    if reply.status != 200:
        elsewhere = ", a redirect, and none is followed" if 300 <= reply.status < 400 else ""
        raise _unreadable(address.url, f"it answered HTTP {reply.status}{elsewhere}")
    return price_list(reply.body, address.url, datetime.now(UTC))


def price_list(body: bytes, url: str, read_at: datetime) -> PriceList:
    """What a list says, from its bytes.

    Raises:
        NoPriceList: it is none, or prices no image in a way that is understood.
    """
    try:
        found = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _unreadable(url, "it is not JSON") from None
    entries = found.get("data") if isinstance(found, dict) else found
    if not isinstance(entries, list):
        raise _unreadable(url, "it is not a list of prices")
    tariffs = _tariffs(entries)
    if not any(tariff.charges for tariff in tariffs.values()):
        raise _unreadable(url, "it names no price of an image that is understood")
    return PriceList(url, read_at.isoformat(timespec="seconds"), tariffs)


def _unreadable(url: str, why: str) -> NoPriceList:
    return NoPriceList(
        f"The price list at {url} was not read: {why}.",
        hint="What was known before stays; no run needs a list.",
    )


def _tariffs(entries: list[Any]) -> dict[str, Tariff]:
    """By model; entries for one in other capitals go together."""
    names: dict[str, str] = {}
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        name = _model(entry)
        if name is not None and (len(names) < _MOST_MODELS or name.casefold() in names):
            by_model.setdefault(names.setdefault(name.casefold(), name), []).append(entry)
    return {name: _tariff(own[:_MOST_ENTRIES]) for name, own in by_model.items()}


def _tariff(entries: list[Mapping[str, Any]]) -> Tariff:
    found = [_charge(entry) for entry in entries]
    units = dict.fromkeys(unit for unit in found if isinstance(unit, str) and unit)
    return Tariff(tuple(charge for charge in found if isinstance(charge, Charge)), tuple(units))


def _model(entry: Any) -> str | None:
    """The model that an entry is of, unless it makes no images."""
    if not isinstance(entry, dict):
        return None
    name, kind = entry.get("model_name"), entry.get("model_type")
    makes_images = not isinstance(kind, str) or not kind.strip() or "image" in kind.casefold()
    is_name = isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable() and name.strip() == name
    return str(name) if is_name and makes_images else None


def _charge(entry: Mapping[str, Any]) -> Charge | str:
    """An entry as a charge, or else the unit in which nobody can count beforehand, if anybody pays it."""
    metadata, title = _metadata(entry), _text(entry.get("sku_name"))
    role = _role(metadata, title)
    if role is None:
        return ""
    usd, unit = _price(entry)
    if unit.casefold() not in _UNITS:
        return unit
    if usd is None:
        return ""
    factors = entry.get("resolution_multipliers") or metadata.get("resolution_multipliers")
    return Charge(
        role,
        usd,
        is_per_image=_UNITS[unit.casefold()],
        sizes=tuple(dict.fromkeys(size_name(size) for size in _SIZES.findall(title))),
        factors=_factors(factors),
        least_credits=(_number(entry.get("min_charge_uc")) or 0.0) / UC_PER_CREDIT,
    )


def _role(metadata: Mapping[str, Any], title: str) -> Role | None:
    """What is charged for; None for what no request of ours has."""
    role = _text(metadata.get("role")).casefold()
    if role == "input_image" or (not role and _INPUT_IMAGE.search(title)):
        return Role.INPUT_IMAGE
    if "search" in role or (not role and _SEARCH.search(title)):
        return Role.SEARCH
    if role.startswith("input") or (not role and _EXTRA.search(title)):
        return None
    return Role.OUTPUT


def _price(entry: Mapping[str, Any]) -> tuple[float | None, str]:
    """Dollars, at most, and for what unit; the note knows better than the fields."""
    noted = list(_noted(_text(entry.get("routing_note"))))
    if noted:
        known = [price for price in noted if price[1].casefold() in _UNITS]
        return max(known) if known else noted[0]
    unit = _plain(_text(entry.get("billing_rule")).removeprefix("per_")) or "an unknown unit"
    range_ = entry.get("price_range")
    bounds = (
        [_number(range_.get(name)) for name in ("min_usd", "max_usd")] if isinstance(range_, dict) else []
    )
    told = [bound for bound in bounds if bound is not None]
    if told:
        return max(told), unit
    cny = _number(entry.get("cny_price"))
    return (None if cny is None else cny / CNY_PER_USD), unit


def _noted(note: str) -> Iterator[tuple[float, str]]:
    """The prices that a text names, such as `$0.086-0.094 per image`."""
    for found in _PRICE.finditer(" ".join(note.split())):
        bounds = [_number(found["low"]), _number(found["high"])]
        told = [bound for bound in bounds if bound is not None]
        if told:
            yield max(told), found["unit"].strip()


def _factors(found: Any) -> dict[str, float]:
    """By resolution; of two spellings of one the dearer."""
    factors: dict[str, float] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        number, size = _number(value), size_name(name)
        if number and len(size) <= 20 and size.isprintable():
            factors[size] = max(number, factors.get(size, 0.0))
    return factors


def _metadata(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """It is an object, or a text that holds one."""
    found = entry.get("metadata")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    """An amount, also as text; None for what is none."""
    if isinstance(value, str):
        value = value.strip().removeprefix("$").replace(",", "")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 <= number <= _MOST else None


def _text(value: Any) -> str:
    return value[:_MOST_TEXT] if isinstance(value, str) else ""


def _plain(word: str) -> str:
    """A word of theirs that can stand on a screen."""
    return re.sub(r"[^A-Za-z0-9]+", " ", word[:30]).strip()
