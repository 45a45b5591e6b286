"""Where a journal is kept: a folder that several machines see, or object storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from nanobanana_batch.errors import RunStopped, UsageError, system_words
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.plain import OWN_FILE, OWN_FOLDER, open_own
from nanobanana_batch.object_storage import Storage, Use

_ANSWER_S = 15
"""A request that is not answered for so long is sent again, under the same name."""
JOURNALS = Use(
    "--journal",
    "journals",
    {
        "s3": {
            "config_kwargs": {
                "connect_timeout": 5,
                "read_timeout": _ANSWER_S,
                "retries": {"mode": "standard", "total_max_attempts": 2},
            }
        },
        "gs": {"requests_timeout": _ANSWER_S},
    },
    tries=1,
)
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)


class Place(Protocol):
    """Holds small files that are written once and never changed."""

    address: str
    """As a person gives it, and as it is remembered."""
    pauses_s: tuple[float, ...]
    """Before each further try of who only waits; none where trying again does not help."""

    def names(self) -> list[str]:
        """Of all files there, in no order.

        Raises:
            NanobananaError: it cannot be asked.
        """

    def read(self, name: str) -> bytes | None:
        """A whole file; None: there is none.

        Raises:
            NanobananaError: it cannot be asked.
        """

    def create(self, name: str, data: bytes) -> bool:
        """A file that survives when this returns True; False where the name was taken: then nothing changed.

        Raises:
            NanobananaError: nobody knows whether it was written.
        """


class SharedFolder:
    """A folder of a disk that outlives the machine: a network file system, a volume.

    A name is given to a whole file by a hard link, which fails where the name is taken: also over NFS, where
    an exclusive open is not to be relied on everywhere, and neither is appending.
    """

    pauses_s: tuple[float, ...] = ()

    def __init__(self, path: Path, disk: Disk) -> None:
        self.address = str(path.absolute())
        self._path = path
        self._disk = disk
        self._made = 0

    def names(self) -> list[str]:
        """See `Place`."""
        with self._failing("be listed"):
            try:
                return [name for name in os.listdir(self._path) if not name.startswith(".")]
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        with self._failing(f"give {name}"):
            try:
                with os.fdopen(open_own(self._path / name), "rb") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def create(self, name: str, data: bytes) -> bool:
        """See `Place`."""
        with self._failing(f"take {name}"):
            self._disk.make_folder(self._path, OWN_FOLDER)
            whole = self._written(data)
            try:
                is_created = self._named(whole, self._path / name)
            finally:
                self._disk.remove(whole)
            if is_created:
                self._disk.sync_folder(self._path)
            return is_created

    def _written(self, data: bytes) -> Path:
        self._made += 1
        path = self._path / f".{os.uname().nodename}-{os.getpid()}-{id(self)}-{self._made}.part"
        fd = self._disk.create(path)
        try:
            self._disk.write(fd, data)
            os.fchmod(fd, OWN_FILE)
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)
        return path

    def _named(self, whole: Path, name: Path) -> bool:
        try:
            os.link(whole, name)
        except FileExistsError:
            # Over NFS the reply may have been lost, and the repeat of the request finds the name taken.
            return os.stat(whole).st_nlink == 2
        return True

    @contextmanager
    def _failing(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunStopped(f"{self.address} could not {doing}: {system_words(error)}.") from error


class ObjectStorage:
    """`s3://` or `gs://`; a name is given by a request that the storage refuses where the name is taken."""

    pauses_s: tuple[float, ...] = _PAUSES_S

    def __init__(self, address: str) -> None:
        self._storage = Storage(address, JOURNALS)
        self.address = self._storage.address

    def names(self) -> list[str]:
        """See `Place`."""
        return list(self._storage.sizes())

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        return self._storage.read(name)

    def create(self, name: str, data: bytes) -> bool:
        """See `Place`."""
        return self._storage.create(name, data)


def place_of(address: str, disk: Disk) -> Place:
    """The place that `--journal` names.

    Raises:
        UsageError: it is no address, or what reaches it is not installed.
    """
    if not address or "\0" in address:
        raise UsageError("--journal has to be a folder, or s3://BUCKET/NAME.")
    if "://" in address:
        return ObjectStorage(address)
    return SharedFolder(Path(address), disk)
