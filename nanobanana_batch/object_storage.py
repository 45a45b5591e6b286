"""Object storage (S3, Google Cloud Storage) as a folder of whole files, by fsspec.

An object is there with all its bytes or not at all: a file is sent from this disk, in parts where it is
large, and shows under its name when the last of them has arrived. Whatever a library says is told by its kind
only, since addresses, signatures and accounts stand in such texts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from nanobanana_batch.errors import RunStopped, UsageError
from nanobanana_batch.wording import shown

SCHEMES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}
"""By what an address begins with: the library, and the extra that brings it."""
_GOOGLE_MORE = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
_PIECE_BYTES = 4 << 20
_IN_PARTS = {"s3": {"chunksize": 16 << 20, "max_concurrency": 4}}
"""So much of a file is in memory at a time."""
_WORDS = (
    (PermissionError, "access is denied"),
    (FileNotFoundError, "there is no such bucket"),
    (TimeoutError, "it does not answer"),
)
_REFUSED = (PermissionError, FileNotFoundError)
"""What is so each time: nobody need try again before something else was said."""
_WITHOUT_KEYS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")


@dataclass(frozen=True, slots=True)
class Use:
    """What storage is used for: `option` gives its address, `what` goes there; as a person is told."""

    option: str
    what: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the library of each scheme is told more."""
    tries: int | None = None
    """So often s3fs sends what has failed; None: as often as it likes, for a minute or so."""


EXPORTS = Use("--out", "exports")


class Storage:
    """One address, such as `s3://bucket/name`."""

    def __init__(self, address: str, use: Use = EXPORTS) -> None:
        """Look at the address; nothing is asked yet.

        Raises:
            UsageError: it is none that such things can go to, or the library for it is not installed.
        """
        scheme, _, path = address.partition("://")
        path = path.strip("/")
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise UsageError(f"{use.option} {shown(scheme)}://...: {use.what} go to a path, or to {known}.")
        bucket, _, name = path.partition("/")
        if "@" in bucket or any(sign in path for sign in "?#"):
            raise UsageError(
                f"{use.option} {scheme}://... has more in it than a bucket and a name.",
                hint="Keys belong in the environment, as the library reads them.",
            )
        if not bucket or not name or any(part in ("", ".", "..") for part in path.split("/")):
            raise UsageError(f"{use.option} {shown(address)} has to be {scheme}://BUCKET/NAME.")
        self.address = f"{scheme}://{path}"
        self.name = path.rpartition("/")[2]
        self._path = path
        self._parts = _IN_PARTS.get(scheme, {})
        self._files = _filesystem(scheme, use)
        self._has_sent = False

    def sizes(self) -> dict[str, int]:
        """All that is there: names, with `/`, and bytes.

        Raises:
            RunStopped: it cannot be asked.
        """
        with self._failing("be listed"):
            try:
                found = self._files.find(self._path, detail=True)
            except FileNotFoundError:
                return {}
        start = f"{self._path}/"
        names = {path.lstrip("/"): facts for path, facts in found.items()}
        return {
            path.removeprefix(start): int(facts["size"])
            for path, facts in names.items()
            if path.startswith(start)
        }

    def read(self, name: str) -> bytes | None:
        """A small object; None: there is none.

        Raises:
            RunStopped: it cannot be asked.
        """
        with self._failing(f"give {name}"):
            try:
                data: bytes = self._files.cat_file(f"{self._path}/{name}")
            except FileNotFoundError:
                return None
            return data

    def pieces(self, name: str, size: int) -> Iterator[bytes]:
        """An object of any size, so much of it at a time.

        Raises:
            RunStopped: it cannot be had, or has another size than was said.
        """
        with self._failing(f"give {name}"):
            came = 0
            with self._files.open(f"{self._path}/{name}", "rb", cache_type="none") as file:
                while piece := file.read(_PIECE_BYTES):
                    came += len(piece)
                    yield piece
            if came != size:
                raise OSError("it has another size than was listed")

    def send(self, name: str, file: Path) -> None:
        """A file of this disk, under this name.

        Raises:
            RunStopped: it was not taken.
        """
        with self._failing(f"take {name}"):
            self._files.put_file(str(file), f"{self._path}/{name}", **self._parts)
            if self._files.info(f"{self._path}/{name}")["size"] != file.stat().st_size:
                raise OSError("it has another size than was sent")
            self._has_sent = True

    def write(self, name: str, data: bytes) -> None:
        """A small object.

        Raises:
            RunStopped: it was not taken.
        """
        with self._failing(f"take {name}"):
            self._files.pipe_file(f"{self._path}/{name}", data)
            self._has_sent = True

    def create(self, name: str, data: bytes) -> bool:
        """A small object under a name that nothing has; False, and nothing changes, where something has it.

        Raises:
            RunStopped: it was not taken, or nobody knows whether it was.
            UsageError: the storage knows no such condition.
        """
        with self._failing(f"take {name}"):
            try:
                self._files.pipe_file(f"{self._path}/{name}", data, mode="create")
            except Exception as error:
                if _is_taken(error):
                    return False
                if _code(error) == "NotImplemented":
                    raise no_conditions(self.address) from error
                raise
            self._has_sent = True
        return True

    def remove(self, name: str) -> None:
        """An object that need not be there.

        Raises:
            RunStopped: it cannot be removed.
        """
        with self._failing(f"remove {name}"):
            try:
                self._files.rm_file(f"{self._path}/{name}")
            except FileNotFoundError:
                return

    @contextmanager
    def _failing(self, doing: str) -> Iterator[None]:
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            is_without_keys = type(error).__name__ in _WITHOUT_KEYS
            if not self._has_sent and (
                is_without_keys or isinstance(error, _REFUSED) or _is_forbidden(error)
            ):
                raise UsageError(
                    f"{self.address} could not {doing}: {_kind(error)}; nothing was sent.",
                    hint="Keys, a profile and the region come from where the library looks: its environment"
                    " variables (AWS_…, GOOGLE_…) and files.",
                ) from error
            raise RunStopped(
                f"{self.address} could not {doing}: {_kind(error)}.",
                hint="See to it, then run the same command again: what has arrived is not sent twice.",
            ) from error


