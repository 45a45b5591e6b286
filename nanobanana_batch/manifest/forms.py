"""The shapes that parts of a manifest have, read with a place for everything that has another shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem, ProblemLog
from nanobanana_batch.manifest.names import ROW_NAMES, name_fault
from nanobanana_batch.manifest.nodes import Map, Node, Scalar, Seq, place

Entries = dict[str, tuple[int, Node]]


class Form:
    """Reads shapes of one file, collects its problems, and the names of its variables."""

    def __init__(self, path: Path, log: ProblemLog, declared: Iterable[str]) -> None:
        self.file = path.name
        self.folder = path.parent
        self.log = log
        self.declared = set(declared)
        self._good_names: set[str] = set(ROW_NAMES)
        self._order: dict[str, tuple[int, int]] = {}

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables, in the order in which they first stand in the file."""
        return tuple(sorted(self._order, key=self._order.__getitem__))

    def note(self, pos: int, message: str, field: str = "", suggestion: str = "") -> None:
        """Report a problem at this place of the file."""
        self.log.add(Problem(place(self.file, pos), message, field, suggestion=suggestion))

    def finding(self, pos: int, finding: Finding) -> None:
        """Report what a check has found at this place of the file."""
        self.log.add(
            Problem(
                place(self.file, pos), finding.message, finding.field, finding.allowed, finding.suggestion
            )
        )

    def sound_name(self, name: str, pos: int) -> bool:
        """Whether this may be a name in a row; refused ones are reported."""
        if name not in self._good_names:
            fault = name_fault(name, self.declared)
            if fault:
                self.finding(pos, fault)
                return False
            self._good_names.add(name)
        return True

    def name(self, name: str, pos: int, index: int = 0) -> bool:
        """Take note of a name in a row; false when it is refused."""
        if not self.sound_name(name, pos):
            return False
        if name not in ROW_NAMES and (name not in self._order or (pos, index) < self._order[name]):
            self._order[name] = (pos, index)
        return True

    def is_value(self, name: str, node: Node) -> bool:
        """Whether a row can have this under this name; the rest is reported."""
        if isinstance(node, Scalar):
            return True
        if name == "images" and isinstance(node, Seq) and all(isinstance(i, Scalar) for i in node.items):
            return True
        wanted = "a text or a list of texts" if name == "images" else "a text"
        self.note(node.pos, f"expected {wanted}; for several values use `matrix`", name)
        return False

    def map(self, key: str, node: Node) -> Map:
        if isinstance(node, Map):
            return node
        if not (isinstance(node, Scalar) and node.text is None):
            self.note(node.pos, "expected `name: value` pairs", key)
        return Map(node.pos)

    def maps(self, key: str, node: Node) -> Iterator[Map]:
        if not isinstance(node, Seq) or not node.items:
            self.note(node.pos, "expected a list with at least one entry", key)
            return
        for item in node.items:
            if isinstance(item, Map):
                yield item
            else:
                self.note(item.pos, "expected `name: value` pairs", key)

    def scalars(self, key: str, entries: Entries) -> list[Scalar]:
        if key not in entries:
            return []
        node = entries[key][1]
        if isinstance(node, Seq) and all(isinstance(item, Scalar) for item in node.items):
            return [item for item in node.items if isinstance(item, Scalar)]
        self.note(node.pos, "expected a list of names", key)
        return []

    def texts(self, key: str, entries: Entries) -> dict[str, Scalar]:
        found: dict[str, Scalar] = {}
        if key not in entries:
            return found
        for name, (_, node) in self.map(key, entries[key][1]).entries.items():
            if isinstance(node, Scalar) and (node.text is not None or key == "where"):
                found[name] = node
            else:
                self.note(node.pos, "expected a text", key)
        return found
