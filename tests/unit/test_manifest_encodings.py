"""Bytes as Excel, editors and old machines write them: read, or named with the line and the likely cause."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.manifest.form.value_lists import read_values
from nanobanana_batch.manifest.read.encoding import MAX_LINE, BadLine, Lines
from nanobanana_batch.manifest.read.reach import Reach
from tests.unit.tables import complaints, read

PROMPTS = ["Café at dusk", 'a sign that says "open"', "two\nlines; one, more\tthan one", "日本語 🎨"]
LINE_ENDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}


def csv_bytes(separator: str, end: str, encoding: str) -> bytes:
    """A table of those prompts as a spreadsheet writes it."""
    text = io.StringIO()
    table = csv.writer(text, delimiter=separator, lineterminator=end)
    table.writerow(["id", "prompt", "city"])
    table.writerows([f"r{n}", prompt, "Rome"] for n, prompt in enumerate(PROMPTS))
    return text.getvalue().encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", LINE_ENDS)
def test_every_way_of_writing_a_table_gives_the_same_rows(
    tmp_path: Path, encoding: str, separator: str, end: str
) -> None:
    """Whatever its encoding, separator and line ends, with quotes, separators and line ends in cells."""
    path = tmp_path / "t.csv"
    path.write_bytes(csv_bytes(separator, LINE_ENDS[end], encoding))
    drafts = read(path)
    assert [draft.request.prompt for draft in drafts] == PROMPTS
    assert [draft.source for draft in drafts] == ["t.csv:2", "t.csv:3", "t.csv:4", "t.csv:6"]
    assert {draft.variables for draft in drafts} == {(("city", "Rome"),)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", LINE_ENDS)
def test_tsv_jsonl_and_lists_are_read_by_the_same_rule(tmp_path: Path, encoding: str, end: str) -> None:
    """What holds for one kind of text file holds for all."""
    mark = LINE_ENDS[end]
    tsv = mark.join(["prompt\tcity", "é\tRome", '"x\tOslo', ""])
    (tmp_path / "t.tsv").write_bytes(tsv.encode(encoding))
    assert [draft.request.prompt for draft in read(tmp_path / "t.tsv")] == ["é", '"x']
    jsonl = mark.join(['{"prompt": "é"}', '{"prompt": "x"}'])
    (tmp_path / "t.jsonl").write_bytes(jsonl.encode(encoding))
    assert [draft.request.prompt for draft in read(tmp_path / "t.jsonl")] == ["é", "x"]
    (tmp_path / "l.txt").write_bytes(mark.join(["# styles", "é", "", "x"]).encode(encoding))
    found = read_values(tmp_path / "l.txt", "l.txt", Reach(tmp_path))
    values, problems = found.items, found.problems
    assert (values, problems) == ([("é", "l.txt:2"), ("x", "l.txt:4")], [])


@pytest.mark.parametrize(
    ("encoding", "text", "likely"),
    [
        ("cp1252", "Café à la crème — “naïve”, 5 €", "WINDOWS-1252"),
        ("latin-1", "Über den Dächern größer", "WINDOWS-1252"),
        ("cp1251", "Кошка на крыше, вечер", "WINDOWS-1251"),
        ("cp932", "夕暮れの東京タワー", "SHIFT_JIS"),
        ("gb18030", "黄昏中的上海天际线、水墨画", "GB18030"),
        ("mac-roman", "Café à la crème", ""),
        ("euc-kr", "서울의 밤", ""),
        ("cp1250", "Žluťoučký kůň", ""),
    ],
)
def test_another_encoding_is_refused_and_named_only_if_likely(
    tmp_path: Path, encoding: str, text: str, likely: str
) -> None:
    """A wrong name would lead to wrong prompts that are paid for."""
    for name in ("t.csv", "t.tsv"):
        (tmp_path / name).write_bytes(f"prompt\nsound\n{text.replace(',', '')}\n".encode(encoding))
        (problem,) = complaints(tmp_path / name)
        assert problem.startswith(f"{name}:3: not UTF-8 text")
        assert ("probably" in problem) == bool(likely)
        assert likely in problem
        assert (f"iconv -f {likely} -t UTF-8" in problem) == bool(likely)
    (tmp_path / "l.txt").write_bytes(f"sound\n{text}\n".encode(encoding))
    (found,) = read_values(tmp_path / "l.txt", "l.txt", Reach(tmp_path)).problems
    assert (found.source, likely in found.message) == ("l.txt:2", True)


def test_a_damaged_byte_in_utf8_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    """Its other letters say that the file is UTF-8."""
    (tmp_path / "t.csv").write_bytes("prompt\nnaïve café ".encode() + b"\xe9\n")
    (problem,) = complaints(tmp_path / "t.csv")
    assert problem == "t.csv:2: not UTF-8 text; save the file as UTF-8"


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_without_its_mark_is_named(tmp_path: Path, order: str) -> None:
    """The mark is what tells it from bytes of any other meaning."""
    (tmp_path / "t.csv").write_bytes("prompt,city\na cat,Rome\n".encode(f"utf-16-{order}"))
    assert f"probably UTF-16{order.upper()}" in complaints(tmp_path / "t.csv")[0]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"PK\x03\x04\x14\x00", "ZIP file, as an Excel workbook is"),
        (b"\xd0\xcf\x11\xe0\xa1", "Excel workbook"),
        (b"\x1f\x8b\x08\x00", "the compressed file is damaged, or not whole"),
        (b"PAR1\x15\x04", "has to end in .parquet"),
        ("prompt\n".encode("utf-32"), "UTF-32"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_what_is_no_text_is_called_by_its_name(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    """A workbook that was renamed is no CSV."""
    (tmp_path / name).write_bytes(content)
    (problem,) = complaints(tmp_path / name)
    assert problem.startswith(f"{name}: ")
    assert part in problem


@pytest.mark.parametrize(
    ("tail", "line"), [(b"\x00\xdc", 4), (b"\x00\xd8x\x00", 4), (b"x", 4), (b"", 0)], ids=str
)
def test_damaged_utf16_costs_its_line(tmp_path: Path, tail: bytes, line: int) -> None:
    """Halves of characters, and half of a byte pair at the end."""
    (tmp_path / "t.csv").write_bytes("prompt\nfirst\nnext\n".encode("utf-16") + tail)
    assert [problem.split(": ")[0] for problem in complaints(tmp_path / "t.csv")] == (
        [f"t.csv:{line}"] if line else []
    )


def test_zeros_beside_half_a_character_cost_their_line() -> None:
    """Most of a line of UTF-16 is zeros, and one of its characters is half of one."""
    found = lines_of(b"\xff\xfea\0" + b"\0\0" * 5 + b"\x00\xd8\n\0x\0\n\0")
    assert [(number, text.startswith("not UTF-8 text")) for number, text in found] == [(1, True), (2, False)]


def lines_of(data: bytes) -> list[tuple[int, str]]:
    """Numbers and lines, or why a line cannot be used."""
    found: list[tuple[int, str]] = []
    lines = Lines(io.BytesIO(data))
    while True:
        try:
            text = next(lines)
        except StopIteration:
            return found
        except BadLine as error:
            text = str(error)
        found.append((lines.number, text))


@pytest.mark.parametrize("size", [MAX_LINE - 1, MAX_LINE + 1, 3 * MAX_LINE + 7])
def test_a_line_that_never_ends_is_not_kept(size: int) -> None:
    """It is named, and the lines after it have their right numbers."""
    first, *rest = lines_of(b"x" * size + b"\nnext\n\xff\n")
    if size < MAX_LINE:
        assert first == (1, "x" * size + "\n")
    else:
        assert first == (1, "the line is longer than 1 MiB")
    assert [(number, text[:8]) for number, text in rest] == [(2, "next\n"), (3, "not UTF-")]


def test_characters_that_span_two_pieces_are_whole() -> None:
    """Files are decoded piece by piece, and a character may lie on the border."""
    text = "é🎨\n" * 30_000
    for encoding in ("utf-8", "utf-16"):
        found = lines_of(b"" if encoding == "utf-16" else b"\xef\xbb\xbf")
        assert found == []
        assert lines_of(text.encode(encoding)) == [(number, "é🎨\n") for number in range(1, 30_001)]


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    """A table is read more than once, and a pipe would stand still for ever."""
    import os

    os.mkfifo(tmp_path / "t.csv")
    (tmp_path / "m.yaml").write_text("table: t.csv\n")
    (problem,) = complaints(tmp_path / "m.yaml")
    assert "it is a pipe" in problem


def quick_lines_of(data: bytes) -> list[tuple[int, str]]:
    """As `lines_of`, many at once; who reads them counts those that come."""
    found: list[tuple[int, str]] = []
    lines, came = Lines(io.BytesIO(data)), 0
    quick = lines.quick()
    while True:
        try:
            text = next(quick)
            came += 1
        except StopIteration:
            return found
        except BadLine as error:
            text = str(error)
        found.append((lines.number + came, text))


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")
_ODD = (b"\x01", b"\x7f", b"\xff", b"\x0c", b"\xed\xa0\x80", b"y" * MAX_LINE)
_SOUND = (b"a", b"\n", b"\n", b"\r\n", b"\r", "\u2028\x85é".encode(), b"x" * 70_000, b"z" * (MAX_LINE - 1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(_SOUND + _ODD), max_size=12), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
)
def test_lines_that_are_looked_at_many_at_once_are_the_same(parts: list[bytes], encoding: str) -> None:
    """With the same numbers, and the same ones refused for the same reasons."""
    data = b"".join(parts)
    if encoding == "utf-16":
        data = data.decode("utf-8", "replace").encode("utf-16")
    elif encoding == "utf-8-sig":
        data = b"\xef\xbb\xbf" + data
    assert quick_lines_of(data) == lines_of(data)