def no_conditions(address: str) -> UsageError:
    """Where a name can be given twice, two machines would not see each other, and pay twice."""
    return UsageError(
        f"{address} does not keep a file that was to be written once from being written over: two machines"
        " could not see each other there, and would pay twice. Nothing was sent.",
        hint="Give a --journal in storage that knows conditional writes (If-None-Match).",
    )


def _filesystem(scheme: str, use: Use) -> Any:
    library, extra = SCHEMES[scheme]
    os.environ.setdefault(_GOOGLE_MORE, "false")  # else each bucket is asked for over gRPC, too
    logging.getLogger(library).addHandler(logging.NullHandler())  # it is told by us, without addresses
    try:
        import_module(library)
        fsspec = import_module("fsspec")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{use.what.capitalize()} to {scheme}:// need {error.name}.",
            hint=f"`pip install 'nanobanana-batch[{extra}]'` installs it.",
        ) from error
    told = use.settings.get(scheme, {})
    files = fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **told)
    if use.tries is not None:
        files.retries = use.tries
    return files


def _is_taken(error: Exception) -> bool:
    """Whether a storage has refused a name that it has; s3fs knows that only by a word that AWS says."""
    return isinstance(error, FileExistsError) or _code(error) == "PreconditionFailed"


def _is_forbidden(error: Exception) -> bool:
    """Google's library tells a refusal of keys by a text alone."""
    return type(error) is OSError and str(error).startswith("Forbidden")


def _code(error: BaseException) -> str:
    """That the storage has answered with; empty: none."""
    if isinstance(code := getattr(error, "code", None), int | str):
        return str(code)
    response = getattr(error.__cause__ or error, "response", None)  # errors of connections have None there
    return str(response.get("Error", {}).get("Code") or "") if isinstance(response, dict) else ""


def _kind(error: Exception) -> str:
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if _is_forbidden(error):
        return "access is denied"
    if type(error).__name__ in _WITHOUT_KEYS:
        return "there are no keys for it (AWS_ACCESS_KEY_ID and the like, or a profile)"
    return f"{type(error.__cause__ or error).__name__} {_code(error)}".strip()
