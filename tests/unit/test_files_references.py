"""Local reference images: what counts as one, and that each is read once for as long as it stays as it is."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest
from PIL import Image as Picture

from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.files import references
from nanobanana_batch.files.references import References, read_reference, stamp_of

LIMIT = 20_000_000


def drawn(kind: str, shade: int = 90) -> bytes:
    """A small real image of a type."""
    buffer = io.BytesIO()
    Picture.new("RGB", (9, 7), (shade, 20, 30)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_the_type_comes_from_the_bytes(tmp_path: Path, kind: str, media_type: str) -> None:
    """A wrong ending does not matter."""
    data = drawn(kind)
    path = tmp_path / "photo.txt"
    path.write_bytes(data)
    found = read_reference(path, LIMIT)
    assert (found.media_type, found.size_bytes) == (media_type, len(data))
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.stamp == stamp_of(path)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "empty"),
        (drawn("GIF"), "it is a GIF"),
        (drawn("BMP"), "not a PNG, JPEG or WebP"),
        (drawn("PNG")[:-9], "cut off"),
        (drawn("JPEG")[:-2], "cut off"),
        (b"<!doctype html><p>not found", "a web page"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
    ],
)
def test_what_is_no_whole_image_is_refused(tmp_path: Path, data: bytes, part: str) -> None:
    """By its own structure, as a download is."""
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(ImageRejected, match=part):
        read_reference(path, LIMIT)
    with pytest.raises(ImageRejected, match=part):
        References().look(path, LIMIT)


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    """And nobody waits for a pipe that no one writes to."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(drawn("PNG"))
    cases = {
        "no such file": tmp_path / "gone.png",
        "there is no such file": tmp_path / "file" / "x.png",
        "a folder": tmp_path,
        "no regular file": tmp_path / "pipe",
        "no such name": tmp_path / "a\0b",
        "cannot be read": tmp_path / ("long" * 100),
    }
    for part, path in cases.items():
        for look in (read_reference, References().look):
            with pytest.raises(ImageRejected, match=part):
                look(path, LIMIT)


def test_a_file_may_be_as_large_as_allowed_and_no_larger(tmp_path: Path) -> None:
    """The size decides before anything is read, also for a file that is known already."""
    path, data = tmp_path / "x.png", drawn("PNG")
    path.write_bytes(data)
    shelf = References()
    assert shelf.look(path, len(data)).size_bytes == len(data)
    for look in (read_reference, shelf.look):
        with pytest.raises(ImageRejected, match=f"at most {len(data) - 1} are allowed"):
            look(path, len(data) - 1)


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    """People keep their pictures elsewhere."""
    (tmp_path / "real.png").write_bytes(drawn("PNG"))
    (tmp_path / "link.png").symlink_to("real.png")
    real, link = (read_reference(tmp_path / f"{name}.png", LIMIT) for name in ("real", "link"))
    assert real == link


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were read."""
    seen: list[Path] = []

    def counted(path: Path, limit_bytes: int) -> references.Reference:
        seen.append(path)
        return read_reference(path, limit_bytes)

    monkeypatch.setattr(references, "read_reference", counted)
    return seen


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, reads: list[Path]) -> None:
    """Also a wrong one; and a change that keeps size and time is seen."""
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(drawn("PNG", 10))
    bad.write_bytes(b"nothing")
    shelf = References()
    for _ in range(5):
        first = shelf.look(good, LIMIT)
        with pytest.raises(ImageRejected):
            shelf.look(bad, LIMIT)
    assert reads == [good, bad]
    before = good.stat()
    good.write_bytes(drawn("PNG", 11))
    os.utime(good, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert good.stat().st_size == before.st_size
    assert shelf.look(good, LIMIT).sha256 != first.sha256


def test_what_is_remembered_is_bounded(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a million files does not fill the memory."""
    monkeypatch.setattr(references, "_REMEMBERED", 3)
    shelf = References()
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(drawn("PNG", number))
    for number in (*range(10), *range(9, -1, -1)):
        shelf.look(tmp_path / f"{number}.png", LIMIT)
    assert 10 + 7 <= len(reads) < 10 + 10
