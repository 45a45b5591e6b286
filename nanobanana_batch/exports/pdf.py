"""A PDF of pages that are JPEGs, written page by page: nothing is kept of a page but where it stands.

Pillow writes PDFs, too, but holds all pages, and puts the time of day into each file.
"""

from __future__ import annotations

from typing import IO

_CATALOG, _PAGES = 1, 2
_PER_PAGE = 3
_POINTS_PER_INCH = 72


class Pdf:
    """A file that grows by pages; `end` makes it whole."""

    def __init__(self, file: IO[bytes], dpi: int) -> None:
        self._file = file
        self._scale = _POINTS_PER_INCH / dpi
        self._places: dict[int, int] = {}
        self._at = 0
        self._pages = 0
        self._write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")

    def add(self, jpeg: bytes, width: int, height: int) -> None:
        """One more page, as large as its picture."""
        first = _PAGES + 1 + self._pages * _PER_PAGE
        page, content, image = first, first + 1, first + 2
        wide, high = f"{width * self._scale:.2f}", f"{height * self._scale:.2f}"
        self._object(
            page,
            f"<< /Type /Page /Parent {_PAGES} 0 R /MediaBox [0 0 {wide} {high}] /Contents {content} 0 R"
            f" /Resources << /XObject << /I {image} 0 R >> >> >>",
        )
        self._stream(content, "", f"q {wide} 0 0 {high} 0 0 cm /I Do Q".encode())
        self._stream(
            image,
            f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB"
            " /BitsPerComponent 8 /Filter /DCTDecode",
            jpeg,
        )
        self._pages += 1

    def end(self) -> None:
        """What a reader looks for first."""
        pages = " ".join(f"{_PAGES + 1 + number * _PER_PAGE} 0 R" for number in range(self._pages))
        self._object(_CATALOG, f"<< /Type /Catalog /Pages {_PAGES} 0 R >>")
        self._object(_PAGES, f"<< /Type /Pages /Kids [{pages}] /Count {self._pages} >>")
        table, count = self._at, len(self._places) + 1
        self._write(f"xref\n0 {count}\n0000000000 65535 f \n".encode())
        for _, place in sorted(self._places.items()):
            self._write(f"{place:010d} 00000 n \n".encode())
        self._write(
            f"trailer\n<< /Size {count} /Root {_CATALOG} 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()
        )

    def _stream(self, number: int, told: str, data: bytes) -> None:
        head = f"<< {told} /Length {len(data)} >>\nstream\n".encode()
        self._object(number, head + data + b"\nendstream")

    def _object(self, number: int, body: str | bytes) -> None:
        self._places[number] = self._at
        body = body.encode() if isinstance(body, str) else body
        self._write(b"%d 0 obj\n" % number + body + b"\nendobj\n")

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)
