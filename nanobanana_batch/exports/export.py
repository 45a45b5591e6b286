"""One export from beginning to end: rows are chosen, split, written, told in a card, and moved in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir

from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.measures import read_measures
from nanobanana_batch.collection.selection import Selection, read_selection
from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.card import CARD, card
from nanobanana_batch.exports.choosing import choose
from nanobanana_batch.exports.chosen import Chosen
from nanobanana_batch.exports.columns import Column, columns_of, table_columns_of
from nanobanana_batch.exports.counting import CountingPlace
from nanobanana_batch.exports.embedding import change_of
from nanobanana_batch.exports.far_target import FarTarget, target_of
from nanobanana_batch.exports.format import (
    Format,
    Layout,
    Looked,
    LooksFirst,
    MakesLines,
    Takes,
    refuse_unused,
)
from nanobanana_batch.exports.hub import Pushed, check_repo, measured, push
from nanobanana_batch.exports.leaving_out import Why
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.registry import load
from nanobanana_batch.exports.samples import Samples
from nanobanana_batch.exports.spool import Lines, Spool, Spooled
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.exports.target import Target, Told, counts_of
from nanobanana_batch.exports.watch import Nobody, Watch
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import RATINGS_NAME
from nanobanana_batch.wording import counted


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of an export."""

    path: str
    format: str
    samples: int
    splits: dict[str, int]
    """Samples by part."""
    left_out: dict[str, int]
    """By reason."""
    picture_bytes: int
    """Of the pictures that were chosen, as they were saved."""
    is_new: bool
    """False: it was there already, with all of this, and nothing was written."""
    is_dry_run: bool = False
    copied_instead_of_linked: int = 0
    not_embedded: dict[str, int] = field(default_factory=dict)
    """Pictures into which nothing was written, by reason; they are in the export as they are."""
    pushed: Pushed | None = None
    """What went to the Hub, or would; None: nothing was to."""
    holds_pictures: bool = True
    """False: it only tells of them, as a table does, or shows them small."""
    remarks: tuple[str, ...] = ()
    """Of values of `where` that nothing has: probably a slip."""


