"""Edits as diffusers' InstructPix2Pix takes them: `input_image`, `edit_prompt`, `edited_image`.

These three columns come first, since its script takes the first three where none is named. An edit of an
edit has the chain that it belongs to and its turn in it, and a chain is never in two parts (`split`). Of an
edit of several pictures the first is the `input_image`; the column `sources` says how many there were.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from nanobanana_batch.collection.columns import Cell, Getter
from nanobanana_batch.collection.entries import Collection, Entry
from nanobanana_batch.collection.lineage import Lineage, Source, sources_of
from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.ahead import ahead
from nanobanana_batch.exports.caption import Caption
from nanobanana_batch.exports.columns import Column, Teller, Type, renamed
from nanobanana_batch.exports.features import IMAGE, Feature, arrow_schema, features_of
from nanobanana_batch.exports.format import Layout, Looked, Takes
from nanobanana_batch.exports.imagefolder import Metadata, refuse_other_splits, spread
from nanobanana_batch.exports.leaving_out import Why
from nanobanana_batch.exports.options import MAX_BYTES, FileKind, Options
from nanobanana_batch.exports.parquet import refuse_without_pyarrow, shard_lengths, write_shard
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.recode import Recoding
from nanobanana_batch.exports.sample import Sample, ending_of
from nanobanana_batch.exports.samples import Samples, read_picture
from nanobanana_batch.exports.sources import could_be_had, read_source
from nanobanana_batch.exports.tar_shards import Shards, as_json, teller_of

INPUT, PROMPT, EDITED = "input_image", "edit_prompt", "edited_image"
_CHAIN, _TURN, _PARENT, _SOURCES = "chain", "turn", "parent", "sources"
_RESERVED = (INPUT, PROMPT, EDITED, _CHAIN, _TURN, _PARENT, _SOURCES, IMAGE)


class Edits:
    """`load_dataset(PATH)`, from Parquet, folders of images, or tar shards."""

    takes = Takes.PICTURES
    is_file = False
    uses = frozenset({"split", "max_bytes", "convert", "caption", "layout"})

    def check(self, options: Options) -> None:
        """What the files need."""
        kind = _kind(options)
        if kind is FileKind.PARQUET:
            refuse_without_pyarrow(options)
        if kind is FileKind.IMAGEFOLDER:
            refuse_other_splits(options)
            if "://" in options.out:
                raise UsageError("--layout imagefolder goes to a folder of this machine only.")

    def why_not(self, entry: Entry) -> Why | None:
        """Only rows that were made from a picture, which can be had, are edits."""
        sources = sources_of(entry.request)
        if not sources:
            return Why.NO_SOURCE
        return Why.LINKED_SOURCE if sources[0].sha256 is None else None

    def look(self, samples: Samples, options: Options) -> Looked:
        """Whether pictures are of one kind, where they have to be; and which sources are there."""
        Caption(options.caption, samples.columns)
        endings: tuple[set[str], set[str]] = (set(), set())
        there, found = hashlib.sha256(), False
        with Lineage(Collection(samples.folders).entries()) as lineage:
            for sample in samples:
                endings[0].add(_source_ending(sample))
                endings[1].add(sample.ending)
                is_there = could_be_had(_source(sample), lineage)
                there.update(b"1" if is_there else b"0")
                found = found or is_there
        if not found:
            raise UsageError(
                f"Of {len(samples):,} edits none has its source picture any more.",
                hint="Name the folder of the run that made it as well, or bring the files back.",
            )
        is_mixed = any(len(each) > 1 for each in endings)
        if _kind(options) is FileKind.WEBDATASET and options.convert is None and is_mixed:
            raise UsageError(
                f"There are {' and '.join(sorted(endings[0] | endings[1]))} images;"
                " all samples of a WebDataset have the same keys.",
                hint="Add --convert jpg, --convert png or --convert webp.",
            )
        return Looked(there.hexdigest()[:16])

    def write(self, samples: Samples, place: Place, options: Options) -> Layout:
        """Part by part."""
        with Lineage(Collection(samples.folders).entries()) as lineage:
            work = _Work(samples, place, options, lineage)
            writers = {
                FileKind.PARQUET: work.as_parquet,
                FileKind.IMAGEFOLDER: work.as_folder,
                FileKind.WEBDATASET: work.as_shards,
            }
            return writers[_kind(options)]()


@dataclass(frozen=True, slots=True)
class _Triplet:
    """An edit: the bytes of both pictures, and the endings of their files."""

    before: bytes
    before_ending: str
    after: bytes
    after_ending: str


@dataclass(frozen=True, slots=True)
class _OfEdit(Column):
    """What only edits have."""

    lineage: Lineage | None = field(default=None, compare=False)

    def getter(self) -> Getter:
        """What finds it."""
        if self.name == _SOURCES:
            return lambda row, _: len(row.request.images)
        assert self.lineage is not None
        name, step = self.name, self.lineage.step
        return lambda row, _: cast(Cell, getattr(step(row), name))


class _Work:
    """One export of edits."""

    def __init__(self, samples: Samples, place: Place, options: Options, lineage: Lineage) -> None:
        self._samples, self._place, self._options, self._lineage = samples, place, options, lineage
        self._recoding = Recoding(options.convert, options.quality) if options.convert else None
        self._caption = Caption(options.caption, samples.columns)
        types = {_TURN: Type.WHOLE, _SOURCES: Type.WHOLE}
        own = (
            _OfEdit(name, name, types.get(name, Type.TEXT), lineage)
            for name in (_CHAIN, _TURN, _PARENT, _SOURCES)
        )
        self._columns = (
            *own,
            *renamed(
                (each for each in samples.columns if each.source != "prompt"),
                _RESERVED,
                ("file_name", "file_names"),
            ),
        )
        self._teller = Teller(self._columns)
        self._features = (
            Feature(INPUT, IMAGE),
            Feature(PROMPT, Type.TEXT.value),
            Feature(EDITED, IMAGE),
            *features_of(self._columns, ()),
        )

    def as_parquet(self) -> Layout:
        """Shards in which both pictures stand."""
        samples, sizes = self._samples, {}
        schema = arrow_schema(self._features)
        for split in samples.splits:
            shards = shard_lengths(samples.of(split), self._options.max_bytes or MAX_BYTES, _size)
            rows, sizes[split] = samples.of(split), 0
            for number, length in enumerate(shards):
                name = f"data/{split}-{number:05d}-of-{len(shards):05d}.parquet"
                sizes[split] += write_shard(
                    self._place, name, schema, samples, islice(rows, length), self._row
                )
        files = {split: f"data/{split}-*" for split in samples.splits}
        return Layout(self._features, files, sizes, _load('"PATH"'), self._notes())

    def as_folder(self) -> Layout:
        """A folder a part, with its pictures and a line for each edit."""
        samples, place = self._samples, self._place
        names = (f"{INPUT}_file_name", PROMPT, f"{EDITED}_file_name")
        counts = dict.fromkeys(samples.splits, 0)
        with Metadata(samples.splits, self._columns, place, names) as metadata:
            for sample, prepared in ahead(samples, self._triplet):
                with samples.written(sample):
                    found, split = prepared(), sample.split
                    before, after = (
                        spread(f"{sample.key}.{name}", 2 * counts[split], 2 * samples.planned(split))
                        for name in (f"input.{found.before_ending}", f"output.{found.after_ending}")
                    )
                    place.put(f"{split}/{before}", found.before)
                    place.put(f"{split}/{after}", found.after)
                    told = (before, self._caption.of(sample), after)
                    metadata.add(sample, dict(zip(names, told, strict=True)))
                    counts[split] += 1
        files = {split: f"{split}/**" for split in samples.splits}
        return Layout(self._features, files, {}, _load('"imagefolder", data_dir="PATH"'), self._notes())

    def as_shards(self) -> Layout:
        """WebDataset: `KEY.input.jpg`, `KEY.output.jpg` and `KEY.json`."""
        samples, teller = self._samples, teller_of(self._columns)
        for split in samples.splits:
            with Shards(self._place, split, self._options.max_bytes) as shards:
                for sample, prepared in ahead(samples.of(split), self._triplet):
                    with samples.written(sample):
                        found = prepared()
                        files = {
                            f"input.{found.before_ending}": found.before,
                            f"output.{found.after_ending}": found.after,
                            "json": as_json(sample, teller, {PROMPT: self._caption.of(sample)}),
                        }
                        shards.add(sample.key, files)
        tars = {split: f"{split}-*.tar" for split in samples.splits}
        return Layout((), tars, {}, _load('"webdataset", data_dir="PATH"'), self._notes())

    def _notes(self) -> tuple[str, ...]:
        several = sum(len(sample.entry.request.images) > 1 for sample in self._samples)
        told = f"{several:,} were made from several images, of which the first is here: the column `sources`"
        return (
            *((told,) if several else ()),
            "`chain` is the same for edits of edits of one image, and `turn` their order",
        )

    def _row(self, sample: Sample) -> dict[str, Any]:
        found = self._triplet(sample)
        key = sample.key
        return {
            INPUT: {"bytes": found.before, "path": f"{key}.input.{found.before_ending}"},
            PROMPT: self._caption.of(sample),
            EDITED: {"bytes": found.after, "path": f"{key}.output.{found.after_ending}"},
            **self._teller.named(sample),
        }

    def _triplet(self, sample: Sample) -> _Triplet:
        after = read_picture(sample.picture)
        before = read_source(_source(sample), self._lineage)
        if self._recoding is None:
            return _Triplet(before, _source_ending(sample), after, sample.ending)
        made, given = self._recoding.of(after), self._recoding.of(before)
        return _Triplet(given.data, given.encoding.value, made.data, made.encoding.value)


def _kind(options: Options) -> FileKind:
    return options.layout or FileKind.PARQUET


def _source(sample: Sample) -> Source:
    return sources_of(sample.entry.request)[0]


def _source_ending(sample: Sample) -> str:
    first = sample.entry.request.images[0]
    return next(ending_of(file.media_type) for file in sample.entry.request.files if file.name == first)


def _size(sample: Sample) -> int:
    first = sample.entry.request.images[0]
    before = next(file.size_bytes for file in sample.entry.request.files if file.name == first)
    return sample.picture.size_bytes + before


def _load(asked: str) -> tuple[str, str]:
    return ("from datasets import load_dataset", f"dataset = load_dataset({asked})")
