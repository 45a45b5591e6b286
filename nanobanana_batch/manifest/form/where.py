"""`where` picks rows by what they have under a name; a value that no row has was probably misspelt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.read.nodes import Scalar, Seq, place
from nanobanana_batch.manifest.words.template import Value, as_text
from nanobanana_batch.wording import and_more, closest, shown

_OTHERS_KEPT = 1000
_LONGEST_KEPT = 200
_VALUES_SHOWN = 5
_SEEN_SHOWN = 20
_Known = TypeVar("_Known")


@dataclass(frozen=True, slots=True)
class Condition:
    """One name of `where` with the values that rows may have there, and what rows were seen to have."""

    place: str
    name: str
    values: frozenset[str]
    met: set[str] = field(default_factory=set, compare=False)
    """Those of the values that some row had."""
    others: dict[str, None] = field(default_factory=dict, compare=False)
    """The first of the short values that rows had instead."""

    def holds(self, value: Value) -> bool:
        """Whether a row with this value is wanted."""
        text = as_text(value)
        if text in self.values:
            self.met.add(text)
            return True
        if len(self.others) < _OTHERS_KEPT and len(text) <= _LONGEST_KEPT:
            self.others[text] = None
        return False

    def there(self) -> str:
        """What rows were seen to have, some of it."""
        seen = sorted({*self.met, *self.others})
        texts = ", ".join(map(shown, seen[:_SEEN_SHOWN])) + (", …" if len(seen) > _SEEN_SHOWN else "")
        return f"{self.name} is {texts or 'nothing'}"

    def idle(self, rows: str) -> Iterator[tuple[str, str]]:
        """The place, with what to say of the values that none of these rows has; known once all were read."""
        missing = sorted(self.values - self.met)
        if missing:
            texts = ", ".join(map(shown, missing[:_VALUES_SHOWN]))
            more = and_more(len(missing) - _VALUES_SHOWN)
            near = next(filter(None, (closest(text, self.others) for text in missing[:_VALUES_SHOWN])), "")
            message = f"no row of {rows} has {self.name} {texts}{more}; there {self.there()}"
            yield self.place, str(Problem(self.place, message, "where", suggestion=near))


def read_where(
    form: Form, entries: Entries, known: Mapping[str, _Known], unknown: Callable[[str], Finding]
) -> tuple[tuple[_Known, Condition], ...]:
    """The conditions of a block, each with what the source knows its name by; null is an empty text."""
    found = []
    wanted = form.map("where", entries["where"][1]).entries if "where" in entries else {}
    for name, (pos, node) in wanted.items():
        items = node.items if isinstance(node, Seq) else [node]
        texts = [item.text or "" for item in items if isinstance(item, Scalar)]
        if not items or len(texts) < len(items):
            form.note(node.pos, "expected a text, or a list of texts", "where")
        elif name in known:
            found.append((known[name], Condition(place(form.file, pos), name, frozenset(texts))))
        else:
            form.finding(pos, unknown(name))
    return tuple(found)
