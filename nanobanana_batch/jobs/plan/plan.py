"""The plan of a run: how many rows stand where, what they will cost and how long they will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from nanobanana_batch import defaults
from nanobanana_batch.errors import ImageRejected, TooManyRows
from nanobanana_batch.estimates import Cost, Duration, Prices, Seen, duration
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.references import size_of
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.pilot import Pilot
from nanobanana_batch.jobs.plan.rows import write_table
from nanobanana_batch.jobs.plan.survey import Ground, Survey, Terms, opened, surveyed
from nanobanana_batch.journals.place import place_of
from nanobanana_batch.manifest import TRUE, Picked, Skipped, derive_id, fold_id
from nanobanana_batch.model import LocalImage, Request, Row, RowStatus
from nanobanana_batch.state.comparison import TO_COLLECT, TO_PAY, Prospect
from nanobanana_batch.state.prices import PriceClass, price_class
from nanobanana_batch.state.roster import Roster

_REPEATED_SHOWN = 5
_UPLOADS_NAMED = 5
_TALLIED = ("aspect_ratio", "model", "resolution", "web_search", "image_search", "thinking_level")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one model and resolution."""

    model: str
    resolution: str | None
    default_resolution: str | None
    """What the provider makes where none is given; None where one is, or where nobody says."""
    rows: int
    to_submit: int
    credits: float | None
    """Of those to submit; None where the price of some is not known."""


@dataclass(frozen=True, slots=True)
class FirstRow:
    """One of the first rows, and how it stands."""

    id: str
    status: Prospect | None
    """None where rows were only counted."""
    source: str
    variant: int
    request: Request
    variables: Mapping[str, str]
    row_key: str


@dataclass(frozen=True, slots=True)
class PlannedPilot:
    """What `run --pilot` or `run --limit` would make."""

    by: str
    """`pilot` or `limit`."""
    rows: int
    text: str
    """How many rows these are, and what they show."""
    levels: Mapping[str, int]
    """How many values each factor and field has, of those that have several."""
    to_submit: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class PlannedPicture:
    """A local image that rows edit."""

    name: str
    """As the manifest names it."""
    width: int | None
    height: int | None
    """None: it cannot be read any more."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PlannedUploads:
    """The images that rows edit: local ones, which are uploaded once each, and those at addresses."""

    rows: int
    files: int
    size_bytes: int
    pictures: tuple[PlannedPicture, ...]
    """The first of the local ones."""
    links: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is in the manifest, and how much of it is there already."""

    manifest: str
    folder: str
    rows: int
    is_expanded: bool
    """False: there are more rows than a run takes, and they were only counted."""
    to_submit: int
    """Rows for which a run would pay."""
    to_collect: int
    """Rows that are paid for, or may be, and that a run would only look after."""
    counts: Mapping[Prospect, int]
    """Rows by how they stand."""
    picked: tuple[Picked, ...]
    """Where `from` and `sample` take a part of what there is."""
    skipped: tuple[Skipped, ...]
    """Rows that `skip` leaves out."""
    gone: int
    """Requests that were sent and that no row stands for any more; what is paid is still collected."""
    gone_made: int
    """Those of them that have an image."""
    reads: tuple[str, ...]
    """Tables, lists and runs that the manifest draws in, as it names them."""
    uploads: PlannedUploads | None
    """None where no row edits an image, or rows were only counted."""
    groups: tuple[Group, ...]
    aspect_ratios: Mapping[str, int]
    """Rows by aspect ratio; `-` where none is asked for."""
    pilot: PlannedPilot | None
    """Which rows come first, if a pilot was asked for; they are then the first rows, too."""
    cost: Cost
    is_free: bool
    """A service on this machine draws placeholders: credits are counted and nobody pays them."""
    max_credits: float | None
    duration: Duration
    repeated: int
    """Rows that ask for the very same as an earlier one."""
    repeated_ids: tuple[str, ...]
    """Of the first of them."""
    warnings: tuple[str, ...]
    first_rows: tuple[FirstRow, ...]
    table: str | None
    """Where the rows were written to."""


