"""Filters change a value where a template inserts it.

What a filter makes is part of a prompt, and a prompt is part of what was paid for: a filter never gives
another text for the same value than it did before, as a new version of a library for articles or slugs may.
What is missing becomes another filter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

_WORDS = re.compile(r"\w[\w\u0300-\u036f'\u2019]*")
_MARKS = re.compile("[\u0300-\u036f]")
_SOUNDS_LIKE_A_VOWEL = re.compile(r"[aeiou8]|1[18](\d\d)?(?!\d)|hour|hon(est|ou?r)|heir")
_SOUNDS_LIKE_A_CONSONANT = re.compile(
    r"eu|ewe|on(e|ce)\b|ouija|uni([^dmn]|directional|mod)|unanim|u(b(?!er)|[cfhjkqrst])[aeiou]|ugand|ukr"
)
_SPELLED_OUT = re.compile(
    r"[A-Za-z](?![^\W\d_]|['\u2019])"  # a letter: an X-ray, an n-gon, an M16
    r"|(?!(MRS?|ST|UP)\b)("
    r"[B-DF-HJ-NP-TV-XZ]{2,}"
    r"|[HLMNRX][B-DF-HJ-NP-TV-XZ][A-Z]{1,2}|F[B-DF-HJKMNP-TV-XZ][A-Z]{1,2}|S[BDFGJRVXZ][A-Z]{1,2}"
    r"|U[B-DF-HJ-NP-TV-XZ]{1,2}|EU|UAE|UAV|UEFA|UFO|UI|UNESCO|UNICEF|USA"
    r"|FAA|FAQ|HIV|LA|LED|MIT|NYC|NYPD|NYU|RAF|SEO|SUV"
    r")(?![A-Za-z])"
)
"""Said letter by letter: what nobody could pronounce, and some that one could."""


def title(text: str) -> str:
    """Each word with a capital letter: `Old Tokyo`."""
    return _WORDS.sub(lambda found: found[0].capitalize(), text)


def slug(text: str) -> str:
    """Lower case, dashes, no accents, for paths: `sao-paulo`; letters of every script are kept."""
    plain = unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFKD", text)))
    return re.sub(r"[\W_]+", "-", plain.casefold()).strip("-")


def with_article(text: str) -> str:
    """`a` or `an` before the text, as English spelling suggests; nothing before nothing.

    It knows the usual exceptions (an hour, a university, a one-eyed cat, an 8-bit fox, an X-ray, an HDR
    photo, an FBI agent, a URL), not every word: abbreviations that could be read as a word are taken for
    one, but for a few (`SUV`, `LED`).
    """
    if not text.strip():
        return text
    first = re.sub(r"^[\W_]+", "", _MARKS.sub("", unicodedata.normalize("NFKD", text)))
    if _SPELLED_OUT.match(first):
        return f"{'an' if first[0] in 'AEFHILMNORSXaefhilmnorsx' else 'a'} {text}"
    word = first.lower()
    vowel = _SOUNDS_LIKE_A_VOWEL.match(word) and not _SOUNDS_LIKE_A_CONSONANT.match(word)
    return f"{'an' if vowel else 'a'} {text}"


FILTERS: Mapping[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "title": title,
    "capitalize": str.capitalize,
    "slug": slug,
    "a": with_article,
}
"""All filters by the name that a template gives them."""
