"""Records in files: pixels and what others wrote stay byte by byte, and hostile files are told apart."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from xml.sax.saxutils import escape

import pytest
from PIL import Image, ImageCms

from nanobanana_batch.files.formats import identify
from nanobanana_batch.model import Request, row_key
from nanobanana_batch.provenance import xmp
from nanobanana_batch.provenance.containers import jpeg_parts, png_parts, webp_parts
from nanobanana_batch.provenance.embed import NotEmbedded, Unreadable, Why, embedded, record_in
from nanobanana_batch.provenance.record import NAME, Record
from tests.checks.drawn import encoded, photo

MODEL = "gemini-3.1-flash-image-preview"
KINDS = ("PNG", "JPEG", "WEBP")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
HOSTILE = [
    "a cat",
    "first\n\n  second\tthird\r\nfourth ",
    "]]> </nb:record></rdf:RDF> &amp; <!-- <?xpacket end='w'?>",
    "quotes \" and ' and \\ and \\n",
    "\u202eright to left\u202c עברית العربية 日本語 \U0001f600\U000e0041",
    "\x7f \x85 \u2028 \ufeff \ufffe \ufdd0 \U0001fffe",
    "Steps: 20, Size: 1x1",
    "é" * 8000,
]


def record(prompt: str = "a cat") -> Record:
    request = Request(MODEL, prompt, "16:9", "1K", ("https://x.example/{a}?b=c&d",), web_search=False)
    return Record(request, row_key(request, 1), 1, "cat", "task-1", 1, {"style": "ink", "a.b": "<x>"})


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGBA").tobytes()


def picture_parts(data: bytes) -> list[bytes]:
    """The bytes that pixels are made of, as they stand in the file."""
    kind = identify(memoryview(data)).extension
    if kind == "png":
        return [
            data[p.start : p.end] for p in png_parts(data) if p.kind in (b"IHDR", b"PLTE", b"IDAT", b"tRNS")
        ]
    if kind == "webp":
        return [
            data[p.start : p.end] for p in webp_parts(data) if p.kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
        ]
    tables = [data[p.start : p.end] for p in jpeg_parts(data) if not 0xE0 <= p.kind[0] <= 0xEF]
    return [*tables, data[list(jpeg_parts(data))[-1].end :]]


def others(data: bytes) -> list[bytes]:
    """All parts of a file but those that a record is in."""
    kind = identify(memoryview(data)).extension
    if kind == "png":
        return [data[p.start : p.end] for p in png_parts(data) if p.kind != b"iTXt"]
    if kind == "webp":
        return [data[p.start : p.end] for p in webp_parts(data) if p.kind not in (b"VP8X", b"XMP ")]
    return [
        data[p.start : p.end]
        for p in jpeg_parts(data)
        if p.body(data, 29) != b"http://ns.adobe.com/xap/1.0/\0"
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_written_is_read(kind: str, prompt: str) -> None:
    """Whatever is in a prompt; the same file and record give the same bytes."""
    data = encoded(photo(1), kind)
    result = embedded(data, record(prompt))
    assert record_in(result) == record(prompt)
    assert result == embedded(data, record(prompt))
    assert pixels(result) == pixels(data)
    assert picture_parts(result) == picture_parts(data)


@pytest.mark.parametrize(
    ("kind", "image", "options"),
    [
        ("PNG", photo(1).quantize(16), {"transparency": 3}),
        ("PNG", photo(1), {"save_all": True, "append_images": [photo(2)]}),
        ("PNG", photo(1), {"icc_profile": SRGB, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
        ("JPEG", photo(1), {"icc_profile": SRGB, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
        ("JPEG", photo(1).convert("CMYK"), {}),
        ("JPEG", photo(1), {"progressive": True, "restart_marker_blocks": 2, "comment": "theirs"}),
        ("WEBP", photo(1), {"lossless": True}),
        ("WEBP", photo(1, 95), {"lossless": True}),
        ("WEBP", photo(1).convert("RGBA"), {"lossless": True}),
        ("WEBP", Image.new("RGBA", (33, 35), (1, 2, 3, 4)), {"lossless": True}),
        ("WEBP", Image.new("RGBA", (33, 35), (1, 2, 3, 4)), {}),
        ("WEBP", photo(1), {"save_all": True, "append_images": [photo(2)]}),
        ("WEBP", photo(1), {"icc_profile": SRGB, "exif": b"II*\0\x08\0\0\0\0\0\0\0\0\0"}),
    ],
)
def test_what_others_wrote_stays(kind: str, image: Image.Image, options: dict[str, object]) -> None:
    """Profiles, EXIF, comments, frames, alpha: the parts are the very same bytes, in their order."""
    data = encoded(image, kind, **options)
    result = embedded(data, record())
    assert record_in(result) == record()
    assert [part for part in others(result) if part] == others(data)
    assert picture_parts(result) == picture_parts(data)
    assert pixels(result) == pixels(data)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(result)) as after:
        for name in ("icc_profile", "exif", "comment", "loop"):
            assert after.info.get(name) == before.info.get(name)
        assert (after.mode, after.size) == (before.mode, before.size)
        assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_behind_the_end_stay(kind: str) -> None:
    """They are no part of the picture, and somebody's."""
    data = encoded(photo(1), kind) + b"theirs"
    assert embedded(data, record()).endswith(b"theirs")


