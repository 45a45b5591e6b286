"""One thing that is exported: a picture of a row, or, for tables, a row."""

from __future__ import annotations

from dataclasses import dataclass

from nanobanana_batch.collection.entries import Entry, Picture

_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture with its row."""

    key: str
    """Its name in the export: unique there without regard to case, ASCII, safe everywhere, without a dot.

    It is the row's id wherever that can be.
    """
    entry: Entry
    found: Picture | None
    """None only in formats that take rows: the row has no picture."""
    split: str

    @property
    def picture(self) -> Picture:
        """The picture, in formats that take pictures."""
        assert self.found is not None, "a format that takes pictures is given no other samples"
        return self.found

    @property
    def ending(self) -> str:
        """Of its file: png, jpg or webp."""
        return _ENDINGS[self.picture.media_type]

    @property
    def file_name(self) -> str:
        """What its file is called."""
        return f"{self.key}.{self.ending}"

    @property
    def prompt(self) -> str:
        """What was asked for."""
        return self.entry.request.prompt
