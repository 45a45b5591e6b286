"""A provider that was taken over answers: with the key, with bombs, with what takes a day to look through."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from nanobanana_batch.providers.error_words import error_of
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.links import links_of
from nanobanana_batch.providers.replies import read_submit_reply, read_task
from nanobanana_batch.providers.values import LONGEST_TEXT, as_text
from nanobanana_batch.providers.watch import Secret, Watch, shown_id


@pytest.fixture
def anyio_backend() -> str:
    """As in production."""
    return "asyncio"


# --- texts that take a day to look through ---------------------------------------------------------

_LONG = 1_000_000
_UNITS = (
    *("_", "a", "A", "?", "?a=", "&a=", "&", "&#0", "%", "%25", "\\", "\\u00", "\\\\/", "a:", "a://", "//a@"),
    *("<title", "<title>", "<script ", "b'", "line '", " ", ",", " ,", '" ', "[ ", '["', "1", "1.", "id="),
    *("retry after 1", "a.b.", "\n"),
)


@contextmanager
def not_for_ever() -> Iterator[None]:
    """What would take minutes fails; nothing here takes a second."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it takes more than by its length")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("unit", _UNITS)
def test_a_text_of_any_make_takes_time_by_its_length_only(unit: str) -> None:
    """It stands wherever a provider may write one: error, code, page, task, header, error of a library."""
    text = unit * (_LONG // len(unit)) + " x"
    fields = {"code": text, "message": text, "error": text, "type": text, "reset_timezone": text}
    headers = dict.fromkeys(("x-request-id", "retry-after", "date", "idempotency-replayed"), text)
    with not_for_ever():
        for body in ({"error": text}, {"error": fields}, {"id": "t-1"}, {"detail": [{"msg": text}]}):
            read_submit_reply(Reply(400, headers, json.dumps(body).encode()))
        read_submit_reply(Reply(200, headers, b'{"id": "t-1"}'))
        read_submit_reply(Reply(502, headers, text.encode()))
        read_task({**fields, "id": "t-1", "status": "failed"})
        read_task({"id": "t-1", "status": text, "results": [text], "output": text})
        shown_id(text)
        Watch(Secret("sk-abcdefgh12345678")).words(text)


# --- lists without end -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "detail",
    [
        [{"loc": ["a"] * 100_000, "msg": "m"}] * 3,
        [{"loc": ["a" * 100_000] * 100, "msg": "m" * 100_000}] * 3,
        [{"loc": [["a"] * 100_000], "msg": ["m" * 5000] * 10}] * 100,
        ["a" * 100_000] * 1000,
    ],
    ids=["places", "long", "nested", "texts"],
)
@pytest.mark.parametrize("name", ["detail", "message", "code"])
def test_a_list_of_faults_is_a_message_of_the_usual_length(name: str, detail: object) -> None:
    """However many there are, and wherever they say that they stand."""
    words = error_of(Reply(422, {}, json.dumps({name: detail}).encode()))
    assert words is not None
    assert max(len(words.message), len(words.code)) <= LONGEST_TEXT + len(" [...]")


def test_faults_within_faults_are_no_depth_of_ours() -> None:
    """Each holds the next one, in the place of its words."""
    detail: object = "x"
    for _ in range(300):
        detail = [{"msg": detail}]
    assert error_of(Reply(422, {}, json.dumps({"detail": detail}).encode())) is not None


def test_of_a_value_no_more_is_written_out_than_is_shown() -> None:
    """Not all of it, of which the beginning is taken."""
    assert as_text([1, {"a": "\u00e9"}], 100) == '[1, {"a": "\u00e9"}]'

    class Endless(list[int]):
        """More than anybody could write out."""

        def __iter__(self) -> Iterator[int]:
            while True:
                yield 1

    with not_for_ever():
        assert as_text(Endless([1]), 9) == "[1, 1, 1,"


# --- links that are everything but links -----------------------------------------------------------


def test_texts_that_hold_json_are_read_up_to_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is short enough, and there are a hundred."""
    read: list[int] = []
    real = json.loads

    def loads(text: str) -> object:
        read.append(len(text))
        return real(text)

    monkeypatch.setattr(json, "loads", loads)
    text = json.dumps([[]] * 5000)
    assert links_of({"results": [text] * 100}) == ()
    assert 0 < sum(read) <= 1 << 18
    assert links_of({"results": ['["https://h.example/a.png"]']}) == ("https://h.example/a.png",)


def test_values_are_looked_at_up_to_a_number() -> None:
    """Of a million objects that hold no link, in lists within lists."""
    looked: list[str] = []

    class Telling(dict[str, object]):
        """Says that it is looked at."""

        def get(self, name: str, default: object = None) -> object:
            looked.append(name)
            return default

    for paths in ((), ("results",), ("results.href", "results.images.url")):
        looked.clear()
        assert links_of({"results": [[Telling()] * 100] * 1000}, paths) == ()
        assert len(looked) <= 10_000