def test_a_png_is_shown_by_tools_that_people_have() -> None:
    """`parameters` as A1111 writes it, `Description` as PNG names it; those that are there stay."""
    with Image.open(io.BytesIO(embedded(encoded(photo(1)), record("a cat\nin ink")))) as image:
        assert image.info["Description"] == "a cat\nin ink"
        prompt, _, settings = image.info["parameters"].rpartition("\n")
    assert prompt == "a cat\nin ink"
    assert settings.startswith(f"Model: {MODEL}, Size: 96x96, Aspect ratio: 16:9")
    data = encoded(photo(1))
    theirs = data[:33] + chunk(b"tEXt", b"parameters\0theirs") + data[33:]
    with Image.open(io.BytesIO(embedded(theirs, record()))) as image:
        assert image.info["parameters"] == "theirs"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def riff(data: bytes, kind: bytes, body: bytes) -> bytes:
    inside = data[12:] + kind + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)
    return b"RIFF" + struct.pack("<I", len(inside) + 4) + b"WEBP" + inside


def with_png(kind: bytes, body: bytes) -> bytes:
    data = encoded(photo(1))
    return data[:33] + chunk(kind, body) + data[33:]


def with_jpeg(marker: int, body: bytes) -> bytes:
    data = encoded(photo(1), "JPEG")
    return data[:20] + segment(marker, body) + data[20:]


def with_webp(kind: bytes, body: bytes) -> bytes:
    return riff(encoded(photo(1), "WEBP", exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0"), kind, body)


def packet(inside: str, about: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<r:Description r:about="{about}" xmlns:p="http://theirs.example/">{inside}</r:Description></r:RDF>'
        "</x:xmpmeta>" + " " * 100 + '<?xpacket end="w"?>'
    ).encode()


XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
WITH_XMP: dict[str, Callable[[bytes], bytes]] = {
    "jpeg": lambda body: with_jpeg(0xE1, XMP_HEAD + body),
    "webp": lambda body: with_webp(b"XMP ", body),
}
SIGNED = {
    "png": with_png(b"caBX", b"jumb of c2pa"),
    "jpeg": with_jpeg(0xEB, b"JP\0\x01\0\0\0\x01\0\0\0\x20jumb\0\0\0\0jumdc2pa"),
    "webp": with_webp(b"C2PA", b"jumb of c2pa"),
    "jpeg elsewhere": WITH_XMP["jpeg"](
        packet('<t:provenance xmlns:t="http://purl.org/dc/terms/">https://x.example/1</t:provenance>')
    ),
}


@pytest.mark.parametrize("data", SIGNED.values(), ids=SIGNED.keys())
def test_signed_files_stay_as_they_are(data: bytes) -> None:
    """Content credentials hold for all of the file; who says so gets both, and the parts are kept."""
    with pytest.raises(NotEmbedded) as raised:
        embedded(data, record())
    assert raised.value.why is Why.SIGNED
    result = embedded(data, record(), also_signed=True)
    assert record_in(result) == record()
    assert b"c2pa" not in data or b"c2pa" in result


def test_jumbf_of_others_is_no_signature() -> None:
    """APP11 is used for more than content credentials."""
    assert (
        record_in(embedded(with_jpeg(0xEB, b"JP\0\x01\0\0\0\x01jumb of a depth map"), record())) == record()
    )


@pytest.mark.parametrize("kind", WITH_XMP)
def test_xmp_of_others_is_added_to(kind: str) -> None:
    """All that it says stays, in its own words; and what is added describes the same file."""
    inside = (
        "<dc:description><r:Alt><r:li xml:lang='x-default'>theirs</r:li></r:Alt></dc:description><p:a>1</p:a>"
    )
    before = packet(inside, "uuid:1")
    result = embedded(WITH_XMP[kind](before), record())
    assert record_in(result) == record()
    head, _, tail = before.partition(b"</r:RDF>")
    assert head in result
    assert b"</r:RDF>" + tail in result
    assert result.count(b"dc:description>") == 2
    assert result.count(b'about="uuid:1"') == 2


@pytest.mark.parametrize("kind", WITH_XMP)
def test_a_record_that_is_there_gives_way(kind: str) -> None:
    """A tool may have kept ours through an edit: the newest counts."""
    first = embedded(WITH_XMP[kind](packet("")), record("first"))
    assert record_in(embedded(first, record("second"))) == record("second")


def test_a_record_that_is_there_gives_way_in_a_png() -> None:
    """There, too."""
    assert record_in(embedded(embedded(encoded(photo(1)), record("first")), record())) == record()


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><x>&c;</x>'
)
BAD_XMP = {
    "laughs": LAUGHS.encode(),
    "a file": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "no XML": b"theirs",
    "UTF-16": packet("").decode().encode("utf-16"),
    "deep": packet("<p:a>" * 150 + "</p:a>" * 150),
    "no end": packet("")[:-150],
}


@pytest.mark.parametrize("kind", WITH_XMP)
@pytest.mark.parametrize("body", BAD_XMP.values(), ids=BAD_XMP.keys())
def test_xmp_that_cannot_be_read(kind: str, body: bytes) -> None:
    """Nothing is added to it, and nothing is lost; a reader says so."""
    data = WITH_XMP[kind](body)
    with pytest.raises(NotEmbedded) as raised:
        embedded(data, record())
    assert raised.value.why is Why.NO_ROOM
    with pytest.raises(Unreadable, match="XMP cannot be read"):
        record_in(data)


def test_a_jpeg_has_little_room() -> None:
    """A segment has 64 KiB: a long prompt is there once, and not as a title, too; what is longer is not."""
    long = embedded(encoded(photo(1), "JPEG"), record("\U0001f600" * 10_000))
    assert record_in(long) == record("\U0001f600" * 10_000)
    assert b"dc:description" not in long
    with pytest.raises(NotEmbedded, match="no place"):
        embedded(encoded(photo(1), "JPEG"), record("\U0001f600" * 20_000))


def test_pictures_behind_the_first_are_still_found() -> None:
    """Their distance is counted from a part (MPF) in front of which something is put, never behind which."""
    data = encoded(photo(1), "JPEG")
    plain = data[:20] + segment(0xE2, b"MPF\0theirs") + data[20:]
    result = embedded(plain, record())
    assert result.index(b"MPF\0") - len(result) == plain.index(b"MPF\0") - len(plain)
    both = data[:20] + segment(0xE2, b"MPF\0theirs") + segment(0xE1, XMP_HEAD + packet("")) + data[20:]
    with pytest.raises(NotEmbedded):
        embedded(both, record())


# --- what is read of files of anybody --------------------------------------------------------------------


@pytest.mark.parametrize("data", [encoded(photo(1), kind) for kind in KINDS], ids=KINDS)
def test_files_without_a_record(data: bytes) -> None:
    """Have none."""
    assert record_in(data) is None


def test_files_of_other_tools() -> None:
    """Theirs is no record of ours."""
    assert record_in(with_png(b"tEXt", b"parameters\0a cat\nSteps: 20, Sampler: Euler a")) is None
    assert record_in(WITH_XMP["jpeg"](packet("<dc:description>a cat</dc:description>"))) is None


def text_chunk(text: bytes, *, packed: bool = False) -> bytes:
    body = NAME.encode() + b"\0" + bytes([packed]) + b"\0\0\0" + (zlib.compress(text, 9) if packed else text)
    return with_png(b"iTXt", body)


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(record().as_text()), **changes}).encode()


