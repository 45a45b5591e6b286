"""Looks at all that a run needs, before one is started: sends only free requests, and changes nothing.

The one thing that it leaves behind is the provider's public price list, in the user's cache. Each line says
what was found; a problem also says what to do about it.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.errors import BadSurroundings, NanobananaError, ProfileError
from nanobanana_batch.files import filesystem
from nanobanana_batch.files.descriptors import most_open
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder, find, refuse_amnesia, was_worked_on
from nanobanana_batch.files.lock import is_held
from nanobanana_batch.jobs.connection import Connection, api_key, prepare, price_book
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.wording import amount

if TYPE_CHECKING:
    from nanobanana_batch.providers.base import AccountRead, Exchange
    from nanobanana_batch.providers.profile import Profile

_PACKAGE = "nanobanana-batch"
_CLOCK_S = 60.0
_PRICES_S = 10.0
_LITTLE_BYTES = 1 << 30
_TOO_LITTLE_BYTES = 72 << 20
"""What a run keeps free, and one image (engine/limits/space.py)."""


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was looked at."""

    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """0 when nothing stands in the way of a run."""
        return int(any(check.verdict is Verdict.PROBLEM for check in self.checks))


def examine(connection: Connection, out: Path, defaults: Sequence[str] = ()) -> Diagnosis:
    """Look at the program, the provider and the output folder.

    `defaults`: what a run would be made with though nobody says it on the command line, and why.
    """
    in_force = _ok("defaults", "; ".join(defaults) or "the program's own")
    return Diagnosis((*_program(), in_force, *_surroundings(), *_provider(connection), *_folder(out)))


def _ok(name: str, found: str) -> Check:
    return Check(name, Verdict.OK, found)


def _problem(name: str, error: NanobananaError, advice: str) -> Check:
    return Check(name, Verdict.PROBLEM, error.message, error.hint or advice)


# --- the program -----------------------------------------------------------------------------------


