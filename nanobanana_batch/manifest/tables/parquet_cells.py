"""Cells are measured before texts are made of them: one text may stand in any number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CELL_BYTES = 1 << 20
"""As much as a line of a CSV file may have."""
MAX_LINKS = 1000
"""Far more than any model takes."""
_PIECE_BYTES = 16 << 20
_FEW_BYTES = 1 << 16


@dataclass(slots=True)
class Piece:
    """Some rows of a batch whose texts fit into little memory, and what is wrong with rows before them."""

    start: int
    rows: pa.RecordBatch
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    """Row, column and message of each cell that is too large; such a row is in no piece."""


def pieces_of(batch: pa.RecordBatch) -> Iterator[Piece]:
    """The rows of a batch in pieces."""
    bounds = [_most(column) for column in batch.columns]
    if sum(bounds) <= _PIECE_BYTES:
        yield Piece(0, batch)
        return
    sizes = [0] * batch.num_rows
    faults: dict[int, tuple[int, str, str]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for row, (size, fault) in enumerate(_measured(column)):
            sizes[row] += size
            if fault:
                faults.setdefault(row, (row, name, fault))
    start, total = 0, 0
    told: list[tuple[int, str, str]] = []
    for row, size in enumerate(sizes):
        is_bad = row in faults
        if row > start and (is_bad or total + size > _PIECE_BYTES):
            yield Piece(start, batch.slice(start, row - start), told)
            start, total, told = row, 0, []
        if is_bad:
            told.append(faults[row])
            start = row + 1
        total += size
    yield Piece(start, batch.slice(start), told)


def longest_text(column: pa.Array) -> int:
    """The size of the longest text in a column, or in its dictionary, used or not; 0 where there are none."""
    import pyarrow.compute as pc
    from pyarrow import types

    texts = column.values if _is_list(column.type) else column
    sizes = _sizes(texts.dictionary if types.is_dictionary(texts.type) else texts)
    return int(pc.max(sizes).as_py() or 0) if sizes is not None else 0


def _most(column: pa.Array) -> int:
    """So many bytes have its texts at most; far more than there is room for where a cell may be too large."""
    import pyarrow.compute as pc

    longest, most = longest_text(column), 1
    if _is_list(column.type):
        most = int(pc.max(pc.list_value_length(column)).as_py() or 0)
    if most > MAX_LINKS or longest * most > MAX_CELL_BYTES:
        return _PIECE_BYTES + 1
    return longest * most * len(column)


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _measured(column: pa.Array) -> Iterator[tuple[int, str]]:
    """Of every cell the size, 0 for what is small by its kind, and what is wrong with it."""
    if _is_list(column.type):
        yield from _measured_lists(column)
    elif (sizes := _sizes(column)) is not None:
        for size in sizes.fill_null(0).to_pylist():
            yield size, _cell_fault(size)


def _measured_lists(column: pa.Array) -> Iterator[tuple[int, str]]:
    import pyarrow.compute as pc

    longest = longest_text(column)
    for row, length in enumerate(pc.list_value_length(column).fill_null(0).to_pylist()):
        if length > MAX_LINKS:
            yield 0, f"a list of {length:,} texts; at most {MAX_LINKS:,} are allowed"
            continue
        size = length * longest
        if size > _FEW_BYTES:  # its own texts may be shorter
            size = pc.sum(_sizes(column.slice(row, 1).flatten())).as_py() or 0
        yield size, _cell_fault(size)


def _cell_fault(size: int) -> str:
    if size <= MAX_CELL_BYTES:
        return ""
    return f"a text of {size:,} bytes; a cell has at most {MAX_CELL_BYTES >> 20} MiB"


def _sizes(texts: pa.Array) -> Any:
    """The length of each text in bytes; `None` where these are no texts."""
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(texts.type):
        lengths = _sizes(texts.dictionary)
        return None if lengths is None else pc.take(lengths, texts.indices)
    if types.is_string_view(texts.type):
        texts = texts.cast("large_string")
    is_text = types.is_string(texts.type) or types.is_large_string(texts.type)
    return pc.binary_length(texts) if is_text else None
