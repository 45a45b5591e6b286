"""How a Parquet file may be read in little memory, by what it says of its chunks before one of them is read.

pyarrow bounds none of it. A kilobyte can hold a cell of gigabytes, the same long text for every row, or many
millions of links: what no table of people has is refused. A chunk has its repeated texts in a dictionary, and
that is looked at first; cells are measured before texts are made of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nanobanana_batch.manifest.read.encoding import Unusable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import FileMetaData, ParquetFile

MAX_CELL_BYTES = 1 << 20
"""As much as a line of a CSV file may have."""
MAX_PICTURE_BYTES = 32 << 20
MAX_LINKS = 1000
"""Far more than any model takes."""
_PIECE_BYTES = 16 << 20
_FEW_BYTES = 1 << 16
_LIMIT = f"a cell has at most {MAX_CELL_BYTES >> 20} MiB"
_BATCH_ROWS = 1024
_BATCH_BYTES = 64 << 20
_LIST_BYTES = 256 << 20
_MOST_SWOLLEN_BYTES = 128 << 20
_MOST_SWOLLEN = 200
"""No text packs so well, except in few pages of a size that is no harm."""
_FEW_VALUES = 1_000_000
_VALUES_A_ROW = 16
"""In the mean of a group of rows that has many; no model takes so many links."""
_MOST_VALUES = 16_000_000
_SHARING = "DELTA_BYTE_ARRAY"
"""Lets a text begin as the one before it, and so be long though nothing of it is there."""
_SHARED_AT_ONCE = 4
"""So many texts of a whole chunk's size there is room for."""
_NO_DICTIONARY = frozenset({_SHARING, "DELTA_LENGTH_BYTE_ARRAY", "BYTE_STREAM_SPLIT"})


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a file: so many rows at once, and these columns as numbers of texts."""

    rows: int
    packed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Chunk:
    group: int
    rows: int
    name: str
    path: str
    values: int
    size: int
    packed_size: int
    encodings: frozenset[str]

    @property
    def is_list(self) -> bool:
        return self.path != self.name

    @property
    def at_once(self) -> int:
        """How many of its values may be read together."""
        return self.values if self.is_list else min(_BATCH_ROWS, self.rows)

    @property
    def room(self) -> int:
        return _LIST_BYTES if self.is_list else _BATCH_BYTES


def packable(source: ParquetFile, wanted: Collection[str]) -> tuple[str, ...]:
    """The columns of texts that can be read as numbers of the texts in their dictionaries."""
    columns = (source.schema.column(number) for number in range(len(source.schema.names)))
    texts = {
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.logical_type.type in ("STRING", "JSON")
    }
    chunks = [chunk for chunk in _chunks(source.metadata, wanted) if chunk.path in texts]
    others = {chunk.path for chunk in chunks if chunk.encodings & _NO_DICTIONARY}
    return tuple(dict.fromkeys(chunk.path for chunk in chunks if chunk.path not in others))


def refuse_swollen(metadata: FileMetaData, wanted: Collection[str], large: Collection[str] = ()) -> None:
    """Nothing of a file is read that would take much more memory than a table does; `large` hold pictures.

    Raises:
        Unusable: a column of it would.
    """
    for chunk in _chunks(metadata, wanted):
        if chunk.is_list and chunk.values > max(_FEW_VALUES, min(_VALUES_A_ROW * chunk.rows, _MOST_VALUES)):
            raise Unusable(
                f"{chunk.name}: lists of {chunk.values:,} texts in {chunk.rows:,} rows are too many"
            )
        if _SHARING in chunk.encodings and (chunk.is_list or chunk.size * chunk.values > _LIST_BYTES):
            said = f"so many texts in {_SHARING} could be of any length and are not read"
            raise Unusable(f"{chunk.name}: {said}; write them in another encoding")
        cell = MAX_PICTURE_BYTES if chunk.name in large else MAX_CELL_BYTES
        if chunk.size > _MOST_SWOLLEN_BYTES and chunk.size > chunk.values * cell:
            said = f"{chunk.size:,} bytes of text in a column of {chunk.values:,} cells from row"
            raise Unusable(f"{chunk.name}: {said} {_first(metadata, chunk):,}; {_LIMIT}")
        if chunk.size > max(_MOST_SWOLLEN_BYTES, _MOST_SWOLLEN * chunk.packed_size):
            said = f"{chunk.size:,} bytes of text packed into {chunk.packed_size:,}"
            raise Unusable(f"{chunk.name}: {said}; write the file with smaller row groups")


def reading(packed: ParquetFile, wanted: Collection[str], paths: Collection[str]) -> Reading:
    """How to read these columns of a file that is opened with `paths` as numbers of texts.

    Raises:
        Unusable: a text in a dictionary is longer than a cell may be.
    """
    rows, as_numbers = _BATCH_ROWS, []
    for chunk in _chunks(packed.metadata, wanted):
        longest = chunk.size // max(1, chunk.rows)
        if _SHARING in chunk.encodings:
            longest = chunk.size // _SHARED_AT_ONCE
        elif chunk.path in paths and chunk.size * chunk.at_once > chunk.room:
            longest = max(longest, _longest(packed, chunk))
        if longest > MAX_CELL_BYTES and chunk.path in paths:
            said = f"a text of {longest:,} bytes in row {_first(packed.metadata, chunk):,} or behind it"
            raise Unusable(f"{chunk.name}: {said}; {_LIMIT}")
        if not chunk.is_list:
            rows = min(rows, _BATCH_BYTES // max(1, longest))
        elif chunk.path in paths and longest * chunk.values > _LIST_BYTES:
            as_numbers.append(chunk.path)
    return Reading(max(1, rows), tuple(dict.fromkeys(as_numbers)))


def _longest(packed: ParquetFile, chunk: _Chunk) -> int:
    """The size of the longest text in the dictionary of a chunk."""
    for batch in packed.iter_batches(1, row_groups=[chunk.group], columns=[chunk.name], use_threads=False):
        column = batch.column(0)
        while is_struct(column.type):
            column = column.field(0)
        return longest_text(column)
    return 0


def _first(metadata: FileMetaData, chunk: _Chunk) -> int:
    """The number of its first row."""
    return 1 + sum(int(metadata.row_group(number).num_rows) for number in range(chunk.group))


def _chunks(metadata: FileMetaData, wanted: Collection[str]) -> Iterator[_Chunk]:
    names = set(wanted)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for index in range(group.num_columns):
            chunk = group.column(index)
            path = chunk.path_in_schema
            name = path if path in names else path.partition(".")[0]
            if name in names:
                size, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
                encodings = frozenset(chunk.encodings)
                yield _Chunk(number, group.num_rows, name, path, chunk.num_values, size, packed, encodings)


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

    texts = column.values if is_list(column.type) else column
    sizes = _sizes(texts.dictionary if types.is_dictionary(texts.type) else texts)
    return int(pc.max(sizes).as_py() or 0) if sizes is not None else 0


def _most(column: pa.Array) -> int:
    """So many bytes have its texts at most; far more than there is room for where a cell may be too large."""
    import pyarrow.compute as pc

    longest, most = longest_text(column), 1
    if is_list(column.type):
        most = int(pc.max(pc.list_value_length(column)).as_py() or 0)
    if most > MAX_LINKS or longest * most > MAX_CELL_BYTES:
        return _PIECE_BYTES + 1
    return longest * most * len(column)


def is_list(kind: pa.DataType) -> bool:
    """Whether it is a type of lists."""
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_struct(kind: pa.DataType) -> bool:
    """Whether it is a type of named parts."""
    from pyarrow import types

    return bool(types.is_struct(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether it is a type of texts."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _measured(column: pa.Array) -> Iterator[tuple[int, str]]:
    """Of every cell the size, 0 for what is small by its kind, and what is wrong with it."""
    if is_list(column.type):
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
    return pc.binary_length(texts) if is_text(texts.type) else None
