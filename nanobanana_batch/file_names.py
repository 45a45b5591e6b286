"""Which names files of a run may have: safe on every system, and never a way out of the folder.

A manifest's ids are checked by this, and so is whatever a state says of names: it may be somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_ID_BYTES = 120
"""Leaves room for endings and temporary names within the 255 bytes of common file systems."""
MAX_STEM_BYTES = MAX_ID_BYTES + 28
"""An id, with the number of a further image, and what tells it from another file of that name."""
IMAGE_FOLDER = "images"
ANSWERS = "answers"
"""The folder of replies and results that hold images which are no files yet."""

_KEY = re.compile(r"[0-9a-f]{48}", re.ASCII)
FORBIDDEN = re.compile(
    r"[/\\:*?\"<>|\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN_ID = re.compile(r"(?!con|prn|aux|nul|com|lpt)[a-z0-9][a-z0-9_-]{0,100}", re.IGNORECASE | re.ASCII)
_NOT_IN_FILE_NAMES = 'names of files have none of / \\ : * ? " < > | and no control characters'
_PLAIN = re.compile(r"images/[a-z0-9][a-z0-9_-]{5,99}(~[0-9]{1,9})?\.(png|jpg|webp)", re.ASCII)
"""What nearly all images are called: no more has to be asked (names that Windows reserves are shorter)."""
_ENDING = re.compile(r"(?P<stem>.+?)(~[0-9]{1,9})?\.(png|jpg|webp)", re.DOTALL)


def id_fault(text: str, most_bytes: int = MAX_ID_BYTES) -> str:
    """What keeps this from being an id, or nothing."""
    if not text.strip():
        return "it is empty"
    found = FORBIDDEN.search(text)
    if found:
        return f"it has the character {found[0]!r}; {_NOT_IN_FILE_NAMES}"
    if text[0] in ". ":
        return "it begins with a dot or a space"
    if text[-1] in ". " or text[-1].isspace():
        return "it ends with a dot or a space"
    if RESERVED.fullmatch(text):
        return "Windows reserves this name"
    size = len(text.encode())
    return f"it has {size} bytes; at most {most_bytes} are allowed" if size > most_bytes else ""


def are_plain_ids(texts: Iterable[str]) -> bool:
    """Whether all of them are ids beyond doubt: short, of ASCII letters, digits and dashes, not reserved."""
    return all(map(_PLAIN_ID.fullmatch, texts))


def is_stem(text: str) -> bool:
    """Whether an image of a run may be called so, apart from its ending."""
    return not id_fault(text, MAX_STEM_BYTES)


def is_image_path(path: str) -> bool:
    """Whether it is that of an image of a run: one name in the image folder, with `/`."""
    if _PLAIN.fullmatch(path):
        return True
    folder, slash, name = path.partition("/")
    found = _ENDING.fullmatch(name)
    return folder == IMAGE_FOLDER and bool(slash) and found is not None and is_stem(found["stem"])


def is_answer_path(path: str) -> bool:
    """Whether it is that of a reply or of results of a run, with `/`."""
    folder, slash, name = path.partition("/")
    return folder == ANSWERS and bool(slash) and _KEY.fullmatch(name) is not None
