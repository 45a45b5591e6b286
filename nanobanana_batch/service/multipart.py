"""A form is read by its grammar or refused: what one reader takes for a file, no other takes for a field.

Whole bodies in memory: the caller bounds them. Nested and encoded parts do not occur in form data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from nanobanana_batch.service.envelope import invalid

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None for a plain value."""

    name: str
    filename: str | None
    content: bytes

    def text(self) -> str:
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise invalid(f"{self.name} must be UTF-8 text.", self.name) from exc


def form(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a `multipart/form-data` body by name."""
    boundary = _boundary(content_type)
    # With a line end put before it, the first delimiter is like all others.
    preamble, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("ascii"))
    if preamble or not pieces or not pieces[-1].startswith(b"--"):
        raise invalid("The form does not begin and end with its boundary.")
    parts = [_part(piece) for piece in pieces[:-1]]
    named = {part.name: part for part in parts}
    if len(named) != len(parts):
        raise invalid("The form names a field twice.")
    return named


def _boundary(content_type: str) -> str:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise invalid("The body must be multipart/form-data with a boundary.")
    if not _BOUNDARY.fullmatch(boundary):
        raise invalid("The boundary of the form is not well formed.")
    return boundary


def _part(piece: bytes) -> Part:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n"):
        raise invalid("A part of the form has no head.")
    try:
        headers = HeaderParser().parsestr(head[2:].decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise invalid("A part of the form has a head that is no UTF-8.") from exc
    name = headers.get_param("name", header="content-disposition")
    if headers.get_content_disposition() != "form-data" or not isinstance(name, str) or not name:
        raise invalid("A part of the form has no name.")
    return Part(name, headers.get_filename(), content)
