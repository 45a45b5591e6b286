"""Parquet, read in small batches. No other file but its two parts knows pyarrow, an extra loaded when needed.

Numbers become the text that a person would write for them. That text is part of what identifies a row, so
it is made here and not left to a library, whose next version could write it in another way.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobanana_batch.errors import Problem
from nanobanana_batch.files.kept_pictures import keep_picture, pictures_folder
from nanobanana_batch.manifest.read import parquet_bounds as bounds
from nanobanana_batch.manifest.read.encoding import Unusable, control_fault
from nanobanana_batch.manifest.read.table import CHANGED, Header, named_header, opened
from nanobanana_batch.manifest.words.names import as_name
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import FileMetaData, ParquetFile

_MOST_INNER = 1000
_BYTES = "bytes"
_READ_BYTES = 1 << 16
_NEEDS = "a Parquet table needs pyarrow: `pip install 'nanobanana-batch[parquet]'`"

_Column = tuple[str, Any]
"""A name and a type; none for what is not read."""


class ParquetTable:
    """A Parquet file; its columns are the table's."""

    def __init__(self, path: Path, file: str) -> None:
        self.file = file
        self.row_prefix = f"{file} row "
        self._path = path

    def header(self) -> Header:
        """The columns; those that no text can be made of are not read."""
        try:
            with self._open() as source:
                columns, inside = _columns(source.schema_arrow), _inside(source.schema_arrow)
        except Unusable as error:
            return Header(problems=(Problem(self.file, str(error)),))
        header = named_header([name for name, _ in columns], self.file)
        others = {n: str(kind) for n, (_, kind) in enumerate(columns) if _text_maker(kind) is None}
        lists = {index: self.file for index, (_, kind) in enumerate(columns) if _is_list(kind)}
        inner = {as_name(path): _is_list(kind) or _is_bytes(kind) for path, kind in inside.items()}
        pictures = {as_name(name): f"{as_name(name)}.{_BYTES}" for name, kind in columns if _is_picture(kind)}
        return replace(header, lists=lists, others=others, inner=inner, pictures=pictures)

    def notes(self) -> Iterator[str]:
        """Nothing."""
        return iter(())

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[int, Sequence[Value]]]:
        """The number of each row, from 1, and its cells."""
        try:
            with self._open() as source:
                columns = _columns(source.schema_arrow)
                if [as_name(name) for name, _ in columns] != list(names):
                    raise Unusable(CHANGED)
                inside = {as_name(path): (path, kind) for path, kind in _inside(source.schema_arrow).items()}
                usable = [(name, kind if _text_maker(kind) else None) for name, kind in columns]
                yield from self._read(source, [*usable, *(inside[path] for path in inner)], log)
        except Unusable as error:
            log.add(Problem(self.file, str(error)))

    def _read(
        self, source: ParquetFile, columns: list[_Column], log: ProblemLog
    ) -> Iterator[tuple[int, Sequence[Value]]]:
        first = 1
        wanted = [name for name, kind in columns if kind is not None]
        large = [name for name, kind in columns if kind is not None and _is_bytes(kind)]
        called = {name: name.removesuffix(_BYTES) + "path" for name in large}
        wanted += [path for path in called.values() if path not in wanted]
        bounds.refuse_swollen(source.metadata, wanted, large)
        paths = bounds.packable(source, wanted)
        with self._open(paths, source.metadata) as packed:
            how = bounds.reading(packed, wanted, paths)
        with self._open(how.packed, source.metadata) as table:
            for batch in table.iter_batches(how.rows, columns=wanted, use_threads=False):
                for piece in bounds.pieces_of(_flat(batch, wanted)):
                    for row, name, fault in piece.faults:
                        log.add(Problem(f"{self.row_prefix}{first + row}", fault, as_name(name)))
                    yield from self._rows(piece.rows, columns, called, first + piece.start, log)
                first += batch.num_rows

    def _rows(
        self,
        batch: pa.RecordBatch,
        columns: list[_Column],
        called: Mapping[str, str],
        first: int,
        log: ProblemLog,
    ) -> Iterator[tuple[int, Sequence[Value]]]:
        wanted = set(batch.schema.names)
        read = {
            name: _texts(batch.column(name), kind)
            for name, kind in columns
            if name in wanted and kind is not None  # `a.b` as a name is also read as what is in `a`
        }
        texts = [read.get(name) or [""] * batch.num_rows for name, _ in columns]
        absent = {
            row: f"a picture that is not in the table, only its path is: {shown(path)}"
            for name, at in called.items()
            for row, path in enumerate(batch.column(at).to_pylist())
            if path and not read[name][row]
        }
        odd = any(control_fault(_joined(column)) for column in texts)
        for number, cells in enumerate(zip(*texts, strict=True), first):
            fault = (control_fault(_joined(cells)) if odd else "") or absent.get(number - first, "")
            if fault:
                log.add(Problem(f"{self.row_prefix}{number}", fault))
            elif any(cells):
                yield number, cells

    @contextmanager
    def _open(self, packed: Sequence[str] = (), known: FileMetaData | None = None) -> Iterator[ParquetFile]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise Unusable(_NEEDS) from None
        try:
            with opened(self._path):
                pass
        except OSError as error:
            raise Unusable(f"cannot be read: {error.strerror or error}") from error
        try:
            # Not buffered ahead, a row group of any size takes little memory.
            with ParquetFile(
                self._path,
                metadata=known,
                read_dictionary=list(packed),
                pre_buffer=False,
                buffer_size=_READ_BYTES,
                page_checksum_verification=True,
            ) as source:
                yield source
        except (ArrowException, OSError, UnicodeDecodeError) as error:
            said = str(error).partition("\n")[0]
            raise Unusable(f"damaged, or no Parquet file: {said}") from error


