"""A link that was cut off, at any byte, is shown no more than a whole one: half a signature is a secret."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from nanobanana_batch.providers.tasks.replies import failed_read, read_submit_reply, read_task
from nanobanana_batch.providers.tasks.values import as_line
from nanobanana_batch.providers.watch import Secret, Watch, without_links
from tests.unit.wire import error, finished, reply

HEX = "5f2c9ab81d7e40c6a3b99f04e1d2c8b70a1b2c3d4e5f60718293a4b5c6d7e8f9"
BASE64 = "q7%2BZr0aW1hZ2VzL3NlY3JldC9wYXRo8kX9s8Qw%3D"
LINKS = {
    "signed": f"https://cdn.example/a/img.png?X-Amz-Credential=A%2F2026&X-Amz-Expires=86400&X-Amz-Signature={HEX}",
    "signed first": f"https://store.example/b/o.png?Expires=17748574&Signature={BASE64}&Id=x%40y",
    "path": f"https://cdn.example/{HEX}/img.png",
    "password": f"https://u:{HEX}@cdn.example/img.png",
}
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "slashes": lambda text: text.replace("/", "\\/"),
    "escapes": lambda text: text.replace("&", "\\u0026").replace("=", "\\u003d"),
    "in JSON": lambda text: json.dumps({"data": text}),
    "in HTML": lambda text: text.replace("&", "&amp;"),
}
_PIECE = 12
"""So many characters of a secret in a row are too many."""
_OF_A_LINE = 24
"""And so many in a sentence of the provider's own, where shorter runs may be ids that a person needs."""


def shows(text: str, link: str, piece: int) -> bool:
    """Whether a piece of what makes a link a permission stands in a text."""
    secret = BASE64 if BASE64 in link else HEX
    return any(secret[at : at + piece] in text for at in range(len(secret) - piece + 1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LINKS)
def test_a_reply_that_is_cut_at_any_byte_shows_nothing_of_a_link(name: str, form: str) -> None:
    """Its beginning or its end, wherever its words go: a read, a submit, and what a library says of it."""
    link, watch = LINKS[name], Watch(Secret("k" * 20))
    whole = FORMS[form](json.dumps({"data": [finished("task-unified-1774857405-abc123", link)]})).encode()
    for at in range(len(whole) + 1):
        for part in (whole[:at], whole[at:]):
            said = [failed_read(reply(200, part)).failure, failed_read(reply(500, part)).failure]
            said += [str(read_submit_reply(reply(500, part))), str(read_submit_reply(reply(400, part)))]
            said += [watch.words(f"BadStatusLine: {part!r}"), watch.words(repr(f"Invalid header: {part!r}"))]
            assert not [text for text in said if shows(text, link, _PIECE)], part
        shown = without_links(whole[:at].decode())
        assert not shows(shown, link, _PIECE), shown


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LINKS)
def test_a_message_that_quotes_a_piece_of_a_link_is_shown_without_it(name: str, form: str) -> None:
    """A provider that tells what its own upstream said, cut at any byte."""
    link = LINKS[name]
    whole = FORMS[form](f'{{"results": ["{link}"]}}')
    for at in range(len(whole)):
        for part in (whole[:at], whole[at:]):
            message = f"upstream said: {part} and no more"
            refused = str(read_submit_reply(reply(400, error("invalid_request", message))))
            failed = str(
                read_task({"id": "t", "status": "failed", "error": {"code": "x", "message": message}})
            )
            odd = str(read_task({"id": "t", "status": part, "error": {"code": part, "message": part}}))
            assert not [text for text in (refused, failed, odd) if shows(text, link, _OF_A_LINE)], part
            assert "upstream said" in refused


@pytest.mark.parametrize(
    "text",
    [
        "the model gemini-3.1-flash-image-preview is not there, size=1024x1024 is",
        "(request id: 2026112703021198765432abcDEFGH12)",
        '"request_id":"5f2c9ab81d7e40c6a3b99f04e1d2c8b7" requestId=5f2c9ab81d7e40c6a3b99f04e1d2c8b7',
        "task-unified-1774857405-abc123 at /v1/images/generations, code=invalid_request",
        "What is it? Internationalizationalisation of 100000000000000000000000000000",
        "q&a, R&D and AT&T; a=b",
    ],
)
def test_what_a_person_needs_stays(text: str) -> None:
    """Ids, models, routes, sizes and words are no links."""
    assert as_line(text) == text


def test_an_id_for_people_stays_whole() -> None:
    """Support asks for it: in the state and in the log."""
    taken = read_submit_reply(reply(400, error("invalid_request"), x_request_id=HEX))
    assert getattr(taken, "request_id", None) == HEX
    linked = read_submit_reply(reply(400, error("invalid_request"), x_request_id=LINKS["signed"]))
    assert not shows(str(linked), LINKS["signed"], _PIECE)


@pytest.mark.parametrize(
    "unit", ["&a", "b'", "?a", "%", "\\", "https://", "u:p@", '"', "=", "header '", "\\u0026"]
)
def test_a_long_text_is_cleaned_in_time_that_its_length_explains(unit: str) -> None:
    """Four times the text does not take a hundred times as long; no clock: it would just not end."""
    text = unit * (200_000 // len(unit))
    assert len(Watch(Secret("k" * 20)).words(text)) <= 500
