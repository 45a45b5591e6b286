"""Somebody sends what is small and becomes huge: it is measured before it takes memory or time."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.responses import PlainTextResponse

from nanobanana_batch.errors import ImageRejected, ManifestError
from nanobanana_batch.fidelity import most_pixels
from nanobanana_batch.files import formats
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find
from nanobanana_batch.files.formats import identify
from nanobanana_batch.files.images import ImageFile
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.manifest.form import template_uses
from nanobanana_batch.manifest.read import parquet as parquet_table
from nanobanana_batch.manifest.read import parquet_bounds as bounds
from nanobanana_batch.manifest.read.parquet import ParquetTable
from nanobanana_batch.manifest.words import template
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.providers.tasks.links import links_of
from nanobanana_batch.results import write_for_spreadsheets, write_results, written_harmless
from nanobanana_batch.service.app import Callers
from tests.security.test_inputs import LOCAL
from tests.unit.earlier_run import Earlier, make_run

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int, beside: bytes = b"", chunks: int = 0, packed: int = 1) -> bytes:
    """Whole by its structure."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    texts = chunk(b"tEXt", beside) + chunk(b"tEXt", b"") * chunks
    return SIGNATURE + header + texts + chunk(b"IDAT", bytes(packed)) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    """Whole by its structure."""
    frame = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    return b"\xff\xd8" + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(8) + b"\xff\xd9"


def riff(kind: bytes, body: bytes) -> bytes:
    """A chunk of a WebP."""
    return struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)


def webp(chunks_: bytes) -> bytes:
    """Whole by its structure."""
    return riff(b"RIFF", b"WEBP" + chunks_)


VP8X = riff(b"VP8X", bytes(10))
"""Of 1 x 1 pixel."""


def saved(folder: Path, body: bytes, resolution: str | None = "4K") -> None:
    """As after a download."""
    (folder / "images").mkdir(exist_ok=True)
    with ImageFile(Disk(), folder, "a", most_pixels(resolution)) as file:
        file.finish(body)


@pytest.mark.parametrize(
    ("resolution", "side", "is_kept"),
    [("4K", 8192, True), ("4K", 8200, False), ("0.5K", 5792, True), ("0.5K", 5800, False), (None, 5792, True),
     ("8K", 16384, True), ("8K", 16400, False)],
)  # fmt: skip
def test_an_image_has_as_many_pixels_as_one_can_mean(
    tmp_path: Path, resolution: str | None, side: int, is_kept: bool
) -> None:
    """A larger picture than was asked for is kept, since it is paid for, within what a viewer can bear."""
    body = png(side, side, packed=1 << 20)
    with nullcontext() if is_kept else pytest.raises(ImageRejected, match="far more than was asked for"):
        saved(tmp_path, body, resolution)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.png"] * is_kept


def test_an_image_has_as_many_bytes_as_one_can_have(tmp_path: Path) -> None:
    """20 MB for 4 x 4 are no picture."""
    with pytest.raises(ImageRejected, match="most of it is no picture"):
        saved(tmp_path, png(4, 4, bytes(20 << 20)))
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.parametrize("body", [png(4096, 4096, packed=100), jpeg(4096, 4096)], ids=["png", "jpeg"])
def test_an_image_has_bytes_enough_for_its_pixels(tmp_path: Path, body: bytes) -> None:
    """4096 x 4096 in a hundred bytes: nothing that a decoder could make a picture of."""
    with pytest.raises(ImageRejected, match="too short for 4096 x 4096 pixels"):
        saved(tmp_path, body)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_a_picture_of_a_single_colour_is_one(tmp_path: Path, kind: str, mode: str) -> None:
    """As little as a real encoder makes of as much as a provider may send."""
    made = io.BytesIO()
    Image.new(mode if kind == "PNG" else "RGB", (4096, 4096)).save(made, kind, compress_level=9)
    saved(tmp_path, made.getvalue())
    assert len(list((tmp_path / "images").iterdir())) == 1


