"""Object storage (S3, Google Cloud Storage) as a folder of whole files, by fsspec.

An object is there with all its bytes or not at all: a file is sent from this disk, in parts where it is
large, and shows under its name when the last of them has arrived. Whatever a library says is told by its kind
only, since addresses, signatures and accounts stand in such texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from nanobanana_batch.errors import RunStopped, UsageError
from nanobanana_batch.wording import shown

SCHEMES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}
"""By what an address begins with: the library, and the extra that brings it."""
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


class Storage:
    """One address, such as `s3://bucket/name`."""

    def __init__(self, address: str) -> None:
        """Look at the address; nothing is asked yet.

        Raises:
            UsageError: it is none that an export can go to, or the library for it is not installed.
        """
        scheme, _, path = address.partition("://")
        path = path.strip("/")
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise UsageError(f"--out {shown(scheme)}://...: exports go to a path, or to {known}.")
        bucket, _, name = path.partition("/")
        if "@" in bucket or any(sign in path for sign in "?#"):
            raise UsageError(
                f"--out {scheme}://... has more in it than a bucket and a name.",
                hint="Keys belong in the environment, as the library reads them.",
            )
        if not bucket or not name or any(part in ("", ".", "..") for part in path.split("/")):
            raise UsageError(f"--out {shown(address)} has to be {scheme}://BUCKET/NAME.")
        self.address = f"{scheme}://{path}"
        self.name = path.rpartition("/")[2]
        self._path = path
        self._parts = _IN_PARTS.get(scheme, {})
        self._files = _filesystem(scheme)
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
        except Exception as error:
            is_without_keys = type(error).__name__ in _WITHOUT_KEYS
            if not self._has_sent and (is_without_keys or isinstance(error, _REFUSED)):
                raise UsageError(
                    f"{self.address} could not {doing}: {_kind(error)}; nothing was sent.",
                    hint="Keys, a profile and the region come from where the library looks: its environment"
                    " variables (AWS_…, GOOGLE_…) and files.",
                ) from error
            raise RunStopped(
                f"{self.address} could not {doing}: {_kind(error)}.",
                hint="See to it, then run the same command again: what has arrived is not sent twice.",
            ) from error


def _filesystem(scheme: str) -> Any:
    library, extra = SCHEMES[scheme]
    try:
        import_module(library)
        fsspec = import_module("fsspec")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Exports to {scheme}:// need {error.name}.",
            hint=f"`pip install 'nanobanana-batch[{extra}]'` installs it.",
        ) from error
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)


def _kind(error: BaseException) -> str:
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if type(error).__name__ in _WITHOUT_KEYS:
        return "there are no keys for it (AWS_ACCESS_KEY_ID and the like, or a profile)"
    cause: Any = error.__cause__ or error
    response = getattr(cause, "response", None)  # errors of connections have one, too, which is None
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return f"{type(cause).__name__} {code}" if code else type(cause).__name__