def _columns(schema: pa.Schema) -> list[_Column]:
    """Name and type of each column, without what pandas adds for an index that nobody named."""
    return [
        (field.name, field.type) for field in schema if not re.fullmatch(r"__index_level_\d+__", field.name)
    ]


def _inside(schema: pa.Schema) -> dict[str, Any]:
    """What stands in structs, by its path, with its type."""
    found: dict[str, Any] = {}
    waiting = [(field.name, field.type) for field in schema]
    while waiting and len(found) < _MOST_INNER:
        path, kind = waiting.pop()
        if bounds.is_struct(kind):
            waiting += [(f"{path}.{each.name}", each.type) for each in reversed(list(kind))]
        elif "." in path and path not in schema.names and _maker(kind):
            top = path.removesuffix(f".{_BYTES}")
            if not _is_bytes(kind) or (top in schema.names and _is_picture(schema.field(top).type)):
                found[path] = kind
    return found


def _is_bytes(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_picture(kind: pa.DataType) -> bool:
    """Whether it is what Hugging Face calls an `Image`: its bytes, and what it was called."""
    if not bounds.is_struct(kind):
        return False
    parts = {part.name: part.type for part in kind}
    return _BYTES in parts and "path" in parts and _is_bytes(parts[_BYTES])


def _maker(kind: pa.DataType) -> Callable[[Any], Value] | None:
    """As `_text_maker`, and for the bytes of a picture what makes a file of them."""
    return _kept if _is_bytes(kind) else _text_maker(kind)


def _kept(data: bytes) -> Value:
    folder = pictures_folder()
    if folder is None:
        raise Unusable("its pictures cannot be kept: this user has no folder for a cache (HOME is not set)")
    try:
        return (str(keep_picture(data, folder)),)
    except OSError as error:
        raise Unusable(f"its pictures cannot be kept in {folder}: {error.strerror or error}") from error


def _flat(batch: pa.RecordBatch, wanted: Sequence[str]) -> pa.RecordBatch:
    """The columns, and those inside of structs by their paths; a struct that is null has nulls in it."""
    names = batch.schema.names
    if all(name in names for name in wanted):
        return batch
    import pyarrow.compute as pc
    from pyarrow import RecordBatch

    def of(path: str) -> pa.Array:
        if path in names:
            return batch.column(path)
        top = next(name for name in names if path.startswith(f"{name}."))
        array, rest = batch.column(top), path[len(top) + 1 :]
        while rest:
            step = next(f.name for f in array.type if rest == f.name or rest.startswith(f"{f.name}."))
            array, rest = pc.struct_field(array, step), rest[len(step) + 1 :]
        return array

    return RecordBatch.from_arrays([of(path) for path in wanted], names=list(wanted))


def _is_list(kind: pa.DataType) -> bool:
    return bounds.is_list(kind) and bounds.is_text(kind.value_type)


def _text_maker(kind: pa.DataType) -> Callable[[Any], Value] | None:
    """What makes a text of a value of this type; `None` for types that have none."""
    from pyarrow import types

    if _is_list(kind):
        return lambda items: tuple(item for item in items if item is not None)
    if types.is_dictionary(kind):
        return _text_maker(kind.value_type)
    makers: list[tuple[bool, Callable[[Any], Value]]] = [
        (bounds.is_text(kind) or types.is_null(kind), str),
        (types.is_boolean(kind), lambda value: "true" if value else "false"),
        (types.is_integer(kind), str),
        (types.is_float64(kind), _float_text),
        (types.is_float32(kind), lambda value: _short_float_text(value, "f")),
        (types.is_float16(kind), lambda value: _short_float_text(value, "e")),
        (types.is_decimal(kind), lambda value: format(value, "f")),
        (types.is_date(kind), lambda value: value.isoformat()),
    ]
    return next((maker for fits, maker in makers if fits), None)


def _float_text(value: float) -> str:
    # pandas makes floats of whole numbers in a column with gaps, and has NaN for the gaps.
    return "" if math.isnan(value) else repr(value).removesuffix(".0")


def _short_float_text(value: float, code: str) -> str:
    """The shortest text that gives this number in a type of fewer bits."""
    for digits in range(1, 9):
        near = float(f"{value:.{digits}g}")
        if struct.pack(code, near) == struct.pack(code, value):
            return _float_text(near)
    return _float_text(value)


def _texts(column: pa.Array, kind: pa.DataType) -> list[Value]:
    make = _maker(kind)
    assert make is not None  # no other column is read
    import pyarrow
    from pyarrow import types

    if _is_list(kind):
        column = column.cast(pyarrow.list_(pyarrow.string()))
    elif types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = [_decoded(value) for value in column.cast("large_binary").to_pylist()]
    if make is str and bounds.is_text(column.type):
        return [value or "" for value in values]
    return ["" if value is None else make(value) for value in values]


def _decoded(value: bytes | None) -> str | None:
    """Text that is damaged keeps a lone surrogate where it is."""
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _joined(values: Iterable[Value]) -> str:
    return "\n".join([value if isinstance(value, str) else "\n".join(value) for value in values])
