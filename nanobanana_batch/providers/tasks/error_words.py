"""What a reply says went wrong, in whichever form it says it, and whether the provider itself speaks.

Proxies answer in JSON as well. Of the provider's own are the error envelope of the contract, and a code of
its table where a code stands; every other text is kept for people, and is no verdict on anything.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from html import unescape
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

from nanobanana_batch.providers.base import Decision
from nanobanana_batch.providers.http import NoReply, Reply
from nanobanana_batch.providers.tasks import decisions
from nanobanana_batch.providers.tasks.values import (
    LONGEST_TEXT,
    as_line,
    as_number,
    as_object,
    as_text,
    cut,
    shape,
)
from nanobanana_batch.providers.their_clock import http_date
from nanobanana_batch.providers.watch import LONGEST_PAGE
from nanobanana_batch.wording import amount

_LONGEST_CODE = 200
_LONGEST_QUOTE = 200
_MOST_FAULTS = 5
"""Of a list of them, and how many steps the place of one has: a list may have any length."""
_DEEPEST_PLACE = 12
_LONGEST_HEADER = 200
"""Of a time, or of what names one."""
_LONGEST_WAIT_S = 1e9
"""What a longer wait is read as, so that one can reckon with it."""
_IN_WORDS = re.compile(
    r"\b(?:retry|again) (?:after|in) ([0-9]{1,30}) ?(s|m|h)(?:ec|in|ours?\b|\b)", re.IGNORECASE
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,4})?)(?: *,.*)?", re.IGNORECASE)
"""Of `Retry-After`; what stands twice is joined by a comma."""
_OF_JSON = re.compile(r"""\\{0,4}"\s*[\]}:]|[{\[]\s*\\{0,4}"|",\s*\\{0,4}\"""")
"""A piece of JSON may begin or end within a link, and has no words for people."""
_CODES = ("code", "error_code")
_MESSAGES: tuple[str, ...] = ("message", "msg", "detail", "error_message", "error_msg", "error_description")
_MESSAGES += ("reason", "fail_reason", "failure_reason")
_KINDS = ("type", "reason", "finish_reason", "finishReason")
"""Where the maker's own word for a refusal may stand besides."""
_AMOUNTS = {
    "estimated_credits": "this request",
    "account_balance_credits": "the account has",
    "remaining_credits": "the key has",
}
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """An error as a reply tells it."""

    code: str
    """The most telling word: a code of the table wherever it stands, else the given one, else nothing."""
    message: str
    is_own: bool
    """The provider itself speaks, in the envelope or with a code of the contract."""
    fields: Mapping[str, Any]
    """All that stands with it."""


def json_object(reply: Reply) -> dict[str, Any]:
    """The body if it is a JSON object, else an empty one."""
    try:
        return as_object(json.loads(reply.body))
    except (ValueError, RecursionError):
        return {}


def error_of(reply: Reply) -> ErrorWords | None:
    """What a reply says went wrong; None where its body tells of no error."""
    body = json_object(reply)
    words = words_in(body)
    if words is None or reply.status >= 300:
        return words
    is_told = bool(body.get("error")) or body.get("success") is False
    return words if is_told or decisions.stands_for(words.code) is not None else None


def words_in(body: Mapping[str, Any]) -> ErrorWords | None:
    """The words of an error in an object, be it an envelope or flat; also the usual words of a success."""
    error = body.get("error")
    if isinstance(error, dict) and error:
        is_envelope = any(error.get(name) not in (None, "") for name in ("code", *_MESSAGES, "type"))
        return _words({**body, **error}, "", is_envelope=is_envelope)
    text = error if isinstance(error, str) else ""
    if not text.strip() and not any(_told(body, names) for names in (_CODES, _MESSAGES)):
        return None
    return _words(body, text, is_envelope=False)


def _words(fields: Mapping[str, Any], text: str, *, is_envelope: bool) -> ErrorWords:
    given = _told(fields, _CODES)
    message = _told(fields, _MESSAGES)
    is_code = decisions.is_word(given) or _is_written_as_code(text)
    return ErrorWords(
        _telling(given, text, message, fields),
        ": ".join(dict.fromkeys(part for part in (as_line(text), message) if part)),
        is_envelope or is_code,
        fields,
    )