BAD_TEXTS = {
    "no JSON": b"{",
    "a list": b"[]",
    "nothing": b"{}",
    "deep": b"[" * 200_000,
    "newer": changed(**{NAME: 2}),
    "no version": changed(**{NAME: "1"}),
    "no request": changed(request=[]),
    "a field": changed(request={"prompt": "a", "model": "b", "seed": "c"}),
    "a number": changed(request={"prompt": 5, "model": "b"}),
    "images": changed(request={"prompt": "a", "model": "b", "images": [1]}),
    "a truth": changed(request={"prompt": "a", "model": "b", "web_search": "yes"}),
    "a row key": changed(row_key="r1-../../etc"),
    "an id": changed(id="x" * 1000),
    "variables": changed(variables=[1]),
    "a variable": changed(variables={"a": {"b": 1}}),
    "settings": changed(settings={"a": [1]}),
    "a variant": changed(variant=-1),
    "files": changed(files={"a": "b"}),
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_records_that_are_none(text: bytes) -> None:
    """Whoever made them: a reason, and no crash."""
    with pytest.raises(Unreadable, match="record cannot be read"):
        record_in(text_chunk(text))


def test_packed_texts_are_unpacked_up_to_a_bound() -> None:
    """Tools that make files smaller pack them; a bomb is not unpacked."""
    assert record_in(text_chunk(record().as_text().encode(), packed=True)) == record()
    with pytest.raises(Unreadable, match="cannot be read"):
        record_in(text_chunk(b'{"a": "' + b" " * (64 << 20), packed=True))


@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_is_told_or_seen(kind: str) -> None:
    """Files cut off or changed at any place: a record, none, or a reason."""
    whole, chance = embedded(encoded(photo(1, 40), kind), record()), random.Random(3)
    for _ in range(300):
        at = chance.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        for data in (whole[:at], bytes(damaged)):
            with suppress(Unreadable):
                record_in(data)
            with suppress(NotEmbedded):
                embedded(data, record())


def test_an_attribute_does_as_an_element() -> None:
    """Tools that write XMP anew may make one of the other."""
    text = escape(record().as_text(), {'"': "&quot;"})
    body = packet("").replace(b"xmlns:p=", f'xmlns:n="{xmp.NAMESPACE}" n:record="{text}" xmlns:p='.encode())
    assert record_in(WITH_XMP["webp"](body)) == record()
