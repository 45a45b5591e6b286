"""One row in full, the request that would be sent for it, and all rows as a table."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nanobanana_batch.errors import UsageError
from nanobanana_batch.estimates import Prices
from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.plain import reading
from nanobanana_batch.jobs.connection import provider_name
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.plan.survey import Survey, Terms, surveyed
from nanobanana_batch.manifest import SkippedRow, one_slip
from nanobanana_batch.model import REQUEST_FIELDS, LocalImage, Request, Row
from nanobanana_batch.state.comparison import Prospect
from nanobanana_batch.state.prices import price_class
from nanobanana_batch.wording import closest, did_you_mean, shown

_ROWS_AT_ONCE = 1000
_IDS_COMPARED = 20_000
_EMBEDDED = "http://127.0.0.1:<port of the embedded service>"
_BEGINNING = ",".join(("id", *REQUEST_FIELDS)).encode()
_SKIPPED = "skipped"
_OUR_COLUMNS = ("variant_number", "source", "row_key", "status")
"""`variant` is called otherwise here, since a manifest may have no column of that name."""


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """Everything about one row; None where a thing is not known."""

    id: str
    status: Prospect
    source: str
    """Where it stands in the manifest."""
    variant: int
    request: Request
    variables: Mapping[str, str]
    row_key: str
    price: float | None
    """What it would cost, or would cost once more, in credits."""
    image: str | None
    """Its path, if it is made."""
    task_id: str | None
    credits: float | None
    """What it has cost so far."""
    credits_per_usd: float | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """What would be sent for a row."""

    id: str
    url: str
    headers: Mapping[str, str]
    """The key is not in them."""
    body: Mapping[str, Any]


def find_row(order: Order, id_: str, terms: Terms | None = None) -> PlannedRow:
    """The row with this id, in full.

    Raises:
        UsageError: there is none, or a run would refuse the order.
    """
    with surveyed(order, terms or Terms()) as survey:
        row, reader = _found(survey, id_), survey.ground.reader
        known = reader.known(row.key) if reader else None
        return PlannedRow(
            id=row.id,
            status=survey.prospect(row.position),
            source=row.source,
            variant=row.variant,
            request=row.request,
            variables=dict(row.variables),
            row_key=row.key,
            price=Prices(survey.ground.seen, survey.ground.prices).of(price_class(row.request)),
            image=str(survey.ground.folder.path / known.image) if known and known.image else None,
            task_id=known.task_id if known else None,
            credits=known.credits if known else None,
            credits_per_usd=survey.ground.prices.credits_per_usd,
            error_code=known.error_code if known else None,
            error_message=known.error_message if known else None,
        )


def find_request(order: Order, id_: str) -> PlannedRequest:
    """The request that a run would send for the row with this id; nothing is sent, and no key is needed.

    Raises:
        UsageError: there is no such row, or a run would refuse the order.
    """
    from nanobanana_batch.providers.profile import load_profile
    from nanobanana_batch.providers.tasks.encoding import (
        SUBMIT_ROUTE,
        account_headers,
        encode,
        submit_headers,
    )

    profile = load_profile(order.connection.provider)
    with surveyed(order, Terms()) as survey:
        row = _found(survey, id_)
        url_of = _uploads(survey, order)
        urls = {file.name: url_of(file) for file in row.request.files}
    images = tuple(urls.get(image, image) for image in row.request.images)
    body = encode(replace(row.request, images=images, files=()), profile)
    own = _EMBEDDED if profile.embedded else profile.base_url
    address = order.connection.base_url or own or "<--base-url>"
    headers = {**account_headers(f"<{profile.key_env}>"), **submit_headers("<random, of this request only>")}
    return PlannedRequest(row.id, address.rstrip("/") + SUBMIT_ROUTE, headers, json.loads(body))


def write_table(survey: Survey, path: Path, manifest: Path) -> list[str]:
    """All rows as a CSV that is a manifest of the same requests, and what is worth saying about it.

    Raises:
        UsageError: it cannot stand there.
        DiskFailed: it cannot be written; the old one is untouched.
    """
    fault = _fault(path, manifest)
    if fault:
        raise UsageError(f"{path} cannot be written: {fault}.")
    later = _Later()
    write_atomically(Disk(), path, _csv_pieces(survey, path.parent, later))
    said = []
    if survey.ground.manifest.skipped:
        said.append(
            f"{path} has the rows that are left out, too, at its end; give a run of it the same --skip"
        )
    if not later.variants:
        return said
    return [
        *said,
        f"in {path} the {later.variants:,} rows with a variant_number above 1 are requests of their own:"
        " a run of that table would pay for them anew",
    ]


def _fault(path: Path, manifest: Path) -> str:
    """Why the table cannot stand there; it takes the place of nothing but an earlier one."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if path.is_dir():
        return "it is a folder"
    if not path.exists():
        return ""
    if manifest.exists() and path.samefile(manifest):
        return "it is the manifest"
    if path.is_file() and _is_a_table_of_ours(path):
        return ""
    return "it is there already, and not a table that `plan` has written; choose another name"