def export(
    folders: Sequence[Path], options: Options, *, dry_run: bool = False, watch: Watch | None = None
) -> Exported:
    """Write an export of these output folders; `dry_run`: only say what would be in it.

    Raises:
        UsageError: an option is wrong, there is nothing to export, or the place is taken by something else.
        FolderInUse: another process writes the same export.
        FolderRefused, StateFailed: a folder cannot be read.
        DiskFailed: the disk is full or refuses; the export of before is untouched.
    """
    asked = _asked(options, dry_run=dry_run, watch=watch or Nobody())
    collection = Collection(folders)
    columns, selection = _columns(collection, asked), _selection(collection, options)
    tally = Tally(manifests=collection.manifests, folders=collection.names)
    with closing(_spool(asked, columns)) as spool:
        chosen = choose(collection, selection, asked.format, options, columns, spool, tally, asked.watch)
        _refuse_placeholders(chosen, options)
        _refuse_nothing(chosen, selection, options, tally)
        paths = [folder.path for folder in collection.folders]
        samples = Samples(chosen, columns, tally, asked.watch, paths, change_of(options, tally))
        done = _exported(asked, chosen, samples)
    return replace(done, remarks=tuple(selection.idle()))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an export is to be, and where."""

    format: Format
    options: Options
    target: Target | FarTarget
    dry_run: bool
    watch: Watch

    @property
    def holds_pictures(self) -> bool:
        """Whether pictures go into it as they are, and not only what is told of them."""
        return not (self.format.is_file or self.options.paths_only)


def _asked(options: Options, *, dry_run: bool, watch: Watch) -> _Asked:
    """What is wrong with the options, or stands there already, is told before any work."""
    format = load(options.format)
    refuse_unused(format, options)
    format.check(options)
    target = target_of(options, is_file=format.is_file, disk=Disk())
    asked = _Asked(format, options, target, dry_run, watch)
    if options.push_to_hub:
        _check_push(asked)
    target.refuse_foreign(options.as_text())
    return asked


def _exported(asked: _Asked, chosen: Chosen, samples: Samples) -> Exported:
    """Written, if it is to be and is not there already, and what came of that."""
    format, options, target = asked.format, asked.options, asked.target
    looked = format.look(samples, options) if isinstance(format, LooksFirst) else Looked()
    plan = f"{chosen.plan} {looked.plan}".strip()
    is_new = not asked.dry_run and not target.is_up_to_date(plan)
    place = _written(asked, samples, plan) if is_new else None
    pushed = None
    if options.push_to_hub and isinstance(target, Target):
        pushed = _pushed(asked, target, samples, plan)
    counts = counts_of(samples.tally)
    planned = looked.splits or {name: samples.planned(name) for name in samples.splits}
    earlier = None if is_new or asked.dry_run else target.told()
    told = Told(*counts) if is_new else earlier or Told(planned, counts[1])
    return Exported(
        path=target.shown,
        format=options.format,
        samples=sum(told.splits.values()),
        splits={name: told.splits.get(name, 0) for name in samples.splits},
        left_out=dict(told.left_out),
        picture_bytes=chosen.picture_bytes,
        is_new=is_new,
        is_dry_run=asked.dry_run,
        pushed=pushed,
        copied_instead_of_linked=place.copied_instead if place else 0,
        not_embedded=dict(samples.tally.not_embedded),
        holds_pictures=asked.holds_pictures,
    )


def _written(asked: _Asked, samples: Samples, plan: str) -> Place:
    """All files of it, the card last."""
    format, options, tally = asked.format, asked.options, samples.tally
    with asked.target.built(options.as_text(), plan, tally) as folder:
        place = asked.target.place(folder, samples.change)
        asked.watch.begin("written", len(samples))
        layout = format.write(samples, place, options)
        if not tally.written.total():
            raise UsageError(f"No picture could be exported{_reasons(tally)}.")
        if not format.is_file:
            place.put(CARD, card(samples, options, layout or Layout()).encode())
    return place


def _pushed(asked: _Asked, target: Target, samples: Samples, plan: str) -> Pushed:
    options = asked.options
    if not asked.dry_run:
        return push(
            target.path, options.push_to_hub, f"{counted(len(samples), 'sample')} as {options.format}"
        )
    if target.is_up_to_date(plan):
        return measured(target.path, options.push_to_hub)
    place = CountingPlace(target.path.name)
    layout = asked.format.write(samples, place, options)
    place.put(CARD, card(samples, options, layout or Layout()).encode())
    return Pushed(options.push_to_hub, place.files, place.bytes)


def _columns(collection: Collection, asked: _Asked) -> tuple[Column, ...]:
    make = table_columns_of if asked.format.takes is Takes.ROWS else columns_of
    return make(
        collection.variables,
        _checks(collection),
        is_judged=any((folder.path / RATINGS_NAME).exists() for folder in collection.folders),
        is_practice=asked.options.practice,
        has_folders=len(collection.folders) > 1,
    )


def _checks(collection: Collection) -> list[str]:
    names: dict[str, None] = {}
    for folder in collection.folders:
        names.update(dict.fromkeys(read_measures(folder.path).columns))
    return list(names)


def _selection(collection: Collection, options: Options) -> Selection:
    return read_selection(options.only, options.where, collection.variables, _checks(collection))


def _check_push(asked: _Asked) -> None:
    options = asked.options
    check_repo(options.push_to_hub)
    if isinstance(asked.target, FarTarget):
        raise UsageError("--push-to-hub sends a folder of this machine.", hint="Give a path as --out.")
    if not asked.holds_pictures:
        what = "--paths-only" if options.paths_only else f"--format {options.format}"
        raise UsageError(f"{what} makes no data set that the Hub shows.", hint="--format parquet does.")


def _refuse_placeholders(chosen: Chosen, options: Options) -> None:
    if chosen.placeholders and not options.practice:
        raise UsageError(
            f"{chosen.placeholders:,} of the samples are placeholders, drawn by the embedded service.",
            hint="To try an export with them, add --practice: they are marked then.",
        )


def _refuse_nothing(chosen: Chosen, selection: Selection, options: Options, tally: Tally) -> None:
    if not chosen.sides:
        raise UsageError(
            f"There is nothing to export{_reasons(tally)}.",
            hint=" ".join([*selection.idle(), _what_to_look_at(options, tally)]).strip(),
        )


def _what_to_look_at(options: Options, tally: Tally) -> str:
    if options.only or options.where:
        return "Look at --only and --where."
    if Why.NO_SOURCE in tally.left_out:
        return "Edits are rows with a local source image: images, images_from or from of a manifest."
    return ""


def _reasons(tally: Tally) -> str:
    told = ", ".join(f"{count:,} {why.value}" for why, count in tally.left_out.items())
    return f" ({told})" if told else ""


def _spool(asked: _Asked, columns: tuple[Column, ...]) -> Spooled:
    folder = _spool_folder(asked.target)
    if isinstance(asked.format, MakesLines):
        return Lines(folder, asked.format.liner(columns, asked.options))
    return Spool(folder)


def _spool_folder(target: Target | FarTarget) -> Path:
    """Where there is room: beside the export, or else where temporary files go.

    Raises:
        UsageError: the export has no place there.
    """
    if isinstance(target, Target) and (beside := target.path.parent).is_dir():
        if not os.access(beside, os.W_OK | os.X_OK):
            raise UsageError(
                f"This user may not write to {beside}.", hint="--out PATH puts the export elsewhere."
            )
        return beside
    return Path(gettempdir())
