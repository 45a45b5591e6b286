"""Parquet as the Hub shows it: pictures as `{bytes, path}`, row groups of 100 or 4 MiB, shards of one size.

Which sample stands in which shard follows from what was saved, before anything is written, so that the names
(`train-00000-of-00003`) are known from the first one on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from nanobanana_batch.exports.arrow_table import table_of
from nanobanana_batch.exports.columns import Teller, renamed
from nanobanana_batch.exports.features import IMAGE, arrow_schema, features_of
from nanobanana_batch.exports.format import Layout, Takes, missing_extra
from nanobanana_batch.exports.options import MAX_BYTES, Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.samples import Samples, read_picture

if TYPE_CHECKING:
    import pyarrow as pa

RowOf = Callable[[Sample], dict[str, Any]]
"""Makes the row of a sample, or says `LeftOut`."""
ROW_GROUP = 100
"""What the Hub's viewer reads at a time."""
_GROUP_BYTES = 4 << 20
"""So much of a row group is in memory, twice over; large pictures make smaller ones."""
_MOST_ROWS = 20_000
"""Of a shard, whose 200 row groups take some 7 MiB."""
_VALUES_AT_ONCE = 1
"""A page of values is written once it has 1 MiB, which is looked at after so many of them."""


class Parquet:
    """`load_dataset("parquet", data_files=...)`, or `load_dataset(PATH)`."""

    takes = Takes.PICTURES
    is_file = False
    uses = frozenset({"split", "max_bytes", "paths_only", "embed_metadata"})

    def check(self, options: Options) -> None:
        """It needs pyarrow."""
        refuse_without_pyarrow(options)

    def write(self, samples: Samples, place: Place, options: Options) -> Layout:
        """Part by part, shard by shard."""
        columns = renamed(samples.columns, (IMAGE,))
        teller = Teller(columns)
        features = features_of(columns)
        schema = arrow_schema(features)

        def row(sample: Sample) -> dict[str, Any]:
            if options.paths_only:
                picture: dict[str, Any] = {"bytes": None, "path": str(sample.picture.file.resolve())}
                read_picture(sample.picture)
            else:
                picture = {"bytes": samples.read(sample), "path": sample.file_name}
            return {IMAGE: picture, **teller.named(sample)}

        sizes = {}
        for split in samples.splits:
            shards = shard_lengths(samples.of(split), options.max_bytes or MAX_BYTES)
            rows = samples.of(split)
            sizes[split] = 0
            for number, length in enumerate(shards):
                name = f"data/{split}-{number:05d}-of-{len(shards):05d}.parquet"
                sizes[split] += write_shard(place, name, schema, samples, islice(rows, length), row)
        return Layout(
            features=features,
            data_files={split: f"data/{split}-*" for split in samples.splits},
            num_bytes=sizes,
            load=("from datasets import load_dataset", 'dataset = load_dataset("PATH")'),
        )


def refuse_without_pyarrow(options: Options) -> None:
    """Look for it before anything else is done.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(error, "parquet", f"--format {options.format}") from error


def _size(sample: Sample) -> int:
    return sample.picture.size_bytes


def shard_lengths(
    samples: Iterator[Sample], most_bytes: int, size_of: Callable[[Sample], int] = _size
) -> list[int]:
    """How many samples go to each shard, so that none holds more than so many bytes of pictures.

    Nor more than `_MOST_ROWS`: what the end of a file says of each row group is in memory until then.
    """
    lengths, size = [0], 0
    for sample in samples:
        added = size_of(sample)
        size += added
        if (size > most_bytes and lengths[-1]) or lengths[-1] == _MOST_ROWS:
            lengths.append(0)
            size = added
        lengths[-1] += 1
    return lengths


def write_shard(
    place: Place,
    name: str,
    schema: pa.Schema,
    samples: Samples,
    part: Iterator[Sample],
    row: RowOf,
) -> int:
    """Write one file of samples; returns how many bytes its rows take."""

    def rows() -> Iterator[dict[str, Any]]:
        for sample in part:
            made = None
            with samples.written(sample):
                made = row(sample)
            if made is not None:
                yield made

    return write_rows(place, name, schema, rows())


def write_rows(place: Place, name: str, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """Write one file, a row group at a time; returns how many bytes its rows take."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    bytes_of_pictures = {
        f"{field.name}.bytes" if pa.types.is_struct(field.type) else field.name
        for field in schema
        if pa.types.is_struct(field.type) or pa.types.is_binary(field.type)
    }
    texts = [field.name for field in schema if not pa.types.is_struct(field.type)]
    texts = [name for name in texts if name not in bytes_of_pictures]
    paths = [f"{field.name}.path" for field in schema if pa.types.is_struct(field.type)]
    codecs = dict.fromkeys((*texts, *paths), "SNAPPY")
    codecs |= dict.fromkeys(bytes_of_pictures, "NONE")  # they are compressed already
    size = 0
    with (
        place.file(name) as file,
        _stream(file) as stream,
        ParquetWriter(
            stream,
            schema,
            compression=codecs,
            use_dictionary=texts,
            write_statistics=texts,
            write_batch_size=_VALUES_AT_ONCE,
        ) as writer,
    ):
        for group in _groups(rows):
            table = table_of(group, schema)
            group.clear()
            writer.write_table(table, row_group_size=ROW_GROUP)
            size += table.nbytes
            del table  # before the next ones are read
    return size


@contextmanager
def _stream(file: IO[bytes]) -> Iterator[Any]:
    """Writes to the same file without Python, to which Arrow gives a copy of each page: a picture is one.

    Where files have no such second name, or there is none, it is the file of Python.
    """
    import pyarrow as pa

    try:
        opened = pa.OSFile(f"/dev/fd/{file.fileno()}", "wb")
    except OSError:
        yield file
        return
    with opened:
        yield opened


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(_weight(value) for value in row.values())
        del row  # or it is held, with its picture, while the next one is read
        if len(group) == ROW_GROUP or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _weight(value: Any) -> int:
    held = value.get("bytes") if isinstance(value, dict) else value
    return len(held) if isinstance(held, bytes) else 0