def _telling(given: str, text: str, message: str, fields: Mapping[str, Any]) -> str:
    """The given code if the table has it as a word; else a refusal, else what the text is a word for."""
    if decisions.is_word(given):
        return given
    refusal = next((kind for kind in _kinds(fields) if _is_refusal(kind)), "")
    if refusal or (given and not given.isdecimal()):
        return refusal or given
    sayings = (saying.strip(" .!") for said in (text, message) for saying in (said, said.partition(":")[0]))
    word = next((decisions.plain(saying) for saying in sayings if decisions.is_word(saying)), "")
    return word or given


def _kinds(fields: Mapping[str, Any]) -> Iterator[str]:
    yield from (value for name in _KINDS if isinstance(value := fields.get(name), str))


def _is_refusal(word: str) -> bool:
    line = decisions.known(word) if decisions.is_word(word) else None
    return line is not None and line.task is Decision.REFUSE


def refusal_in(words: ErrorWords) -> str:
    """The maker's word for a refusal, wherever a failed task shows it; empty where it does not."""
    kinds = (kind for kind in _kinds(words.fields) if _is_refusal(kind))
    tokens = (token for token in re.findall(r"\b[A-Z_]{4,}\b", words.message))
    return next(kinds, "") or next((token for token in tokens if token in decisions.MAKERS_REFUSALS), "")


def _is_written_as_code(text: str) -> bool:
    """One word with the joints of a code: a person's "Invalid request" may be a proxy's."""
    # What is long is no word, so the rest looks at few characters of whatever came.
    return decisions.is_word(text) and re.fullmatch(r"[^\s_:]+[_:]\S+", text.strip()) is not None


