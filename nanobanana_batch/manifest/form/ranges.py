"""`{from: 0.5, to: 1.0, step: 0.1}`: whole steps of a decimal, so that 0.7 is never 0.7000000000000001."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import overload

from nanobanana_batch.manifest.form.forms import Form
from nanobanana_batch.manifest.read.nodes import Map, Scalar
from nanobanana_batch.wording import closest, shown

RANGE_KEYS = ("from", "to", "step")
MAX_VALUES = 10**12
_NUMBER = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class NumberRange(Sequence[str]):
    """The numbers of a range as texts; nothing is kept, however long it is."""

    numbers: range
    """In units of the last decimal."""
    decimals: int

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return NumberRange(self.numbers[index], self.decimals)
        return self._text(self.numbers[index])

    def __iter__(self) -> Iterator[str]:
        return map(self._text, self.numbers)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and self.find(value) is not None

    def find(self, text: str) -> int | None:
        """The place of this number, however it is written: 0.5 is 0.50."""
        number = Fraction(text) * 10**self.decimals if _NUMBER.fullmatch(text) else None
        if number is None or number.denominator > 1 or int(number) not in self.numbers:
            return None
        return self.numbers.index(int(number))

    def _text(self, number: int) -> str:
        if not self.decimals:
            return str(number)
        digits = f"{abs(number):0{self.decimals + 1}d}"
        sign = "-" if number < 0 else ""
        return f"{sign}{digits[: -self.decimals]}.{digits[-self.decimals :]}"


def read_range(form: Form, name: str, node: Map) -> NumberRange | None:
    """The range that a mapping describes; what is wrong with it is reported."""
    sound = True
    for key, (pos, _) in node.entries.items():
        if key not in RANGE_KEYS:
            near = closest(key, RANGE_KEYS)
            form.note(pos, f"unknown key {shown(key)}; a range has {', '.join(RANGE_KEYS)}", name, near)
            sound = False
    for key in ("from", "to"):
        if key not in node.entries:
            form.note(node.pos, f"a range needs `{key}`, as in {{from: 0.5, to: 1.0, step: 0.1}}", name)
            sound = False
    numbers = {key: _number(form, name, key, node) for key in RANGE_KEYS if key in node.entries}
    if not sound or None in numbers.values():
        return None
    texts = {key: text for key, text in numbers.items() if text is not None}
    return _range(form, name, node, texts["from"], texts["to"], texts.get("step", "1"))


def _number(form: Form, name: str, key: str, node: Map) -> str | None:
    value = node.entries[key][1]
    if isinstance(value, Scalar) and value.text is not None and _NUMBER.fullmatch(value.text.strip()):
        return value.text.strip()
    said = shown(value.text) if isinstance(value, Scalar) and value.text else "this"
    form.note(value.pos, f"{said} is no number; write it like 3, 0.25 or -1", name)
    return None


def _range(form: Form, name: str, node: Map, first: str, last: str, step: str) -> NumberRange | None:
    decimals = max(len(text.partition(".")[2]) for text in (first, step))
    start, by = (int(Fraction(text) * 10**decimals) for text in (first, step))
    if not by:
        form.note(node.entries["step"][0], "a step of 0 never ends", name)
        return None
    # A last number between two steps is not reached.
    length = int((Fraction(last) * 10**decimals - start) // by) + 1
    if length < 1:
        wanted = f"-{step.lstrip('+')}" if by > 0 else step.lstrip("-")
        form.note(node.pos, f"from {first} to {last} leads no step of {step}; write `step: {wanted}`", name)
        return None
    if length > MAX_VALUES:
        form.note(node.pos, f"more than {MAX_VALUES:,} values", name)
        return None
    return NumberRange(range(start, start + length * by, by), decimals)