@pytest.mark.parametrize(
    "body",
    [
        png(4, 4, chunks=5000),
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 5000 + b"\xff\xd9",
        b"\xff\xd8\xff" + b"\xff\xd0" * 5000,
        webp(VP8X + struct.pack("<4sI", b"JUNK", 0) * 5000),
        webp(VP8X + (riff(b"ANMF", bytes(16) + riff(b"VP8L", b"\x2f" + bytes(9))) * 600)),
    ],
)
def test_an_image_of_countless_parts_is_none(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Walking 62 million of them took 46 seconds."""
    monkeypatch.setattr(formats, "_MOST_PARTS", 1000)
    with pytest.raises(ImageRejected, match="more than 1,000 parts"):
        identify(memoryview(body))


def test_a_jpeg_of_filling_or_stuffing_alone_is_walked_at_once() -> None:
    """Not byte by byte: 64 MiB of each."""
    for inside in (b"\xff" * (64 << 20), b"\xff\xda\x00\x02" + b"\xff\x00" * (32 << 20)):
        with pytest.raises(ImageRejected, match="end marker"):
            identify(memoryview(b"\xff\xd8\xff\xe0\x00\x02" + inside))


def refused(folder: Path, text: str) -> str:
    """What is said of a recipe."""
    manifest = folder / "m.yaml"
    manifest.write_text(text)
    order = Order(manifest, connection=LOCAL)
    with pytest.raises(ManifestError) as caught, expanded(open_ordered(order)):
        pass
    assert len(str(caught.value)) < 10_000
    return str(caught.value)


@pytest.mark.parametrize("slot", ["{a}", "{a:upper}"])
@pytest.mark.parametrize("field", ["prompt", "images"])
def test_a_template_is_measured_before_it_is_written_out(tmp_path: Path, field: str, slot: str) -> None:
    """A few kilobytes would ask for many times as much."""
    other = "" if field == "prompt" else "prompt: p\n"
    text = f'defaults: {{model: nano-banana-beta}}\n{other}{field}: "{slot * 900}"\n'
    said = refused(tmp_path, text + f"matrix: {{a: [{'x' * 200}]}}\nvariables: [a]\n")
    assert re.search(r"would have [\d,]+ characters", said)


@pytest.mark.parametrize("field", ["prompt", "images", "id"])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{a}" * 20_000, "more than 1,000 names in braces"),
        ("{" + "a:" * 40_000 + "b}", "80,001 characters between { and }"),
        ("{" + "b|" * 40_000 + "b}", "alternatives such as"),
        ("{a" + ":a" * 100 + "}", "100 filters in '{a:a:a"),
        ("|" * 200_000 + "{", "200,001 characters; a template has at most 100,000"),
        ("|" * 99_000 + "{", "a lone '{'"),
        ("{a:" * 30_000 + "{", "a lone '{'"),
    ],
    ids=["names", "parts", "alternatives", "filters", "long", "bars", "lone"],
)
def test_a_template_is_bounded_before_it_is_taken_apart(
    tmp_path: Path, field: str, written: str, said: str
) -> None:
    """80 KB of colons took gigabytes, 200 KB of bars had no end."""
    other = "" if field == "prompt" else "prompt: p\n"
    text = f'defaults: {{model: nano-banana-beta}}\n{other}{field}: "{written}"\n'
    assert f"m.yaml:{2 if field == 'prompt' else 3}:" in (
        problem := refused(tmp_path, text + "matrix: {a: [x]}\nvariables: [a]\n")
    )
    assert said in problem


def test_unknown_names_are_not_compared_with_each_other_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 names in braces and 3,000 variables took minutes."""
    compared: list[int] = []

    def closest(_: str, known: Sequence[str]) -> str:
        compared.append(len(known))
        return "v00001"

    monkeypatch.setattr(template, "closest", closest)
    for count, length, most in ((500, 5, 20), (2000, 5, 0), (500, 100, 0)):
        compared.clear()
        names = " ".join(f"{{x{number:0{length}}}}" for number in range(900))
        values = ", ".join(f"v{number:05}: x" for number in range(count))
        said = refused(
            tmp_path, f'defaults: {{model: nano-banana-beta}}\nprompt: "{names}"\nrows: [{{{values}}}]\n'
        )
        assert said.count("unknown variable") <= 20
        assert len(compared) == most


LONG = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "{{" + " " * LONG,
        "{{x" + " " * LONG + "y}}",
        "-__a" * (LONG // 4),
        "__a" * (LONG // 3),
        "|" * LONG + "{",
        "{|" * (LONG // 2),
        "{" * LONG,
        "{a" * (LONG // 2),
        "{{a" * (LONG // 3),
    ],
    ids=lambda text: text[:4].strip(),
)
def test_no_text_makes_a_template_be_read_forever(text: str) -> None:
    """Each of them held up a search that begins again at every character; now all end at once."""
    for pattern in (*_patterns(template), *_patterns(template_uses)):
        pattern.findall(text)


def _patterns(module: ModuleType) -> list[re.Pattern[str]]:
    return [value for value in vars(module).values() if isinstance(value, re.Pattern)]


def parquet(folder: Path, *, rows_per_group: int = 100_000, **columns: Any) -> Path:
    """A file as pyarrow writes one, with a dictionary of any size."""
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group, dictionary_pagesize_limit=1 << 30)
    return path


def batches_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[str]]:
    """How many rows were made texts of at once, and what was said."""
    lengths: list[int] = []
    read = parquet_table.ParquetTable._rows

    def counting(
        table: ParquetTable, batch: pa.RecordBatch, *rest: Any
    ) -> Iterator[tuple[int, Sequence[Value]]]:
        lengths.append(batch.num_rows)
        return read(table, batch, *rest)

    monkeypatch.setattr(ParquetTable, "_rows", counting)
    table, log = ParquetTable(path, "t.parquet"), ProblemLog()
    assert len(list(table.rows(table.header().names, log))) == sum(lengths)
    return lengths, [str(problem) for problem in log]


@pytest.mark.parametrize(
    ("length", "rows", "at_once"),
    [(10, 2000, 1024), (1 << 10, 2000, 1024), (1 << 16, 300, 256), (1 << 20, 40, 16)],
)
def test_a_text_that_stands_in_every_row_is_not_written_out_for_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, rows: int, at_once: int
) -> None:
    """A megabyte of a dictionary in any number of rows is a file of a kilobyte."""
    path = parquet(tmp_path, prompt=pa.DictionaryArray.from_arrays([0] * rows, ["x" * length]))
    lengths, said = batches_of(path, monkeypatch)
    assert (max(lengths), sum(lengths), said) == (at_once, rows, [])


def test_a_text_of_a_dictionary_that_is_too_long_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 MB in 200,000 rows took gigabytes."""
    words = pa.DictionaryArray.from_arrays([1, *[0] * 199_999], ["x" * (4 << 20), "y"])
    lengths, said = batches_of(parquet(tmp_path, prompt=words), monkeypatch)
    limit = "a cell has at most 1 MiB"
    assert lengths == []
    assert said == [f"t.parquet: prompt: a text of 4,194,304 bytes in row 1 or behind it; {limit}"]


def test_large_cells_are_named_by_row_and_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are read as ever."""
    prompts = ["a", "b" * ((1 << 20) + 1), "c", "d" * (1 << 20), None]
    images = [["u"], ["u"], ["u"] * 1001, ["u"] * 1000, ["v" * 600_000] * 2]
    lengths, said = batches_of(parquet(tmp_path, prompt=prompts, images=images), monkeypatch)
    assert lengths == [1, 1, 0]
    assert said == [
        "t.parquet row 2: prompt: a text of 1,048,577 bytes; a cell has at most 1 MiB",
        "t.parquet row 3: images: a list of 1,001 texts; at most 1,000 are allowed",
        "t.parquet row 5: images: a text of 1,200,000 bytes; a cell has at most 1 MiB",
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"prompt": ["x" * (3 << 20)]},
            "bytes of text in a column of 1 cells from row 1; a cell has",
        ),
        ({"prompt": ["x" * 3000] * 1000}, "bytes of text packed into"),
        ({"prompt": ["p"], "images": [["u"] * 3000]}, "lists of 3,000 texts in 1 rows are too many"),
    ],
    ids=["cell", "packed", "list"],
)
def test_what_is_swollen_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, Any], said: str
) -> None:
    """300 MB in a cell of 10 KB, 20 million links in 836 bytes; here with smaller bounds."""
    monkeypatch.setattr(bounds, "_MOST_SWOLLEN_BYTES", 1 << 20)
    monkeypatch.setattr(bounds, "_FEW_VALUES", 2000)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=["images.list.element"])
    lengths, problems = batches_of(path, monkeypatch)
    assert lengths == []
    assert said in problems[0]


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_texts_that_begin_alike_are_read_few_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Where a text may go on from the one before it, each could be as long as all of them."""
    path = tmp_path / "t.parquet"
    prompts = [f"{'x' * 1000}{n}" for n in range(300)]
    monkeypatch.setattr(bounds, "_BATCH_BYTES", 1 << 10)
    pq.write_table(
        pa.table({"prompt": prompts}), path, use_dictionary=False, column_encoding={"prompt": encoding}
    )
    lengths, said = batches_of(path, monkeypatch)
    assert (max(lengths), sum(lengths), said) == (1, 300, [])


def test_texts_that_begin_alike_and_are_many_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 rows of 900 KB were 474 bytes: a page of such texts is written out as a whole."""
    path = tmp_path / "t.parquet"
    table = pa.table({"prompt": ["z" * 90_000] * 3000})
    pq.write_table(table, path, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY")
    lengths, said = batches_of(path, monkeypatch)
    assert (lengths, len(said)) == ([], 1)
    assert "in DELTA_BYTE_ARRAY could be of any length and are not read" in said[0]


def test_few_links_in_countless_rows_are_read_as_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary of one long link, and a thousand of it in a row that nobody sees beforehand."""
    monkeypatch.setattr(bounds, "_LIST_BYTES", 1 << 16)
    images = [["u"], ["u" * 1000] * 900, None, ["w"]] * 3
    path = parquet(tmp_path, images=images)
    wanted = ("images",)
    with pq.ParquetFile(path) as source:
        paths = bounds.packable(source, wanted)
    with pq.ParquetFile(path, read_dictionary=list(paths)) as packed:
        assert bounds.reading(packed, wanted, paths).packed == ("images.list.element",)
    table, log = ParquetTable(path, "t.parquet"), ProblemLog()
    rows = dict(table.rows(("images",), log))
    assert rows[1] == (("u",),)
    assert rows[2] == (("u" * 1000,) * 900,)
    assert not log


def test_a_reply_with_countless_links_gives_as_many_as_anyone_asks_for() -> None:
    """The first ones."""
    links = links_of({"results": [f"https://x.example/{n}.png" for n in range(300_000)]})
    assert len(links) == 100
    assert links[0] == "https://x.example/0.png"


def test_a_copy_for_spreadsheets_has_no_formulas(tmp_path: Path) -> None:
    """results.csv keeps every text as it is; whoever opens it by a double click takes the copy."""
    evil = '=HYPERLINK("https://evil.example","click")'
    make_run(tmp_path / "out", [Earlier("one", {"style": evil}), Earlier("-two", {"style": "@SUM(1)"})])
    copy = write_for_spreadsheets(find(tmp_path / "out"), Disk()).read_text("utf-8-sig")
    for row in csv.reader(io.StringIO(copy)):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert "'=HYPERLINK" in copy
    kept = write_results(find(tmp_path / "out"), Disk()).read_text("utf-8")
    assert evil.replace('"', '""') in kept


SHY = "\u00a0\ufeff\u200b\u2060 \x00\u3000"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("a;=cmd|'/c calc'!A1;b", "a;'=cmd|'/c calc'!A1;b"),
        ("q\n=1+1", "q\n'=1+1"),
        ("q\r\n=1+1\r@x", "q\r\n'=1+1\r'@x"),
        ("a,+1,b\t@x", "a,'+1,b\t'@x"),
        ("＝1", "'＝1"),  # noqa: RUF001
        ("＋1;－1;＠x", "'＋1;'－1;'＠x"),  # noqa: RUF001
        (SHY + "=1", "'" + SHY + "=1"),
        ("x; \u00a0-A1", "x;' \u00a0-A1"),
        ('x;"=1', "x;'\"=1"),
        ("\t=1", "'\t'=1"),
        ("\nx", "'\nx"),
        ("-1.5", "-1.5"),
        ("1;-1.5;-2", "1;-1.5;-2"),
        ("-1+cmd", "'-1+cmd"),
        ("-", "'-"),
        ("a cat - and = and + and @, a-b; c", "a cat - and = and + and @, a-b; c"),
        (-1.5, "-1.5"),
        (None, ""),
    ],
)
def test_no_part_of_a_cell_is_a_formula_either(cell: object, written: str) -> None:
    """Where the separator is a semicolon, or quotes are not minded, the part becomes a cell."""
    text = written_harmless([["x", cell]]).decode()
    assert text == '"x","' + written.replace('"', '""') + '"\n'


def test_a_long_cell_is_searched_at_once() -> None:
    """Blanks and line breaks that hold a million places where a formula could begin."""
    for cell in ("\n" * 1_000_000, " " * 1_000_000, ";" * 1_000_000, '"' * 1_000_000, "-1;" * 300_000):
        assert written_harmless([[cell]])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80", "Origin": "http://evil.example:80"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:7"}, 200),
        ({"Host": "Images.Example.:443"}, 200),
        ({"Host": "images.example", "Origin": "https://evil.example"}, 403),
        ({"Host": "[::1]:7", "Origin": "http://[::1]:7"}, 200),
    ],
)
def test_no_web_page_changes_anything_at_the_service(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    """Neither by a form or a script, nor by a name that has come to lead here; every route alike."""
    app = Callers(PlainTextResponse("changed"), "127.0.0.1", ["images.example"])

    async def ask(method: str) -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7") as client:
            return (await client.request(method, "/anything", headers=headers)).status_code

    assert asyncio.run(ask("GET")) == 200
    assert {asyncio.run(ask(method)) for method in ("POST", "DELETE", "PUT", "PATCH")} == {status}