def _told(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    values = (fields.get(name) for name in names)
    value = next((value for value in values if value not in (None, "", [], {}, False)), "")
    longest = _LONGEST_CODE if names is _CODES else LONGEST_TEXT
    if isinstance(value, list):
        return cut("; ".join(_item(item) for item in value[:_MOST_FAULTS]), longest)
    return as_line(value, longest)


def _item(item: object) -> str:
    """One fault of a list of them, without the input that it repeats."""
    fields = as_object(item)
    if not fields:
        return as_line(item, _LONGEST_CODE)
    place = fields.get("loc")
    where = ".".join(as_line(part, 30) for part in place[:_DEEPEST_PLACE]) if isinstance(place, list) else ""
    words = as_line(fields.get("msg") or fields.get("message") or "")
    return ": ".join(part for part in (where, words) if part)


def code_and_message(reply: Reply, words: ErrorWords | None) -> tuple[str, str]:
    """Code and message of an error; integer codes of older pages are as good as strings."""
    if words is None:
        return f"http_{reply.status}", quoted(reply)
    credits = ", ".join(
        f"{meaning}: {amount(found)} credits"
        for name, meaning in _AMOUNTS.items()
        if (found := as_number(words.fields.get(name))) is not None
    )
    message = f"{words.message} ({credits})" if credits else words.message
    return words.code or f"http_{reply.status}", message


def told(reply: Reply) -> str:
    """A reply that is of no use, in one line for a person: its status and what it says."""
    code, message = code_and_message(reply, words := error_of(reply))
    if words is None or code == f"http_{reply.status}":
        return f"HTTP {reply.status}: {message}"
    return f"HTTP {reply.status}: {code}: {message}"


def quoted(reply: Reply) -> str:
    """What a body that is no error message of the API's says, as far as a person can use it."""
    text = reply.body[:LONGEST_PAGE].decode("utf-8", "replace").strip()
    if not text:
        return "an empty body"
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        if not text.startswith("<") and _OF_JSON.search(text):
            return f"JSON that breaks off or is no JSON ({len(reply.body)} bytes)"
        return _page(text)
    said = _told(as_object(value), _MESSAGES)
    return f"{said}; {shape(value)}" if said else f"JSON of another form: {shape(value)}"


def _page(text: str) -> str:
    title = _title(text)
    if not title.strip():
        text = re.sub(r"(?is)<(script|style)\b.*?(</\1\s*>|$)|<[^>]*(>|$)", " ", text)
    words = as_line(unescape(title if title.strip() else text), _LONGEST_QUOTE)
    return f'no JSON: "{words}"' if words else "no JSON, and no words"


def _title(text: str) -> str:
    """Found step by step: one pattern for it all would begin anew at each of a thousand titles."""
    begin = re.search("(?i)<title", text)
    inner = text[begin.end() :].partition(">")[2] if begin is not None else ""
    end = re.search("(?i)</title", inner)
    return inner[: end.start()] if end is not None else ""


# --- how long to wait ------------------------------------------------------------------------------


def retry_after_s(reply: Reply, fields: Mapping[str, Any] | None) -> float | None:
    """Seconds to wait: `Retry-After` in seconds or as a date, else as the provider puts it into words.

    What cannot be read, or is less than nothing, is as if it were not there. `fields`: what the reply is
    understood to say; of one that is not, the bare text is looked through.
    """
    value = reply.headers.get("retry-after", "")[:_LONGEST_HEADER].strip()
    if (seconds := _SECONDS.fullmatch(value)) is not None:
        return min(float(seconds[1]), _LONGEST_WAIT_S)
    until = http_date(value)
    if until is not None:
        # By the provider's own clock where it tells: ours may be wrong.
        now = date_of(reply)
        return min(max(0.0, until - (time.time() if now is None else now)), _LONGEST_WAIT_S)
    return wait_in_words(fields or {"error": reply.body[:LONGEST_PAGE].decode("utf-8", "replace")})


def wait_without_body(error: NoReply) -> float | None:
    """As `retry_after_s`, in seconds, of a refusal whose body did not come whole, or cannot be decoded."""
    head = error.head
    is_refusal = head is not None and head.status >= HTTPStatus.BAD_REQUEST
    return retry_after_s(head, None) if head is not None and is_refusal else None


def wait_in_words(fields: Mapping[str, Any]) -> float | None:
    """Seconds as in "retry after 60 seconds"."""
    for name in ("fallback_suggestion", *_MESSAGES, "error"):
        found = _IN_WORDS.search(as_text(fields.get(name, ""), LONGEST_TEXT))
        if found:
            return min(float(found[1]) * _UNITS[found[2].lower()], _LONGEST_WAIT_S)
    return None


def date_of(reply: Reply) -> float | None:
    """Unix seconds by the provider's clock, where the reply tells."""
    return http_date(reply.headers.get("date", ""))


def resets_in_s(reply: Reply, fields: Mapping[str, Any]) -> float | None:
    """Seconds until a daily quota is there again: as the reply asks to wait, else until its next midnight.

    Contract, "Errors": `reset_timezone` in the body; None where it names none that is known here.
    """
    wait = retry_after_s(reply, fields)
    zone = _zone(fields.get("reset_timezone")) if wait is None else None
    if zone is None:
        return wait
    now_s = date_of(reply)
    return _until_midnight_s(time.time() if now_s is None else now_s, zone)


def _until_midnight_s(now_s: float, zone: tzinfo) -> float | None:
    try:
        now = datetime.fromtimestamp(now_s, zone)
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), zone)
        return midnight.timestamp() - now_s
    except (ValueError, OverflowError, OSError):  # a clock at the end of all time
        return None


def _zone(name: object) -> tzinfo | None:
    """A time zone by its name, or by what it is ahead of UTC."""
    text = name[:_LONGEST_HEADER].strip() if isinstance(name, str) else ""
    if text.upper() in ("UTC", "GMT", "Z"):
        return UTC
    if (found := _OFFSET.fullmatch(text)) is not None:
        ahead = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        return timezone(ahead if found[1] == "+" else -ahead) if ahead < timedelta(days=1) else None
    try:
        return ZoneInfo(text) if text else None
    except (KeyError, ValueError, OSError):  # it is not in this machine's list, or no name at all
        return None
