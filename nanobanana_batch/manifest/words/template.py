"""A template only ever inserts text: no attributes, no formats, no code from a manifest.

`{name}` is replaced by the value of that name, `{name:filter}` by what the filter makes of it; `{{` and `}}`
are braces, a lone brace is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

from nanobanana_batch.catalog import Finding
from nanobanana_batch.manifest.words.filters import FILTERS
from nanobanana_batch.manifest.words.names import ROW_NAMES, as_name
from nanobanana_batch.wording import closest, shown

_IN_BRACES = re.compile(r"\{([^{}]+)\}")
_PIECES = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|[{}])")
WILDCARD = re.compile(r"(?<!\w)__([A-Za-z][\w/-]{0,200}?)__(?!\w)")
_NESTED_ALTERNATIVES = re.compile(r"\{[^{}|]*\||\|[^{}|]*\}")
_NO_ALTERNATIVES = (
    "alternatives such as {red|green} are not drawn here; write {name} and list them under `matrix`"
    " (`name: [red, green]`), with `sample` for a random choice"
)
_RAW = "a prompt of JSON stands as it is by `prompt: {raw: …}`"
MAX_CHARS = 100_000
"""Far more than any prompt may have; a short template can ask for gigabytes."""
_MOST_SLOTS = 1_000
_MOST_IN_BRACES = 400
_MOST_FILTERS = 10
"""What a template may ask for is bounded before it is taken apart: manifests come from anybody."""
Value = str | tuple[str, ...]
"""What a name stands for; several values are only possible for `images`."""
_NOT_IN_ITSELF = {"prompt": "a prompt cannot stand inside of itself", "images": "images cannot hold {images}"}
_NAMES_SHOWN = 20
_COMPARED_CHARS = 60
_COMPARED_NAMES = 1_000


class TemplateFault(Exception):
    """The template cannot be read."""

    def __init__(self, message: str, allowed: tuple[str, ...] = (), suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.allowed = allowed
        self.suggestion = suggestion

    def finding(self, field: str) -> Finding:
        """The same as a finding about this field."""
        return Finding(field, self.message, self.allowed, self.suggestion)


class Template:
    """Literal pieces with names between them; only the names in `known` may hold a colon or a bar."""

    __slots__ = ("_filtered", "_pieces", "_slots", "names")

    def __init__(self, text: str, known: Collection[str] = ()) -> None:
        """Take the text apart.

        Raises:
            TemplateFault: it is too long, has a lone brace, or a name or filter that cannot be one.
        """
        self._pieces: list[str] = []
        self._slots: list[tuple[int, str]] = []
        self._filtered: list[tuple[int, tuple[Callable[[str], str], ...]]] = []
        if len(text) > MAX_CHARS:
            raise TemplateFault(f"{len(text):,} characters; a template has at most {MAX_CHARS:,}")
        for piece in _PIECES.split(text):
            if piece in ("{", "}"):
                _refuse_lone(piece, text)
            if piece in ("{{", "}}"):
                self._pieces.append(piece[0])
            elif piece.startswith("{"):
                self._slot(as_name(piece[1:-1].strip()), known)
            else:
                self._pieces.append(piece)
        self.names = tuple(dict.fromkeys(name for _, name in self._slots))

    def _slot(self, inner: str, known: Collection[str]) -> None:
        if len(inner) > _MOST_IN_BRACES:
            _refuse_long(inner)
        if len(self._slots) >= _MOST_SLOTS:
            raise TemplateFault(f"more than {_MOST_SLOTS:,} names in braces; nobody means so many")
        name = inner
        filters: tuple[str, ...] = ()
        if (":" in inner or "|" in inner) and inner not in known:
            name, filters = _parted(inner, known)
        if not name:
            raise TemplateFault("'{}' names no variable; write '{name}', or '{{}}' for braces")
        self._slots.append((len(self._pieces), name))
        if filters:
            self._filtered.append((len(self._pieces), tuple(FILTERS[word] for word in filters)))
        self._pieces.append("")

    def render(self, values: Mapping[str, Value]) -> str:
        """The text with every name replaced; `KeyError` with the name that has no value.

        Raises `TemplateFault` where it would be far longer than any text that is sent.
        """
        if not self._slots:
            return "".join(self._pieces)
        pieces = self._pieces.copy()
        for index, name in self._slots:
            pieces[index] = as_text(values[name])
        if (length := sum(map(len, pieces))) > MAX_CHARS:  # before anything is copied
            raise TemplateFault(f"it would have {length:,} characters; at most {MAX_CHARS:,} are written out")
        for index, changes in self._filtered:
            for change in changes:
                pieces[index] = change(pieces[index])
        return "".join(pieces)


@lru_cache(maxsize=256)
def compiled(text: str, known: frozenset[str] = frozenset()) -> Template:
    """The template of this text; raises `TemplateFault`."""
    return Template(text, known)


def names_in(text: str) -> list[str]:
    """The names that stand in braces in a text that is no template."""
    return [as_name(inner).partition(":")[0].strip() for inner in _IN_BRACES.findall(text)]


def texts_of(value: Value) -> tuple[str, ...]:
    """The texts of a value, one or several."""
    return (value,) if isinstance(value, str) else value


def as_text(value: Value) -> str:
    """A value as it stands in a text."""
    return value if isinstance(value, str) else " ".join(value)


def is_like_json(text: str) -> bool:
    """Whether a template is rather a text of JSON."""
    return bool(re.match(r"""\s*\{\s*["']""", text))


