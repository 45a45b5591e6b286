"""`csv` and `jsonl` are the table of results, and `sheet` is something to look at."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

import nanobanana_batch as nb
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find
from nanobanana_batch.results import write_results
from tests.exports.finished import Made, make_folder


def read(path: Path) -> list[dict[str, str]]:
    """A table."""
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def test_csv_is_results_csv(run: Path, tmp_path: Path) -> None:
    """Line by line, for all rows."""
    nb.export(run, "csv", tmp_path / "t.csv")
    exported, results = read(tmp_path / "t.csv"), read(write_results(find(run), Disk()))
    assert list(exported[0]) == list(results[0])
    told = {"note", "other_images"}  # said in other words, or of the images that were chosen
    assert [{k: v for k, v in row.items() if k not in told} for row in exported] == [
        {k: v for k, v in row.items() if k not in told} for row in results
    ]


def test_jsonl_has_types(run: Path, rows: Sequence[Made], tmp_path: Path) -> None:
    """Numbers are numbers, texts are texts, and what is not there is null."""
    nb.export(run, "jsonl", tmp_path / "t.jsonl", only=["failed", "refused", "completed"])
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [row.id for row in rows if row.end != "pending"]
    failed = next(line for line in lines if line["status"] == "failed")
    assert (failed["width"], failed["image"], failed["error_code"]) == (None, "", "service_error")
    assert lines[0]["credits"] == 4.0
    assert lines[0]["style"] == "01"


def test_for_spreadsheets_nothing_is_a_formula(tmp_path: Path) -> None:
    """With the mark by which Excel knows UTF-8."""
    run = make_folder(tmp_path / "out", [Made("r", prompt="=cmd|' /C calc'!A0", variables={"v": "+1"})])
    nb.export(run, "csv", tmp_path / "t.csv", bom=True)
    assert (tmp_path / "t.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    row = read(tmp_path / "t.csv")[0]
    assert row["prompt"].startswith("'=")
    assert row["v"] == "'+1"


def test_a_pdf_has_all_pictures(tmp_path: Path) -> None:
    """Twenty a page, in a file whose table of places is right."""
    run = make_folder(
        tmp_path / "out", [Made(f"r{number}", prompt=f"{number} 日本語 " * 60) for number in range(41)]
    )
    done = nb.export(run, "sheet", tmp_path / "s.pdf")
    data = (tmp_path / "s.pdf").read_bytes()
    assert done.samples == 41
    assert b"/Count 3" in data
    assert data.count(b"/Type /Page /Parent") == 3
    table = int(re.findall(rb"startxref\n(\d+)", data)[0])
    for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n", data[table:]), 1):
        assert data[int(place) :].startswith(b"%d 0 obj" % number)
    first = data.index(b"stream\n\xff\xd8") + 7
    assert Image.open(io.BytesIO(data[first:])).size == (1240, 1754)
    before = sha256(data).hexdigest()
    (tmp_path / "s.pdf").unlink()
    nb.export(run, "sheet", tmp_path / "s.pdf")
    assert sha256((tmp_path / "s.pdf").read_bytes()).hexdigest() == before


def made_pictures() -> dict[str, bytes]:
    """As cameras and designers save them."""
    made: dict[str, bytes] = {}

    def save(name: str, picture: Image.Image, **how: object) -> None:
        data = io.BytesIO()
        picture.save(data, name.partition("-")[0], **how)
        made[name] = data.getvalue()

    save("PNG-sixteen bits", Image.new("I;16", (8, 8), 60_000))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    save("PNG-palette with alpha", palette, transparency=1)
    save("JPEG-four colours", Image.new("CMYK", (8, 8)))
    turned = Image.Exif()
    turned[0x0112] = 6
    save("JPEG-turned", Image.new("RGB", (16, 8), "red"), exif=turned)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    save("WEBP-animated", frames[0], save_all=True, append_images=frames[1:])
    return made


def test_pictures_of_any_kind_are_drawn(tmp_path: Path) -> None:
    """Turned as they say, and none left out."""
    rows = [
        Made(f"r{number}", format=name.partition("-")[0], data=data)
        for number, (name, data) in enumerate(made_pictures().items())
    ]
    run = make_folder(tmp_path / "out", rows)
    done = nb.export(run, "sheet", tmp_path / "s.png")
    assert done.left_out == {}
    assert Image.open(io.BytesIO((tmp_path / "s.png").read_bytes())).size == (1240, 1754)


def test_a_png_has_further_pages_beside_it(tmp_path: Path) -> None:
    """And says where they are by their names."""
    run = make_folder(tmp_path / "out", [Made(f"r{number}") for number in range(21)])
    nb.export(run, "sheet", tmp_path / "s.png")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["s-2.png", "s.png"]
    (run / "images" / "r0.png").unlink()
    nb.export(run, "sheet", tmp_path / "s.png")
    assert [path.name for path in tmp_path.glob("*.png")] == ["s.png"]


def test_a_sheet_has_to_be_of_a_known_kind(run: Path, tmp_path: Path) -> None:
    """By the ending of its name."""
    with pytest.raises(nb.UsageError, match=r"\.pdf or \.png"):
        nb.export(run, "sheet", tmp_path / "s.docx")
