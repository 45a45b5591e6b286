"""Diffusion-DPO: two pictures of the same prompt, and which of them is the better one.

diffusers' script opens `jpg_0` and `jpg_1` as bytes, so these columns hold bytes and no pictures, and takes
any `label_0` but 0 for "the first is better": a pair of which neither is better has 0.5, and comes along only
where that is asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.caption import Caption
from nanobanana_batch.exports.columns import Column, Type
from nanobanana_batch.exports.features import BYTES, Feature, arrow_schema
from nanobanana_batch.exports.format import Layout, Looked, Takes
from nanobanana_batch.exports.options import MAX_BYTES, Encoding, Options
from nanobanana_batch.exports.pairs import JudgedPair, Pairs
from nanobanana_batch.exports.parquet import refuse_without_pyarrow, write_rows
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.recode import Recoding
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.samples import Samples, read_picture
from nanobanana_batch.wording import closest, shown

_OF_EACH = ("id", "model", "sha256", "row_key")
_FEATURES = (
    Feature("jpg_0", BYTES),
    Feature("jpg_1", BYTES),
    Feature("label_0", Type.NUMBER.value),
    Feature("caption", Type.TEXT.value),
    *(Feature(f"{name}_{side}", Type.TEXT.value) for side in "01" for name in _OF_EACH),
)


class Preferences:
    """`load_dataset(PATH)`, a row a pair."""

    takes = Takes.PICTURES
    is_file = False
    uses = frozenset({"split", "max_bytes", "quality", "caption", "by", "ties"})

    def check(self, options: Options) -> None:
        """It needs pyarrow."""
        refuse_without_pyarrow(options)

    def look(self, samples: Samples, options: Options) -> Looked:
        """Find the pairs; a column of numbers there has to be."""
        Caption(options.caption, samples.columns)
        by = _column(options.by, samples.columns)
        with Pairs(samples, by, ties=options.ties) as pairs:
            digest, counts = hashlib.sha256(), Counter[str]()
            for pair in pairs.of(None):
                digest.update(f"{pair.first.key} {pair.second.key} {pair.label}\n".encode())
                counts[pair.first.split] += 1
            if not counts:
                wanted = f"two numbers in {shown(options.by)}" if options.by else "a judgement"
                raise UsageError(
                    f"No two of {len(samples):,} pictures have the same prompt and {wanted} that differs.",
                    hint="Rate them in a gallery that was opened with --serve, or name a column with --by."
                    " Of rows with several images only the first counts without --images all.",
                )
        return Looked(digest.hexdigest()[:16], counts)

    def write(self, samples: Samples, place: Place, options: Options) -> Layout:
        """Part by part, shard by shard."""
        caption, recoding = Caption(options.caption, samples.columns), Recoding(Encoding.JPG, options.quality)
        sizes = dict.fromkeys(samples.splits, 0)
        with Pairs(samples, _column(options.by, samples.columns), ties=options.ties) as pairs:
            for split in samples.splits:
                shards = _shard_lengths(pairs.of(split), options.max_bytes or MAX_BYTES)
                part = pairs.of(split)
                for number, length in enumerate(shards):
                    name = f"data/{split}-{number:05d}-of-{len(shards):05d}.parquet"
                    rows = _rows(samples, islice(part, length), caption, recoding)
                    sizes[split] += write_rows(place, name, arrow_schema(_FEATURES), rows)
            notes = pairs.notes()
        return Layout(
            features=_FEATURES,
            data_files={split: f"data/{split}-*" for split in samples.splits},
            num_bytes=sizes,
            load=("from datasets import load_dataset", 'dataset = load_dataset("PATH")'),
            notes=notes,
        )


def _rows(
    samples: Samples, pairs: Iterator[JudgedPair], caption: Caption, recoding: Recoding
) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        with samples.written(pair.first):
            one, other = (
                recoding.of(read_picture(sample.picture)).data for sample in (pair.first, pair.second)
            )
            yield {
                "jpg_0": one,
                "jpg_1": other,
                "label_0": pair.label,
                "caption": caption.of(pair.first),
                **_told(pair.first, "0"),
                **_told(pair.second, "1"),
            }


def _told(sample: Sample, side: str) -> dict[str, str]:
    entry = sample.entry
    values = (sample.key, entry.request.model, sample.picture.sha256, entry.row_key)
    return {f"{name}_{side}": value for name, value in zip(_OF_EACH, values, strict=True)}


def _shard_lengths(pairs: Iterator[JudgedPair], most_bytes: int) -> list[int]:
    lengths, size = [0], 0
    for pair in pairs:
        added = pair.first.picture.size_bytes + pair.second.picture.size_bytes
        if size + added > most_bytes and lengths[-1]:
            lengths.append(0)
            size = 0
        size += added
        lengths[-1] += 1
    return lengths


def _column(name: str | None, columns: tuple[Column, ...]) -> Column | None:
    if name is None:
        return None
    found = {column.name: column for column in columns}
    if name not in found:
        near = closest(name, found)
        raise UsageError(
            f"--by {shown(name)}: there is no such column.",
            hint=f"Did you mean {near}?" if near else f"There are {', '.join(found)}.",
        )
    return found[name]