def _refuse_lone(brace: str, text: str) -> None:
    if _NESTED_ALTERNATIVES.search(text):
        raise TemplateFault(_NO_ALTERNATIVES)
    way = f"; {_RAW}" if is_like_json(text) else ""
    raise TemplateFault(f"a lone {brace!r} in a template; write {brace * 2!r} for a brace{way}")


def _refuse_long(inner: str) -> None:
    if "|" in inner:
        raise TemplateFault(_NO_ALTERNATIVES)
    raise TemplateFault(
        f"{len(inner):,} characters between {{ and }}, beginning with {shown(inner[:60])}; a name with its"
        f" filters has at most {_MOST_IN_BRACES}, and braces themselves are written {{{{ and }}}}"
    )


def _parted(inner: str, known: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """A name and its filters; the longest beginning that is a name wins, since names may hold colons."""
    parts = inner.split(":")
    starts = [":".join(parts[:length]).strip() for length in range(1, len(parts) + 1)]
    length = max((n for n, start in enumerate(starts, 1) if start in known), default=1)
    name, filters = starts[length - 1], tuple(part.strip() for part in parts[length:])
    if ("|" in name and name not in known) or "|" in "".join(filters):
        _refuse_bars(inner, known)
    for word in filters:
        if word not in FILTERS and not _is_name(name, known):
            return inner, ()
        if word not in FILTERS:
            message = f"unknown filter {shown(word)} in {shown('{' + inner + '}')}"
            raise TemplateFault(message, tuple(FILTERS), closest(word, FILTERS))
    if len(filters) > _MOST_FILTERS:
        said = shown("{" + inner + "}")
        raise TemplateFault(f"{len(filters)} filters in {said}; at most {_MOST_FILTERS} stand behind a name")
    return name, filters


def _refuse_bars(inner: str, known: Collection[str]) -> None:
    name, *words = [part.strip() for part in re.split(r"[|:]", inner)]
    if words and all(word in FILTERS for word in words) and _is_name(name, known):
        raise TemplateFault(
            f"a filter stands behind a colon, not behind a bar: {shown('{' + inner + '}')}",
            suggestion="{" + ":".join([name, *words]) + "}",
        )
    raise TemplateFault(_NO_ALTERNATIVES)


def _is_name(word: str, known: Collection[str]) -> bool:
    return word in known or word in ROW_NAMES or word == "variant"


def unknown_name(
    name: str, variables: frozenset[str], field: str, renamed: Mapping[str, str]
) -> Finding | None:
    """Why a template of this field may not use this name; `None` when some row may have it."""
    if field in _NOT_IN_ITSELF and name == field:
        return Finding(field, _NOT_IN_ITSELF[field])
    if field == "images" and name == "prompt":
        return Finding(field, "images cannot hold {prompt}: it is written out after them")
    if name in variables or name in _fields_in(field):
        return None
    if name in renamed:
        message = f"{name} is called {renamed[name]} here (`columns`)"
        return Finding(field, message, suggestion=f"{{{renamed[name]}}}", rests_on=name)
    return _never_given(name, variables, field)


def _fields_in(field: str) -> tuple[str, ...]:
    """The fields that a template of this one may use."""
    taken = ("variants",) if field == "id" else (field, "variants")
    return (*(name for name in ROW_NAMES if name not in taken), "variant")


@lru_cache(maxsize=1024)
def _never_given(name: str, variables: frozenset[str], field: str) -> Finding:
    known = (*variables, *_fields_in(field))
    near = _as_filter(name, known) or _near(name, known)
    message = f"unknown variable {{{name}}}" + ("" if near else "; write {{ and }} for braces")
    if name.startswith(('"', "'")):
        message += f"; {_RAW}"
    if variables:
        message += f"; variables here: {', '.join(sorted(variables)[:_NAMES_SHOWN])}"
    return Finding(field, message, suggestion=f"{{{near}}}" if near else "", rests_on=name)


def _near(name: str, known: tuple[str, ...]) -> str:
    """The name that was probably meant; not looked for among very many, since each is compared with each."""
    if len(name) > _COMPARED_CHARS or len(known) > _COMPARED_NAMES:
        return ""
    return closest(name, [other for other in known if len(other) <= _COMPARED_CHARS])


def _as_filter(name: str, known: tuple[str, ...]) -> str:
    """`city:upper` for `city.upper` or `city.upper()`, as one would say it in Python."""
    stem, _, word = name.removesuffix("()").rpartition(".")
    return f"{stem}:{word}" if stem in known and word in FILTERS else ""
