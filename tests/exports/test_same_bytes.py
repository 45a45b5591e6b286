"""An export that is there is up to date for a later version of the program: bytes and plans do not change.

Whoever has an export of a million pictures would write it anew otherwise, and send it to the Hub again.
Where one of these is to become another, people have to be told so.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import nanobanana_batch as nb
from nanobanana_batch.files.folder import CHECKS_NAME, RATINGS_NAME
from tests.exports.runs import HOSTILE, Made, make

_NAMES = ("status", "var_status", "other_images", "placeholder", "file_name", "ünï code", "style")
_VALUES = ("", "=1+1", "2026-01-01", "a\rb", "null", "日本語 🎨", 'said "so", twice', "007")


def test_each_format_makes_what_it_always_made(tmp_path: Path) -> None:
    """Of rows with whatever there is: hostile texts, judgements, scores, files that are changed or gone."""
    folders = [_folder(tmp_path / "one"), _other_folder(tmp_path / "two")]
    assert {name: _made(folders, tmp_path / name, name.split()) for name in _MADE} == _MADE


_MADE: dict[str, tuple[str, str]] = {
    "csv": (
        "b61e3f45c978e00964da1a2d258a89b441994ce5329476bc204e93d120a29f64",
        "ac7f5b89e4f2048a7caad4dc9a0d0094e28bcf6b6acb60a226b63431161627c2",
    ),
    "csv bom": (
        "213ab731e0fe5a87357b0abe20b8b7a8d00572df9914eeffb22273130a727f4c",
        "808c4c2ca7ebc5db6e295003214aaf9380fe9c5f3d0474156795da5d42351680",
    ),
    "csv practice": (
        "770ac3e954600c5d8ce7c489315069664c471cf063fefd6fd09791f3f6952742",
        "bdd51e4fe47768bbeb0c8b00862b696b5884ba471c14666e969f3bafcc8a3b01",
    ),
    "csv images=all": (
        "b8acf9f434ad813a823b215e664f790941f49ae01c16e19e99b4587324d2dac4",
        "b211232a318135e770cacedc164dd6867583ff1d341d3cdce91d58d4a9e8b2c2",
    ),
    "csv where=rating>=1 where=status=completed": (
        "fc449ebf02e0e4ceb68d232051c673b40d6077484c04912f8ffa1d6a4d889e07",
        "826ebf8daf1a7356be8b5e738ff33721ae1292050cea5cc629b6f1350b770b94",
    ),
    "jsonl": (
        "4fe596ca0cc2cdf49534050138d67b2bf1948397513b26c144ac74bda381c708",
        "853935be712f90117a906b482c8b9f076726778d882d90cfef7c17c41dc63491",
    ),
    "jsonl only=completed only=failed images=all": (
        "cb15896dbe58936f7e51c0736c815f4bb9c8ab2ad5a73fdfa484c90ae18289d7",
        "2e58f18b6fd92e023e1de230a12e457f1cec7786f2693c46c2edaddb0867cc50",
    ),
    "imagefolder": (
        "e679f45062bc9a20051e40f3852b74c654bb7b363f32ef097e925c2d28dbffa3",
        "b2810fbe7b5be082e385a574d6533e744e47aba1cf9beb6dbe8a643de6375bef",
    ),
    "imagefolder link=hard": (
        "e679f45062bc9a20051e40f3852b74c654bb7b363f32ef097e925c2d28dbffa3",
        "0c531c1f7556b1ca888d2ef5bc74ad2371950be69b44147fc6fd52d1619234fd",
    ),
    "imagefolder split=train=0.5,test=0.5 images=all": (
        "ed7ee15c880cae9aaf4613a9025fba007fe19933a9e30101b585287b20dd9d2b",
        "0682796a307620d1aa1fa2970becb97b4ed8be755bfc03bbaf9002b6bebb51ec",
    ),
    "webdataset": (
        "aa0eaba53a520027c188daa22cbd8d2ed7284c787ff6a69561b6dab36b09aba6",
        "f70538479fd77b63149a48c7405c8f7c644745c905a815809de875a15585ad24",
    ),
    "webdataset split=train=0.5,other=0.5 images=all": (
        "6af219cf2a04661a434b4958d5a0375fd937cce02bd2cb1aad5340cfb321d819",
        "dda7c69532e216c9c84c6426a52d220041c91d16c9c550225d310325fe9fa024",
    ),
    "captions path_prefix=/data": (
        "36b8b1eef768e616b9d6de8e27d6e0bee8bb04d94bddc74eafb81ce87868b1fc",
        "90679edadf553d41bd6ffad32d17f42e567d94cd20888435b1b5cd4d68c8f90b",
    ),
}
"""Hashes of all files of an export, and of its plan."""


def _made(folders: list[Path], out: Path, words: list[str]) -> tuple[str, str]:
    format, *said = words
    options: dict[str, Any] = {}
    for name, _, value in (word.partition("=") for word in said):
        if name in ("where", "only"):
            options.setdefault(name, []).append(value)
        else:
            options[name] = value or True
    out = out.with_name(f"{format}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:8]}")
    nb.export(folders, format, out, **options)
    record = out / ".export.json" if out.is_dir() else out.with_name(f".{out.name}.export.json")
    plan = json.loads(record.read_text("utf-8"))["plan"]
    return _bytes_of(out), plan


def _bytes_of(out: Path) -> str:
    """Of all that is data; what the card says may change from version to version."""
    told = hashlib.sha256()
    for path in sorted(out.rglob("*")) if out.is_dir() else [out]:
        name = path.relative_to(out).as_posix()
        if path.is_file() and name not in ("README.md", ".export.json"):
            told.update(f"{name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return told.hexdigest()


def _folder(folder: Path) -> Path:
    pictures = [_pixel(number) for number in range(20)]
    rows = [
        *(
            Made(
                f"row-{number}",
                (pictures[number],),
                prompt=text,
                variables={name: _VALUES[(number + at) % len(_VALUES)] for at, name in enumerate(_NAMES)},
            )
            for number, text in enumerate(HOSTILE)
        ),
        Made("several", tuple(pictures[7:10]), "two\rlines", {"style": "ink"}),
        Made("twin", (pictures[0],)),
        Made("twins twin", (pictures[7], pictures[0])),
        Made("Ünïcode 1", (pictures[10],)),
        Made("unicode 1", (pictures[11],)),
        Made(
            "UNICODE-1", (pictures[12],), sources=("https://example.org/a.png", "https://example.org/b.png")
        ),
        Made("東京", (pictures[13],)),
        Made("con~fig", (pictures[14],)),
        Made("changed", (pictures[15],)),
        Made("gone", (pictures[16], pictures[17])),
        Made("failed"),
    ]
    make(folder, rows)
    (folder / "images/changed.png").write_bytes(pictures[18] + b"more")
    (folder / "images/gone~2.png").unlink()
    _judge(folder, pictures)
    return folder


def _judge(folder: Path, pictures: list[bytes]) -> None:
    told = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    (folder / RATINGS_NAME).write_text(
        "id,image,rating,verdict,rating_note,row_key,sha256\n"
        'row-1,,5,accepted,"so, nice",,\nseveral,,1,rejected,,,\n'
        f",,3,,only content,,{told[8]}\n,images/twin.png,2,,=SUM(A1),,\n",
        encoding="utf-8",
    )
    (folder / CHECKS_NAME).write_text(
        f"image,sha256,sharpness,label\nimages/row-2.png,{told[2]},0.25,a cat\n,{told[9]},,=x\n",
        encoding="utf-8",
    )


def _other_folder(folder: Path) -> Path:
    """Ids as in the first, and one variable more."""
    return make(
        folder, [Made("row-1", (_pixel(30),), "again", {"mood": "calm"}), Made("row-9", (_pixel(2),))]
    )


def _pixel(number: int) -> bytes:
    """A PNG of one pixel, the same wherever it is made: it is not compressed."""
    line = b"\0" + number.to_bytes(3, "big")
    stored = b"\x78\x01\x01\x04\x00\xfb\xff" + line + struct.pack(">I", zlib.adler32(line))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), (b"IDAT", stored), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("format", ["csv", "jsonl", "imagefolder"])
def test_an_export_that_is_there_is_known_again(tmp_path: Path, format: str) -> None:
    """It is looked at, and left alone."""
    folder = _folder(tmp_path / "one")
    assert nb.export(folder, format, tmp_path / "set").is_new
    assert not nb.export(folder, format, tmp_path / "set").is_new
