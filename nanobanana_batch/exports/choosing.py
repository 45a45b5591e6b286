"""Which samples an export has: rows and pictures, chosen once, with the reason for those that are not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from nanobanana_batch.collection.entries import Collection, Entry, Picture
from nanobanana_batch.collection.lineage import Lineage
from nanobanana_batch.collection.selection import Selection
from nanobanana_batch.exports.chosen import Chosen
from nanobanana_batch.exports.columns import Column, Teller
from nanobanana_batch.exports.format import Format, Takes, Wants
from nanobanana_batch.exports.keys import Keys
from nanobanana_batch.exports.leaving_out import Why
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.split import Groups
from nanobanana_batch.exports.spool import Spooled
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.exports.watch import Watch
from nanobanana_batch.files.standing import Stands

_UNFIT = {
    Stands.CHANGED: Why.CHANGED,
    Stands.KEPT: Why.CHANGED,
    Stands.MISSING: Why.MISSING,
    Stands.NOT_A_FILE: Why.UNREADABLE,
    Stands.UNREADABLE: Why.UNREADABLE,
}


def choose(
    collection: Collection,
    selection: Selection,
    format: Format,
    options: Options,
    columns: tuple[Column, ...],
    spool: Spooled,
    tally: Tally,
    watch: Watch,
) -> Chosen:
    """Walk through all rows once; what is chosen goes to the spool."""
    keys, count, placeholders, size = Keys(), 0, 0, 0
    groups = Groups() if options.split else None
    plan = hashlib.sha256(json.dumps([options.as_text(), tally.manifests]).encode())
    as_json, teller = json.JSONEncoder().encode, Teller(columns)
    wants = format if isinstance(format, Wants) else None
    media_types: set[str] = set()
    watch.begin("rows looked at", collection.rows)
    lineage = _lineage(collection) if options.split else None
    for entry in collection.entries():
        tally.see(entry)
        watch.step()
        for picture in _chosen(entry, selection, format, wants, options, tally):
            sample = Sample(keys.of(entry, picture), entry, picture, "")
            told = teller.of(sample)
            plan.update(as_json([sample.key, entry.status, *told]).encode("ascii"))
            spool.add(sample, told)
            if groups is not None:
                groups.add(sample, lineage.family(entry) if lineage else "")
            count += 1
            placeholders += entry.is_practice
            if picture is not None:
                size += picture.size_bytes
                media_types.add(picture.media_type)
    if lineage is not None:
        lineage.close()
    for why, left in tally.left_out.items():
        plan.update(f"{why.name}={left};".encode())
    shares = [share for _, share in options.split]
    sides = bytes(count) if groups is None else groups.sides(shares, options.seed)
    kinds = frozenset(media_types)
    return Chosen(spool, options.splits, sides, plan.hexdigest(), kinds, placeholders, size)


def _lineage(collection: Collection) -> Lineage | None:
    """What is known of edits, where there are any."""
    lineage = Lineage(collection.entries())
    if lineage.has_edits:
        return lineage
    lineage.close()
    return None


def _chosen(
    entry: Entry,
    selection: Selection,
    format: Format,
    wants: Wants | None,
    options: Options,
    tally: Tally,
) -> Iterator[Picture | None]:
    if format.takes is Takes.ROWS and not entry.pictures:
        if selection.takes(entry, None):
            yield None
        else:
            tally.left_out[Why.NOT_SELECTED] += 1
        return
    if not entry.pictures:
        tally.left_out[Why.NO_IMAGE] += 1
    has_one = False
    for picture in entry.pictures:
        why = _why_not(entry, picture, selection, format, wants, options)
        if why is None and has_one and options.images == "first":
            why = Why.OTHER_IMAGES
        if why is None:
            has_one = True
            yield picture
        else:
            tally.left_out[why] += 1


def _why_not(
    entry: Entry,
    picture: Picture,
    selection: Selection,
    format: Format,
    wants: Wants | None,
    options: Options,
) -> Why | None:
    if not selection.takes(entry, picture):
        return Why.NOT_SELECTED
    if format.takes is Takes.PICTURES and picture.stands in _UNFIT:
        return _UNFIT[picture.stands]
    if wants is not None and (why := wants.why_not(entry)):
        return why
    return Why.NOTED if entry.note and not options.noted else None
