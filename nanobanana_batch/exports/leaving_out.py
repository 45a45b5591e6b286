"""Why a picture or a row is not in an export: each is counted, and told in the card."""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """In the words in which it is told."""

    NO_IMAGE = "rows without an image"
    NOT_SELECTED = "not selected by --only and --where"
    OTHER_IMAGES = "further images of the same row (--images first)"
    NOTED = "of another size or ratio than asked for (--noted out)"
    CHANGED = "changed since they were saved"
    MISSING = "files that are gone"
    UNREADABLE = "files that cannot be read"
    UNFIT = "pictures that this format cannot hold"


class LeftOut(Exception):
    """A picture that turns out not to be fit for an export while it is read."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why