def make_plan(
    order: Order,
    first: int = defaults.PLANNED_ROWS,
    terms: Terms | None = None,
    table: Path | None = None,
    pilot: int | None = None,
    limit: int | None = None,
) -> Plan:
    """What a run of the order would do; its rows go into a table, if one is wanted.

    With a pilot of so many rows, or a limit to the first ones, these are what is shown.

    Raises:
        UsageError: a run would refuse the order.
        StateFailed: the folder's state is gone or damaged.
        DiskFailed: the table cannot be written.
    """
    terms = terms or Terms()
    if order.journal is not None:
        place_of(order.journal, Disk())
    try:
        with surveyed(order, terms, pilot, limit) as survey:
            said = [] if table is None else write_table(survey, table, order.manifest)
            plan = _planned(survey, first, terms, pilot)
            where = None if table is None else str(table)
            return replace(plan, warnings=(*plan.warnings, *said), table=where)
    except TooManyRows as error:
        if any(asked is not None for asked in (table, pilot, limit, order.shard)):
            raise
        with opened(order) as ground:
            return _counted(ground, first, terms, error.rows)


def _planned(survey: Survey, first: int, terms: Terms, pilot_rows: int | None) -> Plan:
    ground, roster, counts = survey.ground, survey.roster, survey.counts()
    to_pay = survey.to_pay()
    prices = Prices(ground.seen, ground.prices)
    cost = prices.cost(to_pay)
    ratios = roster.tally(("aspect_ratio",))
    gone = survey.comparison.gone() if survey.comparison else Counter[RowStatus]()
    shown = islice(_shown(survey, survey.pilot), first)
    return Plan(
        manifest=ground.manifest.name,
        folder=str(ground.folder.path),
        rows=len(roster),
        is_expanded=True,
        to_submit=to_pay.total(),
        to_collect=sum(counts[word] for word in TO_COLLECT),
        counts={word: counts[word] for word in Prospect},
        picked=ground.manifest.picked,
        skipped=ground.manifest.skipped,
        gone=gone.total(),
        gone_made=gone[RowStatus.COMPLETED],
        reads=ground.manifest.reads,
        uploads=_uploads(roster),
        groups=_groups(ground, roster.kinds(), to_pay, prices),
        aspect_ratios={ratio or "-": count for (ratio,), count in ratios.most_common()},
        pilot=_planned_pilot(survey, survey.pilot, prices, pilot_rows) if survey.pilot else None,
        cost=cost,
        is_free=ground.is_free,
        max_credits=terms.max_credits,
        duration=_duration(to_pay, ground.seen, terms),
        repeated=roster.repeated(),
        repeated_ids=tuple(roster.repeated_ids(_REPEATED_SHOWN)),
        warnings=_warnings(ground, cost),
        first_rows=tuple(_first_row(row, status) for row, status in shown),
        table=None,
    )


def _shown(survey: Survey, pilot: Pilot | None) -> Iterator[tuple[Row, Prospect]]:
    """A pilot's rows, or all of them, with how each stands."""
    # The rows come first: without a state the statuses do not end.
    for row, status in zip(survey.roster.rows(), survey.prospects(), strict=False):
        if pilot is None or row.position in pilot.positions:
            yield row, status


def _planned_pilot(survey: Survey, pilot: Pilot, prices: Prices, asked: int | None) -> PlannedPilot:
    to_pay = Counter(price_class(row.request) for row, status in _shown(survey, pilot) if status in TO_PAY)
    text = pilot.text(len(survey.roster))
    by = "limit" if asked is None else "pilot"
    return PlannedPilot(by, len(pilot.positions), text, pilot.levels, to_pay.total(), prices.cost(to_pay))


def _uploads(roster: Roster) -> PlannedUploads | None:
    rows, links = roster.edits()
    if not rows:
        return None
    pictures = tuple(map(_picture, roster.first_files(_UPLOADS_NAMED)))
    return PlannedUploads(rows, *roster.files(), pictures, links)


def _picture(file: LocalImage) -> PlannedPicture:
    try:
        found = size_of(Path(file.path))
    except (OSError, ImageRejected):
        return PlannedPicture(file.name, None, None, file.size_bytes)
    return PlannedPicture(file.name, *found, file.size_bytes)


