"""XMP packets: ours, others with ours in it, and what ours says. Packets come from anybody.

What another packet says stays byte by byte: one more description of the file is put in front of its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from nanobanana_batch.provenance.record import Record

NAMESPACE = "urn:nanobanana-batch:1#"
RECORD = f"{NAMESPACE}record"
MOST_BYTES = 4 << 20
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_DESCRIPTION = f"{_DC}description"
_REMOTE_SIGNATURE = "http://purl.org/dc/terms/provenance"
_MOST_DEPTH = 100
_HEAD = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
)
_TAIL = '</rdf:RDF></x:xmpmeta>\n<?xpacket end="r"?>'
_END = re.compile(rb"</[A-Za-z_][\w.-]{0,60}:RDF\s{0,100}>")
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class BadPacket(Exception):
    """A packet that cannot be read, or not be added to."""


@dataclass(slots=True)
class Packet:
    """What matters to us of a packet."""

    names: set[str] = field(default_factory=set)
    """All elements and attributes, with their namespaces in front."""
    about: str = ""
    """What it says it describes; what is added has to describe the same."""
    record: str = ""
    """Our own text, of the last of ours; empty: none."""

    @property
    def is_signed_elsewhere(self) -> bool:
        """Content credentials of the file are kept at an address."""
        return _REMOTE_SIGNATURE in self.names


def new_packet(record: Record, *, describes: bool = True) -> bytes:
    """One that says what the record says; `describes`: also as a title that every viewer shows."""
    return f"{_HEAD}{_description(record, '', describes=describes)}{_TAIL}".encode()


def added(packet: bytes, record: Record, *, describes: bool = True) -> bytes:
    """Another program's packet with ours in it; a description that it has stays the only one.

    Raises:
        BadPacket: it cannot be read, or has no place for it.
    """
    found = parsed(packet)
    ends = list(_END.finditer(packet))
    if not ends:
        raise BadPacket("it has no end that can be moved")
    ours = _description(record, found.about, describes=describes and _DESCRIPTION not in found.names)
    at = ends[-1].start()
    together = packet[:at] + ours.encode() + packet[at:]
    if parsed(together).record != record.as_text():
        raise BadPacket("it hides what is added to it")
    return together


def parsed(packet: bytes) -> Packet:
    """What a packet says; entities and document types are refused, so that none can swell.

    Raises:
        BadPacket: it is no XML in UTF-8, too large or too deep, or has a document type.
    """
    if len(packet) > MOST_BYTES:
        raise BadPacket("it is too large")
    reader = _Reader()
    parser = expat.ParserCreate("utf-8", namespace_separator="")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = reader.begins
    parser.EndElementHandler = reader.ends
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(packet.rstrip(b"\0"), True)
    except (expat.ExpatError, ValueError) as error:
        raise BadPacket("it is no XML that can be read") from error
    return reader.found


def _refuse(*_: object) -> None:
    raise BadPacket("it has a document type, which no packet has")


class _Reader:
    """Takes notes while a packet is read."""

    def __init__(self) -> None:
        self.found = Packet()
        self._depth = 0
        self._texts: list[str] | None = None

    def begins(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise BadPacket("it is too deep")
        self.found.names.add(name)
        self.found.names.update(attributes)
        if name == f"{_RDF}Description":
            self.found.about = self.found.about or attributes.get(f"{_RDF}about", "")
        if RECORD in attributes:
            self.found.record = attributes[RECORD]
        self._texts = [] if name == RECORD else None

    def ends(self, name: str) -> None:
        self._depth -= 1
        if name == RECORD and self._texts is not None:
            self.found.record = "".join(self._texts)
        self._texts = None

    def text(self, text: str) -> None:
        if self._texts is not None:
            self._texts.append(text)


def _description(record: Record, about: str, *, describes: bool) -> str:
    request, quoted = record.request, {'"': "&quot;"}
    title = (
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_escaped(request.prompt)}</rdf:li></rdf:Alt>'
        "</dc:description>"
    )
    parts: tuple[tuple[str, str], ...] = (
        ("model", request.model),
        ("taskId", record.task_id),
        ("rowKey", record.row_key),
        ("record", record.as_text()),
    )
    told = "".join(f"<nb:{name}>{_escaped(text)}</nb:{name}>" for name, text in parts if text)
    return (
        f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="{escape(about, quoted)}" xmlns:dc="{_DC}"'
        f' xmlns:nb="{NAMESPACE}">{title if describes else ""}{told}</rdf:Description>'
    )


def _escaped(text: str) -> str:
    return escape(_NO_CHARACTER.sub("\ufffd", text), {"\r": "&#13;"})


def fitting(make: Callable[[bool], bytes], most: int) -> bytes:
    """What is made with a title, or without one where that leaves no room.

    Raises:
        BadPacket: nor without.
    """
    for describes in (True, False):
        packet = make(describes)
        if len(packet) <= most:
            return packet
    raise BadPacket(f"it would have more than {most:,} bytes")
