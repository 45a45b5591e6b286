"""A list that was read is there whole or not at all; a file that cannot be used is told and missed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.pricing.cache import cache_file, keep, kept_list
from nanobanana_batch.pricing.tariff import Charge, PriceList, Role, Tariff

URL = "https://api.example.com/pricing"
CHARGES = (
    Charge(Role.OUTPUT, 0.094, factors={"1K": 1.0, "4K": 1.5}, least_credits=2.0),
    Charge(Role.OUTPUT, 0.141, sizes=("4K",), is_per_image=False),
    Charge(Role.INPUT_IMAGE, 0.0005),
)
PRICES = PriceList(
    URL,
    "2026-11-26T12:00:00+00:00",
    {"m": Tariff(CHARGES), "t": Tariff((), ("1M tokens",))},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a list is kept; nothing is there yet."""
    return tmp_path / "cache" / "nanobanana-batch" / "prices-x.json"


def test_a_list_comes_back_as_it_was(file: Path) -> None:
    """Readable by its owner only."""
    keep(PRICES, file)
    assert kept_list(file, URL) == (PRICES, "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("xdg", "home", "base"),
    [
        ("/caches", "/home/me", "/caches"),
        (None, "/home/me", "/home/me/.cache"),
        ("", "/home/me", "/home/me/.cache"),
        ("relative", "/home/me", "/home/me/.cache"),
        ("relative", None, None),
        (None, "", None),
        (None, None, None),
    ],
)
def test_a_cache_stands_where_the_system_says(
    monkeypatch: pytest.MonkeyPatch, xdg: str | None, home: str | None, base: str | None
) -> None:
    """Or nowhere, and never in the folder that a person happens to be in."""
    for name, value in (("XDG_CACHE_HOME", xdg), ("HOME", home)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    expected = Path(base, "nanobanana-batch", "prices-mine@api.example.com%3A81.json") if base else None
    assert cache_file("mine", "https://api.example.com:81/pricing") == expected


def test_without_a_cache_nothing_is_known_and_nothing_can_be_kept() -> None:
    """The one is quiet, the other a sentence."""
    assert kept_list(None, URL) == (None, "")
    with pytest.raises(NoPriceList, match="neither HOME nor XDG_CACHE_HOME"):
        keep(PRICES, None)


def test_nothing_is_said_of_a_list_that_was_never_read(file: Path) -> None:
    """Most people have none; HOME may be a file, such as /dev/null, where there is none."""
    assert kept_list(file, URL) == (None, "")
    assert kept_list(Path(os.devnull, ".cache", "prices-x.json"), URL) == (None, "")


def changed(**values: object) -> bytes:
    """A kept list with other values at its top."""
    with TemporaryDirectory() as folder:
        kept = Path(folder) / "kept.json"
        keep(PRICES, kept)
        return json.dumps({**json.loads(kept.read_text()), **values}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[1]", "damaged"),
        (b'{"what": "something"}', "something else"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 200_000, "damaged"),
        (changed(version=2), "another version"),
        (changed(url="https://elsewhere.example/pricing"), "from elsewhere"),
        (changed(read_at="yesterday"), "damaged"),
        (changed(models=[]), "damaged"),
        (changed(models={"m": {"charges": [{"role": "output"}], "unpriced": []}}), "damaged"),
    ],
)
def test_a_file_that_is_no_such_list_is_not_used(file: Path, content: bytes, said: str) -> None:
    """In one sentence, with what to do; it stays where it is."""
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    found, note = kept_list(file, URL)
    assert found is None
    assert said in note
    assert "prices --refresh" in note
    assert file.read_bytes() == content


@pytest.mark.parametrize("usd", [-1.0, "NaN", "Infinity", None, [1]])
def test_amounts_that_are_none_make_it_damaged(file: Path, usd: object) -> None:
    """Nothing is believed of a file that was tampered with."""
    keep(PRICES, file)
    found = json.loads(file.read_text())
    found["models"]["m"]["charges"][0]["usd"] = usd
    file.write_text(json.dumps(found))
    assert "damaged" in kept_list(file, URL)[1]


def test_a_huge_file_is_not_read(file: Path) -> None:
    """Into no memory."""
    file.parent.mkdir(parents=True)
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    assert "larger than" in kept_list(file, URL)[1]


def test_something_that_is_no_file_is_not_waited_for(file: Path) -> None:
    """A pipe without a writer, or a folder."""
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    assert "no file" in kept_list(file, URL)[1]
    file.unlink()
    file.mkdir()
    assert "is not used" in kept_list(file, URL)[1]


def test_a_file_of_another_user_is_not_believed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of money rests on it."""
    keep(PRICES, file)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    if file.stat().st_uid == 0:
        os.chown(file, 12345, -1)
    assert "another user" in kept_list(file, URL)[1]


def test_a_link_in_its_place_is_replaced_and_not_followed(file: Path, tmp_path: Path) -> None:
    """What it leads to stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    file.parent.mkdir(parents=True)
    file.symlink_to(victim)
    keep(PRICES, file)
    assert victim.read_text() == "mine"
    assert not file.is_symlink()
    assert kept_list(file, URL)[0] == PRICES


def test_a_cache_that_takes_nothing_is_told_and_the_old_list_stays(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full in the middle of writing: the old one whole, nothing left beside it."""
    keep(PRICES, file)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoPriceList, match=r"cannot be kept in .*: No space left"):
        keep(PriceList(URL, PRICES.read_at, {}), file)
    assert kept_list(file, URL)[0] == PRICES
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "cache").touch()
    with pytest.raises(NoPriceList, match="cannot be kept"):
        keep(PRICES, tmp_path / "cache" / "nanobanana-batch" / "prices.json")