def _program() -> Iterator[Check]:
    yield _ok("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    found, missing = [], []
    for requirement in metadata.requires(_PACKAGE) or []:
        library = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if "extra ==" in requirement:
            continue
        try:
            found.append(f"{library} {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            missing.append(library)
    yield _ok("version", f"{_PACKAGE} {metadata.version(_PACKAGE)}")
    if missing:
        advice = f"Install them: pip install {' '.join(missing)}"
        yield Check("libraries", Verdict.PROBLEM, f"missing: {', '.join(missing)}", advice)
    else:
        yield _ok("libraries", ", ".join(found))


# --- what the process is started with --------------------------------------------------------------


def _surroundings() -> Iterator[Check]:
    yield _open_files()
    yield _locale()
    yield _home()
    yield _temporary()


def _open_files() -> Check:
    from nanobanana_batch.engine.limits.descriptors import fitted
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.tally import Tally

    said: list[str] = []
    try:
        fitted(Settings(), Tally(announce=said.append))
    except BadSurroundings as error:
        return _problem("open files", error, "")
    if said:
        return Check("open files", Verdict.NOTE, said[0], "Allow more with `ulimit -n 1024`.")
    return _ok("open files", f"up to {most_open(0):,} at once")


def _locale() -> Check:
    encoding = sys.getfilesystemencoding()
    if encoding.lower() == "utf-8":
        return _ok("locale", "files may have any name")
    found = f"files can only have names of the encoding {encoding}"
    return Check("locale", Verdict.NOTE, found, "Set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8.")


def _home() -> Check:
    """Nothing that a run needs stands there."""
    try:
        home = Path.home()
        is_usable = home.is_dir() and os.access(home, os.W_OK | os.X_OK)
    except (RuntimeError, OSError):
        return Check(
            "home", Verdict.NOTE, "there is none", "A run does without; set HOME if it is a mistake."
        )
    if not is_usable:
        advice = "A run does without; set HOME if it is a mistake."
        return Check("home", Verdict.NOTE, f"{home} cannot be written to", advice)
    return _ok("home", str(home))


def _temporary() -> Check:
    try:
        place = tempfile.gettempdir()
    except OSError as error:
        advice = (
            "Set TMPDIR to a folder that is writable: long manifests are kept there while they are checked."
        )
        return Check("temporary files", Verdict.PROBLEM, str(error.strerror or error), advice)
    wanted = os.environ.get("TMPDIR")
    if wanted and Path(wanted).resolve() != Path(place).resolve():
        found = f"{wanted} (TMPDIR) cannot be written to; they go to {place}"
        return Check("temporary files", Verdict.NOTE, found, "Correct TMPDIR, or unset it.")
    return _ok("temporary files", place)


# --- the provider ----------------------------------------------------------------------------------


def _provider(connection: Connection) -> Iterator[Check]:
    from nanobanana_batch.providers.profile import load_profile

    try:
        profile = load_profile(connection.provider)
    except NanobananaError as error:
        yield _problem("profile", error, "Correct the file, or name another with --provider.")
        return
    yield _ok(
        "profile",
        profile.name
        if profile.name == profile.dialect
        else f"{profile.name}, a provider like {profile.dialect}",
    )
    if connection.is_embedded(profile):
        yield _ok("address", "a service on this machine, started for each run; it costs nothing")
        yield from _account(connection, profile)
        return
    checks = [_address(profile, connection), _key(profile, connection), *_way(profile, connection)]
    yield from checks
    if all(check.verdict is Verdict.OK for check in checks):
        yield from _account(connection, profile)
    yield from _prices(connection, profile)


def _address(profile: Profile, connection: Connection) -> Check:
    from nanobanana_batch.providers.profile import check_address, files_address

    try:
        address = check_address(profile, connection.base_url)
        files = files_address(profile, address)
    except NanobananaError as error:
        return _problem("address", error, "Correct --base-url, or the profile.")
    return _ok("address", f"{address.url}, files: {files.url if files else 'not offered'}")


def _way(profile: Profile, connection: Connection) -> Iterator[Check]:
    """How the provider is reached, and how it is recognised."""
    from nanobanana_batch.providers.profile import check_address
    from nanobanana_batch.providers.proxies import proxy_for
    from nanobanana_batch.providers.trust import authorities, tls_context

    try:
        address = check_address(profile, connection.base_url)
    except NanobananaError:
        return  # told already
    try:
        yield _ok("proxy", str(proxy_for(address.url) or "none for this address"))
    except BadSurroundings as error:
        yield _problem("proxy", error, "")
    if address.is_loopback:
        return
    try:
        tls_context()
        yield _ok("certificates", f"those of {authorities()}")
    except BadSurroundings as error:
        yield _problem("certificates", error, "")


def _key(profile: Profile, connection: Connection) -> Check:
    try:
        api_key(connection, profile)
    except NanobananaError as error:
        return _problem("key", error, f"Put the key into {profile.key_env}, or into a file for --key-file.")
    return _ok("key", f"from {connection.key_file or profile.key_env}")


def _prices(connection: Connection, profile: Profile) -> Iterator[Check]:
    """What the estimates rest on; the public list is read anew if it can be, and nothing waits for it."""
    from nanobanana_batch.jobs.prices import refresh
    from nanobanana_batch.providers.profile import prices_address

    try:
        if prices_address(profile, connection.base_url) is None:
            return
        found = refresh(connection, _PRICES_S)
        yield _ok("prices", f"the public list was read, models in it: {len(found.tariffs):,}")
    except ProfileError:
        return  # told with the address
    except NanobananaError as error:
        day = price_book(profile, connection.base_url).list_day
        used = f"The list of {day} is used." if day else "Estimates begin with a folder's first replies."
        yield _ok("prices", f"{error.message} {used}")


def _account(connection: Connection, profile: Profile) -> Iterator[Check]:
    """What the provider answers to a free question."""
    try:
        read, asked = _ask(connection)
    except NanobananaError as error:
        yield _problem("provider", error, "Look into the log that it names.")
        return
    if not read.is_up:
        advice = "Is the address right, and is there a way to it (network, proxy)? Else try again later."
        yield Check("provider", Verdict.PROBLEM, f"no usable answer: {read.failure}", advice)
        return
    yield _ok("provider", f"answers, {asked[0].ms:.0f} ms with connecting")
    if read.rejected:
        advice = f"Put a key of this provider into {connection.key_file or profile.key_env}."
        yield Check("account", Verdict.PROBLEM, f"the key is not accepted: {read.rejected}", advice)
    else:
        yield _credits(read)
    yield _clock(read)


def _ask(connection: Connection) -> tuple[AccountRead, list[Exchange]]:
    import anyio

    asked: list[Exchange] = []

    async def ask(folder: Path) -> AccountRead:
        async with prepare(connection, 1).connect(folder, asked.append) as provider:
            return await provider.read_account()

    try:
        with tempfile.TemporaryDirectory() as folder:
            return anyio.run(ask, Path(folder)), asked
    except OSError as error:
        raise BadSurroundings(f"There is no place for temporary files: {error.strerror or error}.") from error


def _credits(read: AccountRead) -> Check:
    left = read.remaining_credits
    if left is not None and left <= 0:
        return Check("account", Verdict.PROBLEM, "the key is accepted, no credits are left", "Buy some.")
    if read.failure:
        advice = "Look in your account."
        return Check("account", Verdict.NOTE, f"the credits are not told: {read.failure}", advice)
    if left is None:
        told = "without limit" if read.is_unlimited else "not told"
        return _ok("account", f"the key is accepted, credits: {told}")
    return _ok("account", f"the key is accepted, credits left: {amount(left)}")


def _clock(read: AccountRead) -> Check:
    if read.provider_time is None:
        return _ok("clock", "the provider does not tell its time")
    ahead_s = time.time() - read.provider_time
    if abs(ahead_s) > _CLOCK_S:
        found = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the provider's"
        return Check("clock", Verdict.NOTE, found, "Set it, so that times in logs and states are right.")
    return _ok("clock", f"within {_CLOCK_S:.0f} s of the provider's")


# --- the output folder -----------------------------------------------------------------------------


def _folder(path: Path) -> Iterator[Check]:
    yield from (_writable("folder", path), _space("disk", path))
    if path.exists() and not path.is_dir():
        return  # told already
    try:
        folder = find(path)
        refuse_amnesia(folder, worked_on=was_worked_on(path))
    except NanobananaError as error:
        yield _problem("state", error, "Bring back what is missing, or give another folder with --out.")
        return
    if folder.state_folder != path:
        yield from (_writable("state folder", folder.state_folder), _space("state disk", folder.state_folder))
    yield _lock(folder)
    yield _file_system(folder)
    yield _state(folder)


def _writable(name: str, path: Path) -> Check:
    """By writing into it: permissions are not the only thing that can forbid that."""
    place = _existing(path)
    where = str(path) if place == path else f"{path} will be made in {place}"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        advice = "Make it writable for this user, or give another folder with --out."
        return Check(name, Verdict.PROBLEM, f"{place} cannot be written to: {error.strerror}", advice)
    return _ok(name, where)


def _space(name: str, path: Path) -> Check:
    place = _existing(path)
    free_bytes = Disk().free_bytes(place)
    found = f"{free_bytes / (1 << 30):.1f} GiB free in {place}"
    if free_bytes < _TOO_LITTLE_BYTES:
        return Check(name, Verdict.PROBLEM, found, "A run would not start: make room, or use --out.")
    if free_bytes < _LITTLE_BYTES:
        return Check(name, Verdict.NOTE, found, "A 4K image may take 20 MiB: count whether that is enough.")
    return _ok(name, found)


def _lock(folder: Folder) -> Check:
    if is_held(folder.path) or is_held(folder.state_folder):
        advice = f"{FolderCommands(folder.path).status()} shows how it stands."
        return Check("lock", Verdict.NOTE, "a run is going on in this folder", advice)
    return _ok("lock", "no run is going on")


def _file_system(folder: Folder) -> Check:
    kind = filesystem.type_of(folder.state_folder)
    if kind in filesystem.NETWORK:
        found = f"{folder.state_folder} is on a network file system ({kind})"
        advice = "Put the state on a local disk with --state-dir DIR; images may stay where they are."
        return Check("file system", Verdict.PROBLEM, found, advice)
    if not kind:
        advice = "If it is shared with other machines, use --state-dir DIR."
        return Check("file system", Verdict.NOTE, "its type cannot be told", advice)
    return _ok("file system", kind)


def _state(folder: Folder) -> Check:
    if not folder.state.exists():
        return _ok("state", "none yet")
    try:
        with open_reader(folder.state) as reader:
            version = reader.checked_version()
    except NanobananaError as error:
        return _problem("state", error, "Bring back a good copy: it knows what was paid for.")
    return _ok("state", f"in order, version {version}")


def _existing(path: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return path if place == path.absolute() else place
