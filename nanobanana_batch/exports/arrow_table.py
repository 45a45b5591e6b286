"""Rows as a table of Arrow, each column put together from its buffers.

`pa.array`, and whatever calls it, imports pandas to see whether it was given something of it. That is 50 MiB
which an export needs for nothing, and half of what it would take in all.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows in the types of `features`; what a row does not have is null.

    All texts, or all bytes, of one column may take 2 GiB.

    Raises:
        TypeError: a value is not of the type of its column.
        OverflowError: a whole number needs more than 64 bits, or a column has more than 2 GiB.
        UnicodeEncodeError: a text has half a surrogate pair.
    """
    import pyarrow as pa

    columns = [_array(field.type, [row.get(field.name) for row in rows]) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _array(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    valid = None
    if None in values:
        valid = _bits(value is not None for value in values)
    if pa.types.is_struct(kind):
        parts = [_array(field.type, [(value or {}).get(field.name) for value in values]) for field in kind]
        return pa.Array.from_buffers(kind, len(values), [valid], children=parts)
    return pa.Array.from_buffers(kind, len(values), [valid, *_buffers(kind, values)])


def _buffers(kind: pa.DataType, values: Sequence[Any]) -> list[pa.Buffer]:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return [_bits(values)]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return [pa.py_buffer(array("q" if pa.types.is_integer(kind) else "d", (one or 0 for one in values)))]
    held = [one or b"" for one in values]
    if pa.types.is_string(kind):
        held = [str.encode(one or "") for one in values]
    ends = array("i", accumulate(map(len, held), initial=0))
    return [pa.py_buffer(ends), pa.py_buffer(b"".join(held))]


def _bits(truths: Iterable[object]) -> pa.Buffer:
    """A bit each, the first of them the lowest of the first byte."""
    import pyarrow as pa

    digits = "".join("1" if truth else "0" for truth in truths)[::-1]
    return pa.py_buffer(int(digits or "0", 2).to_bytes((len(digits) + 7) // 8, "little"))
