"""`datasets`' imagefolder: a folder a split, with its pictures and a metadata.jsonl that tells of each.

At most 10,000 files stand in one folder, which is what the Hub takes; from there on pictures stand in folders
below, and metadata.jsonl says in which.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import IO

from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.columns import renamed
from nanobanana_batch.exports.format import Takes
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.samples import Samples

METADATA = "metadata.jsonl"
MOST_FILES = 10_000
_LOADED_AS_SPLITS = ("train", "validation", "test")


class ImageFolder:
    """`load_dataset("imagefolder", data_dir=PATH)`."""

    takes = Takes.PICTURES
    is_file = False
    uses = frozenset({"split", "link"})

    def check(self, options: Options) -> None:
        """The loader knows a part by the name of its folder, and knows three names."""
        for name in options.splits:
            if name not in _LOADED_AS_SPLITS:
                raise UsageError(
                    f"--split {name}=...: imagefolder knows only {', '.join(_LOADED_AS_SPLITS)}.",
                    hint="--format parquet takes any name.",
                )

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """Pictures first come first, and a line for each."""
        columns = renamed(samples.columns, ("image",), ("file_name", "file_names"))
        with ExitStack() as stack:
            files: dict[str, IO[bytes]] = {
                name: stack.enter_context(place.file(f"{name}/{METADATA}")) for name in samples.splits
            }
            counts = dict.fromkeys(samples.splits, 0)
            for sample in samples:
                with samples.written(sample):
                    split = sample.split
                    name = _name(sample.file_name, counts[split], samples.planned(split))
                    place.picture(f"{split}/{name}", sample, options.link)
                    told = {"file_name": name, **{column.name: column.of(sample) for column in columns}}
                    files[split].write((json.dumps(told, ensure_ascii=False) + "\n").encode())
                    counts[split] += 1


def _name(file_name: str, number: int, planned: int) -> str:
    if planned < MOST_FILES:
        return file_name
    return f"{number // MOST_FILES:05d}/{file_name}"
