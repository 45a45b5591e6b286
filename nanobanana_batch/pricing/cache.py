"""The price list that was read last, in a file of the user's cache; one that cannot be used is only missed.

The file is private and written beside its name first, so that a reader sees a whole one, and that a link in
its place is replaced and never followed.
"""

from __future__ import annotations

import json
import math
import os
import stat
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.pricing.book import REFRESH
from nanobanana_batch.pricing.tariff import Charge, PriceList, Role, Tariff
from nanobanana_batch.user_cache import cache_folder

_WHAT = "nanobanana-batch price list"
_VERSION = 1
_MAX_BYTES = 16 << 20


def cache_file(profile: str, url: str) -> Path | None:
    """Where the list of a profile is kept; None where this user has no cache at all."""
    base = cache_folder()
    name = quote(f"prices-{profile}@{urlsplit(url).netloc}", safe="@")
    return None if base is None else base / f"{name}.json"


def kept_list(file: Path | None, url: str) -> tuple[PriceList | None, str]:
    """The list that was kept, or none, and what a person should know of a file that cannot be used."""
    if file is None:
        return None, ""
    try:
        found = _from_json(json.loads(_text(file)))
    except FileNotFoundError:
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
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(file, json.dumps(_as_json(prices), indent=1).encode())
    except OSError as error:
        raise NoPriceList(
            f"The price list was read and cannot be kept in {file}: {error.strerror}."
        ) from error


def _ignored(file: Path, why: str) -> str:
    return f"the price list in {file} is not used: {why}; {REFRESH} reads it anew"


def _replace(file: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(".part", ".", file.parent)  # readable by this user only
    try:
        with open(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _text(file: Path) -> str:
    """The content of an ordinary file of this user's; nothing else is waited for or believed."""
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise NoPriceList("it is no file")
        if found.st_uid not in (os.geteuid(), 0):
            raise NoPriceList("it belongs to another user")
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise NoPriceList(f"it is larger than {_MAX_BYTES >> 20} MiB")
    return data.decode("utf-8")


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
