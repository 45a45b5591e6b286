"""Which picture a line of a file means: by row key and content, or by what a person has left of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Said = TypeVar("Said")


@dataclass(frozen=True, slots=True)
class Named:
    """A picture by its names; an empty one is not given."""

    id: str = ""
    """Of its row; alone it means the row's first picture."""
    image: str = ""
    """Its path in the output folder, with `/`."""
    row_key: str = ""
    sha256: str = ""

    def __bool__(self) -> bool:
        return any((self.id, self.image, self.row_key, self.sha256))

    def needed(self) -> Named:
        """As much of it as tells which picture is meant.

        Row key and content do: a picture that was moved is the same. Else a path says more than an id.
        """
        if self.row_key and self.sha256:
            return Named(row_key=self.row_key, sha256=self.sha256)
        image = self.image.replace("\\", "/").removeprefix("./")
        return Named("" if image else self.id, image, self.row_key, self.sha256)

    def ways(self, *, is_first: bool = True) -> Iterator[Named]:
        """Every `needed` that means this picture, all of whose names are given, the surest first.

        `is_first`: it is the first of its row, which is meant where no more than the row is named.
        """
        yield Named(row_key=self.row_key, sha256=self.sha256)
        for row_key, sha256 in ((self.row_key, ""), ("", self.sha256), ("", "")):
            yield Named("", self.image, row_key, sha256)
            if is_first or sha256:
                yield Named(self.id, "", row_key, sha256)
        yield Named(sha256=self.sha256)
        if is_first:
            yield Named(row_key=self.row_key)


class ByPicture(Generic[Said]):
    """What was said of pictures of one folder, by the names under which it was said; the last word counts."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], tuple[int, Said]] = {}
        self._loose: dict[Named, tuple[int, Said]] = {}
        self._count = 0

    def put(self, named: Named, said: Said) -> None:
        """It counts more than what was said before of the same picture."""
        self._count += 1
        if named.row_key and named.sha256:
            self._exact[named.row_key, named.sha256] = (self._count, said)
        else:
            self._loose[named.needed()] = (self._count, said)

    def of(self, id_: str, image: str, row_key: str, sha256: str, *, is_first: bool = True) -> Said | None:
        """What was said of a picture all of whose names are given; `is_first`: of its row."""
        found = self._exact.get((row_key, sha256))
        if self._loose:
            named = Named(id_, image, row_key, sha256)
            others = filter(None, map(self._loose.get, named.ways(is_first=is_first)))
            found = max([*others, *([found] if found else [])], key=lambda each: each[0], default=None)
        return None if found is None else found[1]