def _counted(ground: Ground, first: int, terms: Terms, rows: int) -> Plan:
    """A manifest that is too long to be read row by row: numbers only, and its first rows."""
    kinds, ratios = _tallied(ground)
    prices = Prices(_of_any_images(ground.seen), ground.prices)
    cost = prices.cost(kinds)
    return Plan(
        manifest=ground.manifest.name,
        folder=str(ground.folder.path),
        rows=rows,
        is_expanded=False,
        to_submit=rows,
        to_collect=0,
        counts={},
        picked=ground.manifest.picked,
        skipped=(),
        gone=0,
        gone_made=0,
        reads=ground.manifest.reads,
        uploads=None,
        groups=_groups(ground, kinds, kinds, prices),
        aspect_ratios={ratio or "-": count for ratio, count in ratios.most_common()},
        pilot=None,
        cost=cost,
        is_free=ground.is_free,
        max_credits=terms.max_credits,
        duration=_duration(kinds, ground.seen, terms),
        repeated=0,
        repeated_ids=(),
        first_rows=_first_rows(ground, first),
        warnings=_warnings(ground, cost),
        table=None,
    )


def _warnings(ground: Ground, cost: Cost) -> tuple[str, ...]:
    return (*ground.manifest.warnings, *ground.prices.warnings(*cost.sources))


def _tallied(ground: Ground) -> tuple[Counter[PriceClass], Counter[str]]:
    """Rows by what they cost, images apart, and by aspect ratio; no product is written out."""
    kinds: Counter[PriceClass] = Counter()
    ratios: Counter[str] = Counter()
    for (ratio, *texts), count in ground.manifest.tally(_TALLIED).items():
        kinds[price_class(_request(ground, *texts))] += count
        ratios[ratio] += count
    return kinds, ratios


def _request(ground: Ground, model: str, resolution: str, web: str, images: str, thinking: str) -> Request:
    asked = Request(
        model,
        prompt="",
        resolution=resolution or None,
        web_search=web.casefold() in TRUE,
        image_search=images.casefold() in TRUE,
        thinking_level=thinking or None,
    )
    return ground.catalog.normalised(asked, ground.dialect)


def _of_any_images(seen: Seen) -> Seen:
    """The most that such a request has cost, with however many images and settings of the model's own."""
    prices: dict[PriceClass, float] = {}
    for kind, price in seen.prices.items():
        without = kind._replace(images=0, extra=None)
        prices[without] = max(price, prices.get(without, 0.0))
    return replace(seen, prices=prices)


def _first_rows(ground: Ground, first: int) -> tuple[FirstRow, ...]:
    problems = ground.manifest.problem_log()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(ground.manifest.drafts(problems, first), problems)
        problems.raise_if_any()
        return tuple(_first_row(row, None) for row in roster.rows())


def _first_row(row: Row, status: Prospect | None) -> FirstRow:
    return FirstRow(row.id, status, row.source, row.variant, row.request, dict(row.variables), row.key)


def _groups(
    ground: Ground, rows: Counter[PriceClass], to_pay: Counter[PriceClass], prices: Prices
) -> tuple[Group, ...]:
    """The most rows first."""
    parts: dict[tuple[str, str | None], list[PriceClass]] = {}
    for kind in rows:
        parts.setdefault((kind.model, kind.resolution), []).append(kind)
    groups = []
    for (model, resolution), kinds in parts.items():
        paid = Counter({kind: to_pay[kind] for kind in kinds if to_pay[kind]})
        cost = prices.cost(paid)
        credits = None if cost.unpriced else cost.credits
        rules = ground.catalog.rules(model, ground.dialect)
        default = rules.default_resolution if rules and resolution is None else None
        count = sum(rows[kind] for kind in kinds)
        groups.append(Group(model, resolution, default, count, paid.total(), credits))
    return tuple(sorted(groups, key=lambda group: -group.rows))


def _duration(to_pay: Counter[PriceClass], seen: Seen, terms: Terms) -> Duration:
    return duration(to_pay.total(), seen.row_s, terms.concurrency, terms.submits_per_min)