def _is_a_table_of_ours(path: Path) -> bool:
    """By how it begins; an empty file is nobody's."""
    try:
        with reading(path) as stream:
            return stream.read(len(_BEGINNING)) in (b"", _BEGINNING)
    except PermissionError:
        return False


def _found(survey: Survey, id_: str) -> Row:
    row = survey.roster.find(id_)
    if row is not None:
        return row
    ids = [row.id for row in survey.roster.rows(_IDS_COMPARED)]
    near = closest(id_, ids)
    if not near and len(id_) > 1:
        near = next((id for id in ids if one_slip(id_.casefold(), id.casefold())), "")
    hint = did_you_mean(near) or "A plan with --out-csv FILE lists all ids."
    raise UsageError(f"No row of {survey.ground.manifest.path} has the id {shown(id_)}.", hint=hint)


def _uploads(survey: Survey, order: Order) -> Callable[[LocalImage], str]:
    """What stands in the place of a local image: its address at the provider, if it has one already."""
    reader = survey.ground.reader
    name = provider_name(order.connection) if reader else ""
    now = time.time()

    def url_of(file: LocalImage) -> str:
        url = reader.upload_url(name, file.sha256, now) if reader else None
        return url or f"<uploaded when sent: {file.name}>"

    return url_of


# --- all rows as a table ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Later:
    variants: int = 0
    """Rows that are not their row's first variant."""


def _csv_pieces(survey: Survey, folder: Path, later: _Later) -> Iterator[bytes]:
    """UTF-8 in pieces of many rows; RFC 4180 quoting, `\\n` line ends."""
    manifest = survey.ground.manifest
    variables = manifest.variables
    reasons = (_SKIPPED,) if manifest.skipped else ()
    buffer = io.StringIO(newline="")
    # Everything in quotes: a lone carriage return would end the line for some readers otherwise.
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    csv.writer(buffer, lineterminator="\n").writerow(
        ("id", *REQUEST_FIELDS, *variables, *_our_columns(variables, (*_OUR_COLUMNS, *reasons)))
    )
    # The rows come first: without a state the statuses do not end.
    pairs = zip(survey.roster.rows(), survey.prospects(), strict=False)
    while piece := list(itertools.islice(pairs, _ROWS_AT_ONCE)):
        writer.writerows(
            [*_cells(row, status, variables, folder), *([""] * len(reasons))] for row, status in piece
        )
        later.variants += sum(row.variant > 1 for row, _ in piece)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    if manifest.skipped:
        for skipped in manifest.skipped_rows():
            writer.writerow(_skipped_cells(skipped, variables))
        yield buffer.getvalue().encode()


def _skipped_cells(row: SkippedRow, variables: Sequence[str]) -> list[object]:
    """What the manifest gives of a row that is left out."""
    given = {name: value if isinstance(value, str) else "|".join(value) for name, value in row.values.items()}
    given["prompt"] = row.prompt
    fields = (given.get(name, "") for name in ("id", *REQUEST_FIELDS, *variables))
    return [*fields, row.variant, row.source, "", _SKIPPED, row.reason]


def _our_columns(variables: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """What we say of a row; a variable keeps its name."""
    for name in names:
        while name in variables:
            name = f"planned_{name}"
        yield name


def _cells(row: Row, status: Prospect, variables: Sequence[str], folder: Path) -> list[object]:
    request, values = row.request, dict(row.variables)
    fields = {**request.given(), "images": "|".join(_images(request, folder))}
    return [
        row.id,
        *(_text(fields.get(name)) for name in REQUEST_FIELDS),
        *(values.get(name, "") for name in variables),
        row.variant,
        row.source,
        row.key,
        status.value,
    ]


def _images(request: Request, folder: Path) -> Iterator[str]:
    """Local files as they are called from the table's folder."""
    paths = {file.name: file.path for file in request.files}
    for image in request.images:
        path = paths.get(image)
        yield image if path is None else Path(os.path.relpath(path, folder.absolute())).as_posix()


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
