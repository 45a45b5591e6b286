"""`datasets`' imagefolder: a folder a part, with its pictures and a metadata.jsonl that tells of each.

At most 10,000 files stand in one folder, which is what the Hub takes; of more, pictures stand in folders
below, and metadata.jsonl says in which. Where the loader would take texts for dates, the same stands in
metadata.parquet, which has types.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import islice
from typing import IO

from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.arrow_table import table_of
from nanobanana_batch.exports.columns import Column, Teller, renamed
from nanobanana_batch.exports.features import IMAGE, Feature, arrow_schema, features_of
from nanobanana_batch.exports.format import Layout, Takes, missing_extra
from nanobanana_batch.exports.inference import Inference
from nanobanana_batch.exports.json_lines import json_line
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.samples import Samples

METADATA, TYPED_METADATA = "metadata.jsonl", "metadata.parquet"
FILE_NAME = "file_name"
MOST_FILES = 10_000
_LOADED_AS_SPLITS = ("train", "validation", "test")
_ROWS_AT_ONCE = 1000


class ImageFolder:
    """`load_dataset("imagefolder", data_dir=PATH)`."""

    takes = Takes.PICTURES
    is_file = False
    uses = frozenset({"split", "link", "embed_metadata"})

    def check(self, options: Options) -> None:
        """The loader knows a part by the name of its folder, and knows three names."""
        refuse_other_splits(options)

    def write(self, samples: Samples, place: Place, options: Options) -> Layout:
        """Pictures first, and a line for each."""
        columns = renamed(samples.columns, (IMAGE,), ("file_name", "file_names"))
        counts = dict.fromkeys(samples.splits, 0)
        with Metadata(samples.splits, columns, place) as metadata:
            for sample in samples:
                with samples.written(sample):
                    split = sample.split
                    name = spread(sample.file_name, counts[split], samples.planned(split))
                    place.picture(f"{split}/{name}", sample, options.link)
                    metadata.add(sample, {FILE_NAME: name})
                    counts[split] += 1
        return Layout(
            features=features_of(columns),
            data_files={split: f"{split}/**" for split in samples.splits},
            load=(
                "from datasets import load_dataset",
                'dataset = load_dataset("imagefolder", data_dir="PATH")',
            ),
        )


class Metadata:
    """What is told of pictures, part by part; at the end it is in a file that is loaded as it was meant."""

    def __init__(
        self,
        splits: tuple[str, ...],
        columns: tuple[Column, ...],
        place: Place,
        files: tuple[str, ...] = (FILE_NAME,),
    ) -> None:
        self._splits, self._columns, self._place, self._files = splits, columns, place, files
        self._teller = Teller(columns)
        self._stack = ExitStack()
        self._open: dict[str, IO[bytes]] = {}
        self._inference = {split: Inference(columns) for split in splits}

    def __enter__(self) -> Metadata:
        for split in self._splits:
            self._open[split] = self._stack.enter_context(self._place.file(f"{split}/{METADATA}"))
        return self

    def add(self, sample: Sample, files: dict[str, str]) -> None:
        """A line: the names of the picture's files, and what is known of it."""
        told = self._teller.named(sample)
        line = json_line({**files, **told})
        self._open[sample.split].write(line)
        self._inference[sample.split].see(told, len(line))

    def __exit__(self, *failed: object) -> None:
        self._stack.__exit__(*failed)  # type: ignore[arg-type]
        if (
            failed[0] is None
            and not self._place.is_counting
            and any(each.is_mistaken() for each in self._inference.values())
        ):
            for split in self._splits:
                self._with_types(split)

    def _with_types(self, split: str) -> None:
        try:
            from pyarrow.parquet import ParquetWriter
        except ModuleNotFoundError as error:
            what = "--format imagefolder with a column of nothing but dates"
            raise missing_extra(error, "parquet", what) from error

        names = [Feature(name, "string") for name in self._files]
        schema = arrow_schema([*names, *features_of(self._columns, ())]).remove_metadata()
        plain = self._place.folder / split / METADATA
        with (
            self._place.file(f"{split}/{TYPED_METADATA}") as file,
            ParquetWriter(file, schema) as writer,
            plain.open("rb") as lines,
        ):
            while listed := list(islice(lines, _ROWS_AT_ONCE)):
                writer.write_table(table_of([json.loads(line) for line in listed], schema))
        plain.unlink()


def refuse_other_splits(options: Options) -> None:
    """Other names are no parts to who finds them by the names of folders.

    Raises:
        UsageError: there is such a name.
    """
    for name in options.splits:
        if name not in _LOADED_AS_SPLITS:
            raise UsageError(
                f"--split {name}=…: what is loaded from folders has {', '.join(_LOADED_AS_SPLITS)} only.",
                hint="--format parquet takes any name.",
            )


def spread(file_name: str, number: int, planned: int) -> str:
    """Where the n-th file of a part stands, so that no folder has more than `MOST_FILES`."""
    if planned < MOST_FILES:
        return file_name
    return f"{number // MOST_FILES:05d}/{file_name}"
