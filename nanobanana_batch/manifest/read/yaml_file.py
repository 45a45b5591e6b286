"""YAML without its traps: every scalar is text, nothing runs, nothing explodes, every node has a place.

PyYAML's own constructors read 16:9 as 969 and `no` as false, accept duplicate keys, and take 38 s and
842 MB for 100,000 rows; light nodes built from its events do none of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nanobanana_batch.errors import Problem
from nanobanana_batch.files.plain import reading
from nanobanana_batch.manifest.read.encoding import is_utf16, not_utf8
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, Seq, path_text, place
from nanobanana_batch.manifest.read.yaml_faults import yaml_fault
from nanobanana_batch.manifest.words.names import as_name
from nanobanana_batch.wording import shown

MAX_BYTES = 64 * 1024 * 1024
MAX_NODES = 5_000_000
MAX_DEPTH = 32

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CUT_OFF = re.compile(r"[ \t]+#[^\s#]")
_WARNINGS = 20


def read_nodes(path: Path, file: str, warnings: list[str] | None = None) -> tuple[Map | None, list[Problem]]:
    """The mapping at the top of the file, and everything that is wrong with the file as YAML.

    What is probably not meant is added to `warnings`.
    """
    data = _read(path, file)
    return (None, [data]) if isinstance(data, Problem) else parse_nodes(data, file, warnings)


def read_root(path: Path, file: str) -> tuple[Node | None, list[Problem]]:
    """Whatever stands at the top of a file that is no manifest, such as a list."""
    data = _read(path, file)
    if isinstance(data, Problem):
        return None, [data]
    builder = _built(data, file)
    return (None, [builder]) if isinstance(builder, Problem) else (builder.root, builder.problems)


def _read(path: Path, file: str) -> bytes | Problem:
    try:
        with reading(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return Problem(file, f"cannot be read: {error.strerror or error}")
    if len(data) > MAX_BYTES:
        hint = "put the rows into a table (`table: rows.csv`)"
        return Problem(file, f"larger than {MAX_BYTES >> 20} MiB; {hint}")
    return data


def parse_nodes(
    data: bytes, file: str, warnings: list[str] | None = None
) -> tuple[Map | None, list[Problem]]:
    """As `read_nodes`, for content that is in memory."""
    builder = _built(data, file)
    if isinstance(builder, Problem):
        return None, [builder]
    if warnings is not None:
        warnings.extend(map(str, builder.warnings))
    return _top(builder, file)


def _built(data: bytes, file: str) -> _Builder | Problem:
    try:
        text = data.decode("utf-16" if is_utf16(data) else "utf-8-sig")
    except UnicodeDecodeError as error:
        return _undecodable(data, error.start, file)
    odd = _UNPRINTABLE.search(text)
    if odd:
        line, column = text.count("\n", 0, odd.start()) + 1, odd.start() - text.rfind("\n", 0, odd.start())
        return Problem(f"{file}:{line}:{column}", f"the character {odd[0]!r} is not allowed; remove it")
    builder = _Builder(file, text)
    try:
        builder.build(yaml.parse(text, Loader=_LOADER))
    except _Stop:
        pass
    except yaml.YAMLError as error:
        fault = yaml_fault(error, text)
        source = f"{file}:{fault.line}:{fault.column}"
        builder.problems.append(Problem(source, fault.message, path="" if fault.is_outside else builder.path))
    except (ValueError, OverflowError, RecursionError):
        builder.problems.append(Problem(file, "not valid YAML"))
    return builder


def _undecodable(data: bytes, start: int, file: str) -> Problem:
    if is_utf16(data):
        return Problem(file, "damaged UTF-16; save the file as UTF-8")
    number = data.count(b"\n", 0, start) + 1
    line = data[data.rfind(b"\n", 0, start) + 1 :].partition(b"\n")[0]
    return Problem(f"{file}:{number}", not_utf8(line))


def _top(builder: _Builder, file: str) -> tuple[Map | None, list[Problem]]:
    root = builder.root
    if isinstance(root, Map) or builder.problems:
        return (root if isinstance(root, Map) else None), builder.problems
    if root is None or (isinstance(root, Scalar) and root.text is None):
        return None, [
            Problem(file, "the manifest is empty; `nanobanana-batch init example` writes one to begin with")
        ]
    message = "a manifest is `key: value` pairs at the top"
    if isinstance(root, Seq):
        message += "; a list of rows belongs under `rows:`"
    elif ":" in (root.text or ""):
        message += ", with a blank behind the colon"
    return None, [Problem(place(file, root.pos), message)]


def _unknown(pos: int) -> Scalar:
    """What stands for an anchor that there is not: nothing, and not even that in words."""
    return Scalar(pos, None, plain=False)


def _is_unknown(node: Node) -> bool:
    return isinstance(node, Scalar) and node.text is None and not node.plain


class _Stop(Exception):
    """Reading on makes no sense; the problem is already noted."""


@dataclass(slots=True)
class _Frame:
    node: Seq | Map
    anchor: str | None
    weight: int = 1
    is_flow: bool = False
    key: Scalar | None = None
    merges: list[Map] = field(default_factory=list)


class _Builder:
    """Turns events into nodes; a node's weight counts what its aliases stand for."""

    def __init__(self, file: str, text: str) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._unused_anchors: dict[str, int] = {}
        self._file = file
        self._text = text
        self._scalar_end = 0
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._keys: dict[str, str] = {}
        self._documents = 0
        self._total = 0

    def build(self, events: Iterator[Any]) -> None:
        steps = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        for event in events:
            step = steps.get(type(event))
            if step:
                step(event, self._pos(event))
        for anchor, pos in self._unused_anchors.items():
            self._warn_of_anchor(anchor, pos)

    @staticmethod
    def _pos(event: Any) -> int:
        mark = event.start_mark
        return int((mark.line + 1) << 24 | min(mark.column + 1, 0xFFFFFF))

    @property
    def path(self) -> str:
        """Where in the document reading has come to."""
        steps: list[str | int] = []
        for frame in self._frames:
            if isinstance(frame.node, Seq):
                steps.append(len(frame.node.items))
            elif frame.key is not None and frame.key.text is not None:
                steps.append(frame.key.text)
        return path_text(steps)

    def _note(self, pos: int, message: str) -> None:
        self.problems.append(Problem(place(self._file, pos), message, path=self.path))
        if len(self.problems) >= 1000:
            raise _Stop

    def _warn(self, pos: int, message: str) -> None:
        if len(self.warnings) < _WARNINGS:
            self.warnings.append(Problem(place(self._file, pos), message))

    def _warn_of_anchor(self, anchor: str, pos: int) -> None:
        self._warn(
            pos,
            f"&{anchor} is no text but names what follows, and nothing refers to it;"
            " text that begins with & has to be in quotes",
        )

    def _take_anchor(self, anchor: str | None, pos: int) -> None:
        if anchor:
            if anchor in self._unused_anchors:
                self._warn_of_anchor(anchor, self._unused_anchors[anchor])
            self._unused_anchors[anchor] = pos

    def _document(self, event: Any, pos: int) -> None:
        self._documents += 1
        if self._documents > 1:
            self._note(pos, "a second document; a manifest is one, use `blocks:` for several parts")
            raise _Stop

    def _scalar(self, event: Any, pos: int) -> None:
        self._refuse_tag(event, pos)
        text, plain = event.value, not event.style
        if not text and plain:
            self._refuse_lone_key(event)
        self._take_anchor(event.anchor, pos)
        self._scalar_end = event.end_mark.index
        if plain and _CUT_OFF.match(self._text, self._scalar_end):
            said = f"{shown(text)} is all there is" if text else "there is nothing"
            self._warn(
                pos, f"{said} here: # behind a blank begins a comment; text with # in it has to be in quotes"
            )
        if event.style == '"' and _UNPRINTABLE.search(text):
            self._note(pos, "a control character is not allowed")
            text = ""
        node = Scalar(pos, None if plain and text in _NULLS else text, plain)
        self._add(node, 1, event.anchor)

    def _refuse_lone_key(self, event: Any) -> None:
        """`{city: Paris, France}` has a key France without a value, and nobody means that."""
        frame = self._frames[-1] if self._frames else None
        between = self._text[self._scalar_end : event.start_mark.index]
        if frame and frame.is_flow and frame.key and frame.key.text and ":" not in between:
            name = shown(frame.key.text)
            message = f"{name} stands alone in {{ }}; text with a comma or a brace in it has to be in quotes"
            self._note(frame.key.pos, message)

    def _open(self, event: Any, pos: int) -> None:
        self._refuse_tag(event, pos)
        if len(self._frames) >= MAX_DEPTH:
            self.problems.append(Problem(place(self._file, pos), f"nested deeper than {MAX_DEPTH} levels"))
            raise _Stop
        self._take_anchor(event.anchor, pos)
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        node = Map(pos) if isinstance(event, yaml.MappingStartEvent) else Seq(pos)
        self._frames.append(_Frame(node, event.anchor, is_flow=event.flow_style))

    def _close(self, event: Any, pos: int) -> None:
        frame = self._frames.pop()
        for merged in frame.merges:
            assert isinstance(frame.node, Map)
            for key, entry in merged.entries.items():
                frame.node.entries.setdefault(key, entry)
        self._add(frame.node, frame.weight, frame.anchor, counted=True)

    def _alias(self, event: Any, pos: int) -> None:
        if any(frame.anchor == event.anchor for frame in self._frames):
            self._note(pos, f"*{event.anchor} stands inside of what it refers to")
            raise _Stop
        if event.anchor not in self._anchors:
            self._note(pos, f"*{event.anchor} refers to no anchor above it (&{event.anchor})")
            self._add(_unknown(pos), 1, None)
            return
        self._unused_anchors.pop(event.anchor, None)
        node, weight = self._anchors[event.anchor]
        self._add(node, weight, None)

    def _refuse_tag(self, event: Any, pos: int) -> None:
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._note(pos, f"the tag {shown(tag)} is refused; every value is text, without a tag")

    def _add(self, node: Node, weight: int, anchor: str | None, counted: bool = False) -> None:
        if anchor:
            self._anchors[anchor] = (node, weight)
        # A closed collection's parts were counted one by one.
        self._total += 1 if counted else weight
        if self._total > MAX_NODES:
            self._note(node.pos, f"more than {MAX_NODES} values (aliases counted); put the rows into a table")
            raise _Stop
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        frame.weight += weight
        if isinstance(frame.node, Seq):
            frame.node.items.append(node)
        elif frame.key is None:
            frame.key = self._key(node)
        else:
            self._pair(frame, frame.node, frame.key, node)
            frame.key = None

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar) and node.text is not None:
            name = as_name(node.text)
            return node if name == node.text else Scalar(node.pos, name)
        self._note(node.pos, "a key has to be a text")
        return Scalar(node.pos, None)

    def _pair(self, frame: _Frame, owner: Map, key: Scalar, node: Node) -> None:
        if key.text is None:
            return
        if key.text == "<<" and key.plain:
            self._merge(frame, node)
        elif key.text in owner.entries:
            first = owner.entries[key.text][0] >> 24
            self._note(key.pos, f"the key {shown(key.text)} stands here twice (first in line {first})")
        else:
            owner.entries[self._keys.setdefault(key.text, key.text)] = (key.pos, node)

    def _merge(self, frame: _Frame, node: Node) -> None:
        for part in node.items if isinstance(node, Seq) else [node]:
            if isinstance(part, Map):
                frame.merges.append(part)
            elif not _is_unknown(part):
                self._note(part.pos, "`<<` merges mappings (`<<: *anchor`), nothing else")
