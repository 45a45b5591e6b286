"""Small pictures, each made once: a file is named by the content that it was made of.

What cannot be shown is said, and stops nothing: files are a stranger's, broken, changed or gone.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nanobanana_batch.errors import FolderRefused
from nanobanana_batch.files.disk import as_disk_failure
from nanobanana_batch.files.plain import open_input, open_own

if TYPE_CHECKING:
    import PIL.Image

LONGEST_SIDE = 384
"""Pixels; part of the place of each file, so that another size is another cache."""
MOST_PIXELS = 128 << 20
"""Of an original; above that opening it would take a gigabyte."""
_FORMATS = ("PNG", "JPEG", "WEBP")
"""What a run saves, and what a provider takes; Pillow reads formats that start programs."""
_QUALITY, _EFFORT = 78, 2
_MOST_PROFILE_BYTES = 4096
_SHARD, _NAME = re.compile(r"[0-9a-f]{2}", re.ASCII), re.compile(r"[0-9a-f]{64}\.webp", re.ASCII)
_HEAD = 12
"""Bytes of a WebP file that say how long it is."""


@dataclass(frozen=True, slots=True)
class Thumb:
    """What has become of one."""

    key: str | None
    """The SHA-256 of what it shows, by which its file is called; None: there is none."""
    is_new: bool = False
    problem: str = ""
    """Why there is none."""


class Thumbs:
    """Those of one gallery; any thread may ask for one."""

    def __init__(self, gallery: Path) -> None:
        self._parent = gallery / "thumbs"
        self._folder = self._parent / str(LONGEST_SIDE)
        self._drawing = [threading.Lock() for _ in range(256)]

    def file(self, key: str) -> Path:
        """Where that of this content is."""
        return self._folder / key[:2] / f"{key}.webp"

    def of(self, file: Path, sha256: str | None) -> Thumb:
        """That of a picture of an output folder; `sha256` if its content is known beyond doubt.

        Raises:
            DiskFailed: it cannot be saved.
            FolderRefused: a link stands where thumbnails belong.
        """
        if sha256 is not None and self._has(sha256):
            return Thumb(sha256)
        return self._of(lambda: open_own(file), None)

    def of_source(self, file: Path, sha256: str) -> Thumb:
        """That of a picture that a person named, wherever it is, if it still has this content.

        Raises:
            DiskFailed: it cannot be saved.
            FolderRefused: a link stands where thumbnails belong.
        """
        return self._of(lambda: open_input(file), sha256)

    def _of(self, opening: Callable[[], int], wanted: str | None) -> Thumb:
        try:
            with os.fdopen(opening(), "rb") as opened:
                key = hashlib.file_digest(opened, "sha256").hexdigest()
                if wanted not in (None, key):
                    return Thumb(None, problem="the file was changed")
                return self._drawn_once(opened, key)
        except FileNotFoundError:
            return Thumb(None, problem="the file is gone")
        except OSError as error:
            return Thumb(None, problem=f"the file cannot be read: {error.strerror or error}")

    def _drawn_once(self, file: BinaryIO, key: str) -> Thumb:
        """Who asks for the same at the same time waits for the first."""
        with self._drawing[int(key[:2], 16)]:
            if self._has(key):
                return Thumb(key)
            file.seek(0)
            drawn = _tried(file)
            if isinstance(drawn, str):
                return Thumb(None, problem=f"this is no image that can be shown: {drawn}")
            self._save(self.file(key), drawn)
            return Thumb(key, is_new=True)

    def keep_only(self, keys: Container[bytes]) -> int:
        """Remove those of other content, and of other sizes; says how many. Nothing else is touched."""
        removed = 0
        for size in _folders(self._parent, re.compile(r"[0-9]{1,4}", re.ASCII)):
            for shard in _folders(size, _SHARD):
                for name in os.listdir(shard):
                    is_thumb = _NAME.fullmatch(name) is not None
                    is_left_over = name.endswith(".part") and name.startswith(".")
                    is_kept = is_thumb and size == self._folder and bytes.fromhex(name[:64]) in keys
                    if (is_thumb and not is_kept) or is_left_over:
                        (shard / name).unlink(missing_ok=True)
                        removed += is_thumb
                with suppress(OSError):
                    shard.rmdir()
            with suppress(OSError):
                size.rmdir()
        return removed

    def _has(self, key: str) -> bool:
        """Whether a whole file is there: a power cut may have left half of one."""
        try:
            with os.fdopen(open_own(self.file(key)), "rb") as file:
                head, size = file.read(_HEAD), os.fstat(file.fileno()).st_size
        except OSError:
            return False
        return head[:4] == b"RIFF" and head[8:] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 == size

    def _save(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            for folder in (self._parent, self._folder, path.parent):
                folder.mkdir(exist_ok=True)
                if folder.is_symlink():
                    raise FolderRefused(f"{folder} is a link; nothing was written there.")
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise as_disk_failure(error, f"saving the thumbnail {path.name}") from error


@contextmanager
def bombs_refused() -> Iterator[None]:
    """For the length of the work: what unfolds to more than a sensible image is an error, not a warning."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _folders(parent: Path, name: re.Pattern[str]) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in list(os.scandir(parent)):
            if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _tried(file: BinaryIO) -> bytes | str:
    """A small picture, or why there is none: whatever a decoder says of a stranger's bytes."""
    from PIL import UnidentifiedImageError

    try:
        return _drawn(file)
    except UnidentifiedImageError:
        return "it is neither PNG nor JPEG nor WebP"
    except Exception as error:
        return str(error) or type(error).__name__


def _drawn(file: BinaryIO) -> bytes:
    from PIL import Image, ImageOps

    side = (LONGEST_SIDE, LONGEST_SIDE)
    with Image.open(file, formats=_FORMATS) as opened:
        opened.draft("RGB", side)  # a JPEG is unfolded no larger than needed
        image = _in_colour(opened)
        image.thumbnail(side, reducing_gap=2.0)
        upright = ImageOps.exif_transpose(image)
        profile = opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA") else None
    out = BytesIO()
    kept = profile if profile and len(profile) <= _MOST_PROFILE_BYTES else b""
    upright.save(out, "WEBP", quality=_QUALITY, method=_EFFORT, icc_profile=kept, exif=b"", xmp=b"")
    return out.getvalue()


def _in_colour(image: PIL.Image.Image) -> PIL.Image.Image:
    """As WebP knows colours; of 16 bits the upper 8."""
    if image.mode in ("RGB", "RGBA"):
        image.load()
        return image
    if image.mode.startswith(("I", "F")):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    has_alpha = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")
