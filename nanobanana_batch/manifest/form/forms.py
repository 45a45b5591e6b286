"""The shapes that parts of a manifest have, read with a place for everything that has another shape."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.read.reach import Reach, near_file
from nanobanana_batch.manifest.words.names import ROW_NAMES, name_fault
from nanobanana_batch.manifest.words.template import Template, TemplateFault, unknown_name
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown

_MOST_UNKNOWN = 20
"""Names told of one template; whoever has more of them has made another mistake."""
Entries = dict[str, tuple[int, Node]]


_MAPPED = (
    "expected a text, and this is a mapping; a prompt of JSON stands as it is under `raw`:"
    ' `prompt: {raw: \'{"subject": "a cat"}\'}`, or on several lines behind `raw: |`'
)


def raw_text(node: Map) -> str | None:
    """The text of `{raw: …}`, which is no template; `None` for another mapping."""
    raw = node.get("raw")
    return raw.text if isinstance(raw, Scalar) and len(node.entries) == 1 else None


class Form:
    """Reads shapes of one file, collects its problems, and the names of its variables."""

    def __init__(
        self,
        path: Path,
        log: ProblemLog,
        declared: Iterable[str],
        extras: frozenset[str] = frozenset(),
        reach: Reach | None = None,
    ) -> None:
        self.file = path.name
        self.folder = path.parent
        self.reach = reach or Reach(path.parent)
        self.log = log
        self.declared = set(declared)
        self.extras = extras
        """Settings that some models have beside our fields."""
        self.templated: set[str] = set()
        """Names that a template uses."""
        self.warnings: list[str] = []
        self._good_names: set[str] = set(ROW_NAMES)
        self._order: dict[str, tuple[int, int]] = {}

    @property
    def meant(self) -> set[str]:
        """Names that are not taken for a field misspelt."""
        return self.declared | self.extras

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables, in the order in which they first stand in the file."""
        return tuple(sorted(self._order, key=self._order.__getitem__))

    def warn(self, pos: int, message: str, field: str = "") -> None:
        """Say what a person should know about this place, though nothing is wrong with it."""
        text = str(Problem(place(self.file, pos), message, field))
        if text not in self.warnings:
            self.warnings.append(text)

    def note(self, pos: int, message: str, field: str = "", suggestion: str = "") -> None:
        """Report a problem at this place of the file."""
        self.log.add(Problem(place(self.file, pos), message, field, suggestion=suggestion))

    def finding(self, pos: int, finding: Finding) -> None:
        """Report what a check has found at this place of the file."""
        self.log.add(finding.at(place(self.file, pos)))

    def sound_name(self, name: str, pos: int) -> bool:
        """Whether this may be a name in a row; refused ones are reported."""
        if name not in self._good_names:
            fault = name_fault(name, self.meant)
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

    def template(
        self,
        text: str,
        at: str,
        field: str,
        known: frozenset[str],
        renamed: Mapping[str, str] | None = None,
    ) -> Template | None:
        """The template in a field; what is wrong with it, and with the names in it, is reported."""
        try:
            template = Template(text, known)
        except TemplateFault as error:
            self.log.add(error.finding(field).at(at))
            return None
        faults = (unknown_name(name, known, field, renamed or {}) for name in template.names)
        for fault in itertools.islice(filter(None, faults), _MOST_UNKNOWN):
            self.log.add(fault.at(at))
        return template

    def is_value(self, name: str, node: Node) -> bool:
        """Whether a row can have this under this name; the rest is reported."""
        if isinstance(node, Scalar):
            return True
        if name == "images" and isinstance(node, Seq) and all(isinstance(i, Scalar) for i in node.items):
            return True
        if name == "prompt" and isinstance(node, Map):
            if raw_text(node) is None:
                self.note(node.pos, _MAPPED, name)
            return raw_text(node) is not None
        wanted = "a text or a list of texts" if name == "images" else "a text"
        several = "for several values use `matrix`"
        if name == "prompt":
            several = "several prompts are several rows: `rows: [{prompt: a cat}, {prompt: a dog}]`"
        self.note(node.pos, f"expected {wanted}; {several}", name)
        return False

    def is_there(self, name: str, node: Scalar) -> bool:
        """Whether there is something at the path that the node gives, and may be read.

        What was probably meant is reported; of what is out of reach, not even whether it is there.
        """
        file = node.text or ""
        if fault := self.reach.fault(self.folder / file, file):
            self.note(node.pos, fault, name)
            return False
        if os.path.exists(self.folder / file):
            self.reach.note(file)
            return True
        message = f"there is no file {shown(file)}; paths are relative to the manifest"
        self.note(node.pos, message, name, near_file(self.folder, file))
        return False

    def map(self, key: str, node: Node) -> Map:
        """The node as names with values; an empty one, its problem reported, where it has another shape."""
        if isinstance(node, Map):
            return node
        if not (isinstance(node, Scalar) and node.text is None):
            named = "; a list needs a name: `style: [ink, photo]`" if key in ("matrix", "zip") else ""
            self.note(node.pos, f"expected `name: value` pairs{named}", key)
        return Map(node.pos)

    def maps(self, key: str, node: Node) -> Iterator[Map]:
        """The entries of a list of mappings; those of another shape are reported and left out."""
        if not isinstance(node, Seq) or not node.items:
            self.note(node.pos, "expected a list with at least one entry; each begins with `- `", key)
            return
        for item in node.items:
            if isinstance(item, Map):
                yield item
            else:
                self.note(item.pos, "expected `name: value` pairs", key)

    def scalars(self, key: str, entries: Entries) -> list[Scalar]:
        """The names in the list under a key, if it is there; what is no list of names is reported."""
        if key not in entries:
            return []
        node = entries[key][1]
        if isinstance(node, Seq) and all(isinstance(item, Scalar) for item in node.items):
            return [item for item in node.items if isinstance(item, Scalar)]
        self.note(node.pos, "expected a list of names", key)
        return []

    def texts(self, key: str, entries: Entries) -> dict[str, Scalar]:
        """The texts in the mapping under a key, by their names; others are reported and left out."""
        found: dict[str, Scalar] = {}
        if key not in entries:
            return found
        for name, (_, node) in self.map(key, entries[key][1]).entries.items():
            if isinstance(node, Scalar) and node.text is not None:
                found[name] = node
            else:
                self.note(node.pos, "expected a text", key)
        return found
