"""The price list that was read last, in the user's cache; a file that cannot be used is only missed."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.pricing.book import REFRESH
from nanobanana_batch.pricing.tariff import Charge, PriceList, Role, Tariff
from nanobanana_batch.pricing.user_file import own_text, replace_whole, user_file

_WHAT = "nanobanana-batch price list"
_VERSION = 1
_MAX_BYTES = 16 << 20


def cache_file(profile: str, url: str) -> Path | None:
    """Where the list of a profile is kept; None where this user has no cache at all."""
    name = quote(f"prices-{profile}@{urlsplit(url).netloc}", safe="@")
    return user_file("XDG_CACHE_HOME", ".cache", f"{name}.json")


def kept_list(file: Path | None, url: str) -> tuple[PriceList | None, str]:
    """The list that was kept, or none, and what a person should know of a file that cannot be used."""
    if file is None:
        return None, ""
    try:
        found = _from_json(json.loads(own_text(file, _MAX_BYTES)))
    except (FileNotFoundError, NotADirectoryError):  # HOME=/dev/null is how some say that there is none
        return None, ""
    except NoPriceList as error:
        return None, _ignored(file, error.message)
    except OSError as error:
        return None, _ignored(file, f"it cannot be read ({error.strerror})")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, _ignored(file, "it is damaged")
    if found.url != url:
        return None, _ignored(file, "it was read from elsewhere")
    return found, ""


def keep(prices: PriceList, file: Path | None) -> None:
    """Put a list in the place of the one before.

    Raises:
        NoPriceList: there is no place for it; the one before stays.
    """
    if file is None:
        raise NoPriceList(
            "The price list was read and cannot be kept: neither HOME nor XDG_CACHE_HOME names a folder."
        )
    try:
        replace_whole(file, json.dumps(_as_json(prices), indent=1).encode())
    except OSError as error:
        raise NoPriceList(
            f"The price list was read and cannot be kept in {file}: {error.strerror}."
        ) from error


def _ignored(file: Path, why: str) -> str:
    return f"the price list in {file} is not used: {why}; {REFRESH} reads it anew"


def _as_json(prices: PriceList) -> dict[str, Any]:
    models = {
        name: {"charges": [_charge_as_json(charge) for charge in tariff.charges], "unpriced": tariff.unpriced}
        for name, tariff in prices.tariffs.items()
    }
    return {
        "what": _WHAT,
        "version": _VERSION,
        "url": prices.url,
        "read_at": prices.read_at,
        "models": models,
    }


def _charge_as_json(charge: Charge) -> dict[str, Any]:
    return {name: getattr(charge, name) for name in charge.__slots__}


def _from_json(found: Any) -> PriceList:
    if found["what"] != _WHAT:
        raise NoPriceList("it is something else")
    if found["version"] != _VERSION:
        raise NoPriceList(f"another version of this program wrote it (version {found['version']!r:.20})")
    tariffs = {str(name): _tariff(entry) for name, entry in found["models"].items()}
    read_at = datetime.fromisoformat(found["read_at"])
    return PriceList(str(found["url"]), read_at.isoformat(), tariffs)


def _tariff(entry: Any) -> Tariff:
    charges = tuple(_charge(**charge) for charge in entry["charges"])
    return Tariff(charges, tuple(map(str, entry["unpriced"])))


def _charge(
    *, role: str, usd: Any, is_per_image: bool, sizes: Any, factors: Any, least_credits: Any
) -> Charge:
    return Charge(
        Role(role),
        _amount(usd),
        bool(is_per_image),
        tuple(map(str, sizes)),
        {str(size): _amount(factor) for size, factor in factors.items()},
        _amount(least_credits),
    )


def _amount(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{number} is no amount")
    return number
