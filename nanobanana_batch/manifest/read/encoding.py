"""Text files as people have them: UTF-8, UTF-16 with its mark, any line end; other encodings are named.

What cannot be decoded becomes lone surrogates, so that it costs its own line and not the next one.
"""

from __future__ import annotations

import codecs
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import IO

from nanobanana_batch.errors import Problem

MAX_LINE = 1 << 20
_HEAD_BYTES = 1 << 16

_LINES_TOLD = 20
_PROBABLY = "but probably"
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ODD_BYTES = bytes(byte for byte in range(128) if _ODD.match(chr(byte)))
_AT_ONCE = 1 << 16
_FOREIGN = (
    (b"PK\x03\x04", "this is a ZIP file, as an Excel workbook is one; save it as text (CSV UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "this is an Excel workbook; save it as text (CSV UTF-8)"),
    (b"PAR1", "this is a Parquet file; its name has to end in .parquet"),
    (b"\xff\xfe\x00\x00", "the file is UTF-32; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "the file is UTF-32; save it as UTF-8"),
)
_GUESSES = (
    ("WINDOWS-1252", "cp1252", re.compile("[\xa0-\xff\u0152\u0153\u0160\u0161\u2013-\u2026\u20ac\u2122]*")),
    ("WINDOWS-1251", "cp1251", re.compile("[\u0401\u0410-\u044f\u0451\xab\xbb\u2013-\u2026\u2116]*")),
    ("SHIFT_JIS", "cp932", re.compile("(?=.*[\u3041-\u30ff])[\u3001-\u30ff\u4e00-\u9fff\uff01-\uff5e]*")),
    (
        "GB18030",
        "gb18030",
        re.compile(
            "(?=.*[\u7684\u4e00\u5728\u4e0a\u4e2d\u548c\uff0c])[\u3001-\u3011\u4e00-\u9fff\uff01-\uff5e]*"
        ),
    ),
)
"""Encodings with the characters that are usual in them, likeliest first."""


class BadLine(Exception):
    """This line cannot be used; the next one may be."""


class NotText(BadLine):
    """This line is no text of the file's encoding, and probably no other line is."""


class Unusable(Exception):
    """The file as a whole is not the text that it should be."""


class Lines:
    """Decoded lines of a stream, each with its line end; an error leaves the iterator usable."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Begin at the start of the stream.

        Raises:
            Unusable: it begins as no text does that can be read here.
        """
        self.number = 0
        """The number of the line that was read last."""
        head = _head(stream)
        refuse_foreign(head)
        encoding, self._errors = "utf-8-sig", "surrogateescape"
        if is_utf16(head):
            encoding, self._errors = "utf-16", "surrogatepass"
        # Old Macs, and Excel when it writes for them, end lines with a carriage return alone.
        has_returns = re.match("[^\r\n]*\r[^\n]", head.decode(encoding, "replace"))
        newline = None if has_returns else "\n"
        self._may_be_quick = stream.seekable() and encoding == "utf-8-sig" and newline is not None
        self._text: IO[str] = io.TextIOWrapper(stream, encoding, self._errors, newline)
        self._again = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again or self._read()
        self._again = ""
        if not line:
            raise StopIteration
        self.number += 1
        return self._checked(line)

    def quick(self) -> Iterator[str]:
        """The lines that are left, looked at many at once; `number` counts those of them that are refused."""
        return itertools.chain.from_iterable(self._pieces())

    def _pieces(self) -> Iterator[Iterable[str]]:
        if self._again:
            again, self._again = self._again, ""
            yield (again,)
        if not self._may_be_quick:  # what is unpacked may break off, and nothing in front of that is lost
            yield _Refusing(iter(self._read, ""), self._counted)
        while text := self._text.read(_AT_ONCE):
            if text[-1] != "\n":
                text += self._text.readline(MAX_LINE - (len(text) - text.rfind("\n") - 1))
            lines = io.StringIO(text, newline="\n")
            yield lines if _is_sound(text) else _Refusing(lines, self._counted)

    def _counted(self, line: str) -> str:
        try:
            return self._checked(line)
        except BadLine:
            self.number += 1
            raise

    def _checked(self, line: str) -> str:
        if len(line) == MAX_LINE and line[-1] != "\n":
            while (rest := self._read()) and rest[-1] != "\n":
                pass
            raise BadLine(f"the line is longer than {MAX_LINE >> 20} MiB")
        if _ODD.search(line):
            self._refuse(line)
        return line

    def close(self) -> None:
        """Close the stream."""
        self._text.close()

    def again(self, line: str) -> None:
        """Give the line that was read last once more."""
        self._again = line
        self.number -= 1

    def _read(self) -> str:
        """A line, or what there is room for of it."""
        try:
            return self._text.readline(MAX_LINE)
        except UnicodeDecodeError:  # UTF-16 ends in the middle of a character
            self.close()
            self._text = io.StringIO()
            return "\udcff"

    def _refuse(self, line: str) -> None:
        odd = _ODD.findall(line)[0]
        if odd >= "\ud800" and self._errors == "surrogatepass":
            raise NotText("damaged UTF-16: half of a character is missing; save the file as UTF-8")
        if odd >= "\ud800" or line.count("\0") > len(line) // 3:
            raise NotText(not_utf8(line.encode("utf-8", self._errors)))
        raise BadLine(control_fault(odd))


class _Refusing:
    """Lines that are looked at one by one; after a refusal it goes on, which no generator does."""

    def __init__(self, lines: Iterator[str], checked: Callable[[str], str]) -> None:
        self._lines = lines
        self._checked = checked

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return self._checked(next(self._lines))


def _is_sound(text: str) -> bool:
    """Whether nothing has to be refused in any line of a text: bytes are counted faster than found."""
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return len(text) < MAX_LINE and len(data.translate(None, _ODD_BYTES)) == len(data)


class BadLines:
    """Tells of the lines of one file that cannot be used; that it is of another encoding is told once."""

    def __init__(self, file: str, report: Callable[[Problem], None]) -> None:
        self._file = file
        self._report = report
        self._not_text = 0

    def add(self, line: int, error: BadLine) -> None:
        """Take one."""
        if isinstance(error, NotText):
            self._not_text += 1
            if self._not_text > _LINES_TOLD:
                return
            if _PROBABLY in str(error):
                self._not_text = _LINES_TOLD
        self._report(Problem(f"{self._file}:{line}", str(error)))


def _head(stream: IO[bytes]) -> bytes:
    """How it begins; what is unpacked cannot be read again, and has all of it in its buffer."""
    if not stream.seekable():
        assert isinstance(stream, io.BufferedReader)
        return stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    return head


def sound_lines(stream: IO[bytes], file: str, report: Callable[[Problem], None]) -> Iterator[tuple[int, str]]:
    """The lines that can be used, with their numbers; the others are reported."""
    try:
        lines = Lines(stream)
    except Unusable as error:
        report(Problem(file, str(error)))
        return
    bad = BadLines(file, report)
    with closing(lines):
        while True:
            try:
                line = next(lines)
            except StopIteration:
                return
            except BadLine as error:
                bad.add(lines.number, error)
            else:
                yield lines.number, line


def refuse_foreign(head: bytes) -> None:
    """Raise `Unusable` where a file begins as no text does."""
    for mark, what in _FOREIGN:
        if head.startswith(mark):
            raise Unusable(what)


def is_utf16(data: bytes) -> bool:
    """Whether this beginning of a file is the byte order mark of UTF-16."""
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def beginning_of(head: bytes) -> str:
    """The text of how a file begins, whatever it is cut in."""
    return head.decode("utf-16" if is_utf16(head) else "utf-8-sig", "replace")


def control_fault(text: str) -> str:
    """Why this text cannot be one that a person has meant; empty when it can."""
    odd = _ODD.search(text)
    if odd is None:
        return ""
    kind = "half of a surrogate pair" if odd[0] >= "\ud800" else "control character"
    return f"the {kind} {odd[0]!r} is not allowed; remove it"


def name_fault(name: str) -> str:
    """Why a file of this name cannot be told of, as Python read the name from the disk; empty when it can.

    Bytes that the locale's encoding does not know stand there as lone surrogates, which no state can keep.
    """
    if not _SURROGATE.search(name):
        return ""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("_", "-") == "utf-8":
        return "its name is no text in UTF-8; rename it"
    return (
        f"its name cannot be read in this locale (its encoding is {encoding}); set PYTHONUTF8=1, or a UTF-8"
        " locale such as LC_ALL=C.UTF-8"
    )


def not_utf8(data: bytes) -> str:
    """What to say about bytes that are no UTF-8, with the encoding that they are probably in."""
    likely = _likely_encoding(data)
    if not likely:
        return "not UTF-8 text; save the file as UTF-8"
    convert = f"`iconv -f {likely} -t UTF-8 OLD > NEW`"
    return f"not UTF-8 text {_PROBABLY} {likely}; save the file as UTF-8, or convert it: {convert}"


def _likely_encoding(data: bytes) -> str:
    if data.count(0) > len(data) // 3:
        return "UTF-16BE" if data[:1] == b"\0" else "UTF-16LE"
    sound = "".join(char for char in data.decode("utf-8", "ignore") if not char.isascii())
    if 2 * len(sound.encode()) >= sum(byte > 127 for byte in data):
        return ""  # a damaged UTF-8 file
    # A Western text has single letters that are not ASCII, other scripts have whole words of them.
    runs = re.findall(rb"[\x80-\xff]+", data)
    is_western = max(map(len, runs)) <= 2
    for name, codec, usual in _GUESSES[:1] if is_western else _GUESSES[1:]:
        text = data.decode(codec, "replace")
        if usual.fullmatch("".join(char for char in text if not char.isascii())):
            return name
    return ""
