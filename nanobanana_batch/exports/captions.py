"""kohya's sd-scripts, ai-toolkit and musubi-tuner: each picture with a text file of the same name beside it.

kohya reads the first line of that file, ai-toolkit and musubi-tuner the whole of it: so there is one line.
They take the pixels of a picture as they are stored, so it is drawn anew where these are not what people see
(`recode`). `train.jsonl` says the same to musubi-tuner, with the pictures that an edit was made from, which
also stand in a folder of their own under the name of the picture, as ai-toolkit looks for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.lineage import Lineage
from nanobanana_batch.exports.ahead import ahead
from nanobanana_batch.exports.caption import Caption
from nanobanana_batch.exports.format import Layout, Looked, Takes
from nanobanana_batch.exports.leaving_out import LeftOut, Why
from nanobanana_batch.exports.options import Encoding, Link, Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.recode import Recoded, Recoding
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.samples import Samples, read_picture
from nanobanana_batch.exports.sources import read_sources

_ALLOWED = frozenset({Encoding.JPG, Encoding.PNG})


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What a trainer gets of one sample."""

    caption: str
    picture: Recoded
    controls: tuple[Recoded, ...]


class Captions:
    """`train/KEY.jpg`, `train/KEY.txt`, `train-control/KEY.jpg` and `train.jsonl`."""

    takes = Takes.PICTURES
    is_file = False
    uses = frozenset({"split", "link", "convert", "caption", "path_prefix", "embed_metadata"})

    def check(self, options: Options) -> None:
        """Any go together."""

    def look(self, samples: Samples, options: Options) -> Looked:
        """A column that there is not is told before anything is written."""
        Caption(options.caption, samples.columns)
        return Looked()

    def write(self, samples: Samples, place: Place, options: Options) -> Layout:
        """A picture, its caption, and a line."""
        caption = Caption(options.caption, samples.columns)
        recoding = Recoding(options.convert, options.quality, _ALLOWED)
        prefix = options.path_prefix or os.path.realpath(options.out)
        with ExitStack() as stack:
            has_edits = any(sample.entry.request.images for sample in samples)
            rows = Collection(samples.folders).entries() if has_edits else ()
            lineage = stack.enter_context(Lineage(rows))
            lists: dict[str, IO[bytes]] = {
                split: stack.enter_context(place.file(f"{split}.jsonl")) for split in samples.splits
            }

            def learnt(sample: Sample) -> _Learnt:
                text = caption.on_one_line(sample)
                if not text:
                    raise LeftOut(Why.NO_CAPTION)
                picture = recoding.of(read_picture(sample.picture))
                return _Learnt(text, picture, _controls(sample, lineage, recoding))

            drawn = lost = 0
            for sample, prepared in ahead(samples, learnt):
                with samples.written(sample):
                    learnt_one = prepared()
                    line = _write(sample, learnt_one, samples, place, options)
                    told = {name: _under(prefix, value) for name, value in line.paths.items()}
                    told["caption"] = line.caption
                    lists[sample.split].write((json.dumps(told, ensure_ascii=False) + "\n").encode())
                    drawn += learnt_one.picture.is_changed
                    lost += bool(sample.entry.request.images) and not learnt_one.controls
        return Layout(notes=tuple(_notes(drawn, lost)))


@dataclass(frozen=True, slots=True)
class _Line:
    """Of train.jsonl."""

    paths: dict[str, str]
    caption: str


def _notes(drawn: int, lost: int) -> Iterator[str]:
    yield 'sd-scripts: `image_dir` is the folder of a part, with `caption_extension = ".txt"`'
    yield "ai-toolkit: `folder_path` is the folder of a part, `control_path` the one that ends in `-control`"
    yield "musubi-tuner: `image_jsonl_file` is the list of a part"
    if drawn:
        yield (
            f"{drawn:,} were drawn anew: as --convert says, or since trainers would not see in their files"
            " what people see"
        )
    if lost:
        yield f"{lost:,} were made from a picture that cannot be had, and are here without it"


def _controls(sample: Sample, lineage: Lineage, recoding: Recoding) -> tuple[Recoded, ...]:
    """The pictures that it was made from; none if not all can be had."""
    try:
        return tuple(recoding.of(data) for data in read_sources(sample.entry.request, lineage))
    except LeftOut:
        return ()


def _write(sample: Sample, learnt: _Learnt, samples: Samples, place: Place, options: Options) -> _Line:
    paths = {"image_path": f"{sample.split}/{sample.key}.{learnt.picture.encoding}"}
    if learnt.picture.is_changed or options.link in (None, Link.COPY):
        place.put(paths["image_path"], samples.change(learnt.picture.data, sample))
    else:
        place.picture(paths["image_path"], sample, options.link)
    place.put(f"{sample.split}/{sample.key}.txt", f"{learnt.caption}\n".encode())
    for number, control in enumerate(learnt.controls):
        folder = f"{sample.split}-control" + (f"-{number + 1}" if number else "")
        name = f"control_path_{number}" if len(learnt.controls) > 1 else "control_path"
        paths[name] = f"{folder}/{sample.key}.{control.encoding}"
        place.put(paths[name], control.data)
    return _Line(paths, learnt.caption)


def _under(prefix: str, path: str) -> str:
    return str(PurePosixPath(Path(prefix).as_posix()) / path)
