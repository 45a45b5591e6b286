"""How a plan looks on the screen: what would be paid for first, then why, then the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nanobanana_batch.cli.text import NARROWEST, as_json, screen_width, table
from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.state.comparison import TO_COLLECT, Prospect
from nanobanana_batch.wording import (
    amount,
    bytes_text,
    counted,
    cut,
    duration_text,
    in_short,
    money_text,
    priced,
)

if TYPE_CHECKING:
    from nanobanana_batch.estimates import Cost, Duration
    from nanobanana_batch.jobs.plan import (
        FirstRow,
        Group,
        Plan,
        PlannedPicture,
        PlannedPilot,
        PlannedRequest,
        PlannedRow,
        PlannedUploads,
    )
    from nanobanana_batch.manifest import Picked

_RATIOS_SHOWN = 8
_PILOT = 20
_NAMES_SHOWN = 8
_GROUPS_SHOWN = 20
_FREE = "nothing: placeholders are drawn on this machine"
_TOO_MANY = (
    "  More than a run takes: these rows were counted, not read and checked one by one.",
    "  Draw some of them with `sample: {n: 1000}`, or take some out with `exclude`.",
)
_GLOSSES = {
    Prospect.NEW: "new",
    Prospect.CHANGED: "changed (their old images stay)",
    Prospect.AGAIN: "failed and tried once more",
    Prospect.RUNNING: "running",
    Prospect.READY: "finished and not fetched yet",
    Prospect.UNKNOWN: "unknown (may have been paid, so that they are looked for)",
}


def shards_text(plans: Sequence[Plan]) -> str:
    """What a run in several processes would do: each of them, then the sums."""
    rows, to_pay = (
        sum(counts) for counts in zip(*((plan.rows, plan.to_submit) for plan in plans), strict=True)
    )
    spent = priced(sum(plan.cost.spent for plan in plans), plans[0].cost.credits_per_usd)
    cost = _cost_together(plans)
    together = f"All: {counted(rows, 'row')}, {to_pay:,} to pay for: {cost}; {spent} spent so far"
    return "\n\n".join([*map(plan_text, plans), together])


def _cost_together(plans: Sequence[Plan]) -> str:
    credits = sum(plan.cost.credits for plan in plans)
    if plans[0].is_free and not credits:
        return _FREE
    is_known = not any(plan.cost.unpriced for plan in plans)
    return priced(credits, plans[0].cost.credits_per_usd) if is_known else "cost not known"


def plan_text(plan: Plan) -> str:
    """What a run would do, what it would cost, and the first rows."""
    parts = [
        [f"{plan.manifest}: {counted(plan.rows, 'row')} -> {plan.folder}", *_standing_lines(plan)],
        _group_lines(plan),
        _aligned(_facts(plan)),
        _row_lines(plan),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def row_text(row: PlannedRow) -> str:
    """One row in full; several lines of a prompt stay several."""
    request = row.request.given()
    request.pop("extra", None)
    cost = "unknown" if row.price is None else priced(row.price, row.credits_per_usd)
    facts = {
        "id": row.id,
        "status": row.status.value,
        "stands in": row.source,
        "variant": str(row.variant) if row.variant > 1 else "",
        **{name: _said(value) for name, value in (*request.items(), *row.request.extra)},
        **{f"{{{name}}}": value for name, value in row.variables.items()},
        "row key": row.row_key,
        "would cost": cost if row.status in (Prospect.NEW, Prospect.CHANGED, Prospect.AGAIN) else "",
        "has cost": "" if row.credits is None else priced(row.credits, row.credits_per_usd),
        "task": row.task_id or "",
        "image": row.image or "",
        "error": ": ".join(filter(None, (row.error_code, row.error_message))),
    }
    return "\n".join(_aligned(facts.items(), ""))


def request_text(request: PlannedRequest) -> str:
    """Address and headers of the request; its body is `body_text`."""
    return "\n".join([f"POST {request.url}", *(f"{name}: {is_}" for name, is_ in request.headers.items())])


def body_text(request: PlannedRequest) -> str:
    """The body, as a person reads it; it is sent without the line breaks."""
    return as_json(request.body)


def cost_text(cost: Cost, *, is_free: bool = False) -> str:
    """What rows will cost, and where that is known from; `is_free`: nobody pays for them."""
    if is_free and not cost.credits:
        return _FREE
    rows = cost.by_replies + cost.by_profile + cost.by_list + cost.by_earlier + cost.unpriced
    if rows == cost.unpriced:
        return "unknown: no price is told before the first reply" if rows else "nothing"
    credits = priced(cost.credits, cost.credits_per_usd)
    text = f"{'at least' if cost.unpriced else 'about'} {credits} ({_known_by(cost)})"
    if cost.unpriced:
        text += f"; nobody says what {counted(cost.unpriced, 'more row')} cost"
    return text


def _known_by(cost: Cost) -> str:
    """Where prices come from, with how many rows each where there are several."""
    profile = f"prices of {cost.profile_day}" if cost.profile_day else "by the profile's prices"
    earlier = f"as you paid in another folder on {cost.earlier_day}"
    listed = [
        (cost.by_profile, profile),
        (cost.by_list, f"price list of {cost.list_day}"),
        (cost.by_earlier, earlier),
    ]
    estimated = [(count, source) for count, source in listed if count]
    if not estimated:
        return "by this folder's replies"
    if len(estimated) == 1 and not cost.by_replies:
        return f"estimate, {estimated[0][1]}"
    by_replies = [f"{cost.by_replies:,} rows by this folder's replies"] if cost.by_replies else []
    return ", ".join([*by_replies, *(f"{count:,} estimated, {source}" for count, source in estimated)])


def how_long_text(duration: Duration) -> str:
    """How long rows will take, and where that is known from."""
    rate = f", {amount(duration.submits_per_min)} new a minute" if duration.submits_per_min else ""
    if duration.seconds is None:
        return "unknown until this folder has its first images"
    if duration.row_s is None:
        return f"at least {duration_text(duration.seconds)} ({rate.removeprefix(', ')})"
    seen = f"{duration.concurrency} at once{rate}, {duration_text(duration.row_s)} a row as seen here"
    return f"about {duration_text(duration.seconds)} ({seen})"


def _standing_lines(plan: Plan) -> list[str]:
    if not plan.is_expanded:
        return list(_TOO_MANY)
    counts = plan.counts
    collected = {word: counts[word] for word in Prospect if word in TO_COLLECT}
    paid = {word: counts[word] for word in (Prospect.NEW, Prospect.CHANGED, Prospect.AGAIN)}
    lines = [(plan.to_submit, "to pay for", _glossed(paid))]
    lines.append((plan.to_collect, "to collect", _glossed(collected)))
    lines.append((counts[Prospect.DONE], "done", ""))
    for word in (Prospect.FAILED, Prospect.REFUSED, Prospect.EXPIRED):
        again = f"{FolderCommands(plan.folder).retry(word.value)} pays for them again"
        lines.append((counts[word], word.value, again))
    lines.append((plan.gone, "gone", _gone_text(plan)))
    shown = [line for line in lines if line[0] or line[1] == "to pay for"]
    width = max(len(f"{count:,}") for count, _, _ in shown)
    return [f"  {count:>{width},}  {name:<10}  {gloss}".rstrip() for count, name, gloss in shown]


def _gone_text(plan: Plan) -> str:
    if plan.gone == plan.gone_made:
        return "made earlier, no longer in the manifest"
    made = f" ({plan.gone_made:,} made)" if plan.gone_made else ""
    return f"sent earlier{made}, no longer in the manifest; what is paid is still fetched"


def _glossed(counts: Mapping[Prospect, int]) -> str:
    """All in one: no more than its gloss; nothing to gloss: nothing."""
    there = {word: count for word, count in counts.items() if count}
    if len(there) == 1:
        return "" if Prospect.NEW in there else _GLOSSES[next(iter(there))]
    return ", ".join(f"{count:,} {_GLOSSES[word]}" for word, count in there.items())


def _group_lines(plan: Plan) -> list[str]:
    rate = plan.cost.credits_per_usd
    rows = [_group_cells(group, rate) for group in plan.groups[:_GROUPS_SHOWN]]
    header = ("model", "resolution", "rows", "to pay", "credits", *([] if rate is None else ["USD"]))
    lines = [f"  {line}" for line in table(header, rows).splitlines()]
    more = len(plan.groups) - len(rows)
    return [*lines, f"  ... and {more} more"] if more > 0 else lines


def _group_cells(group: Group, credits_per_usd: float | None) -> tuple[str, ...]:
    credits = "?" if group.credits is None else amount(group.credits)
    cells = group.model, _resolution(group), f"{group.rows:,}", f"{group.to_submit:,}", credits
    if credits_per_usd is None:
        return cells
    return *cells, "?" if group.credits is None else money_text(group.credits, credits_per_usd)


def _resolution(group: Group) -> str:
    """Where none is given the provider chooses, and takes its money for that."""
    return group.resolution or (f"{group.default_resolution} by default" if group.default_resolution else "-")


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    for picked in plan.picked:
        yield picked.by, _picked_text(picked)
    yield "reads", in_short(plan.reads, _NAMES_SHOWN)
    if plan.uploads:
        yield "edits", _edits_text(plan.uploads)
        yield "uploads", _uploads_text(plan.uploads)
    yield "ratios", _several(plan.aspect_ratios) if set(plan.aspect_ratios) != {"-"} else ""
    if plan.pilot:
        yield plan.pilot.by, _pilot_text(plan.pilot, is_free=plan.is_free)
    yield "cost", _cost_of(plan)
    yield (
        "spent",
        f"{priced(plan.cost.spent, plan.cost.credits_per_usd)} in this folder so far"
        if plan.cost.spent
        else "",
    )
    yield "time", how_long_text(plan.duration) if plan.to_submit else ""
    cost = plan.pilot.cost if plan.pilot else plan.cost
    if plan.max_credits is not None and cost.is_over(plan.max_credits):
        yield "budget", f"over --max-credits {amount(plan.max_credits)}: a run makes nothing new"
    yield "twice", _twice_text(plan)
    for warning in plan.warnings:
        yield "warning", warning
    yield "table", f"{plan.table} has all rows" if plan.table else ""


def _edits_text(uploads: PlannedUploads) -> str:
    """Which pictures, and how large these are."""
    kinds = [(uploads.files, "local picture"), (uploads.links, "link")]
    told = " and ".join(counted(count, noun) for count, noun in kinds if count)
    names = in_short(list(map(_picture_text, uploads.pictures)), _NAMES_SHOWN, uploads.files)
    return f"{counted(uploads.rows, 'row')} of {told}" + (f": {names}" if names else "")


def _picture_text(picture: PlannedPicture) -> str:
    size = f"{picture.width}x{picture.height}, " if picture.width is not None else ""
    return f"{picture.name} ({size}{bytes_text(picture.size_bytes)})"


def _uploads_text(uploads: PlannedUploads) -> str:
    if not uploads.files:
        return ""
    each = ", once each, however many rows use them" if uploads.rows > uploads.files else ""
    return f"at most {counted(uploads.files, 'file')}, {bytes_text(uploads.size_bytes)} in all{each}"


def _picked_text(picked: Picked) -> str:
    if picked.by == "sample":
        return f"{picked.taken:,} of {picked.of:,} combinations, seed {picked.detail}"
    return f"{picked.detail}: {picked.taken:,} of {counted(picked.of, 'completed row')}"


def _pilot_text(pilot: PlannedPilot, *, is_free: bool) -> str:
    """Which rows, and what they cost."""
    cost = f": {cost_text(pilot.cost, is_free=is_free)}" if pilot.to_submit else ""
    return f"{pilot.text}\n{pilot.to_submit:,} to pay for{cost}"


def _cost_of(plan: Plan) -> str:
    text = cost_text(plan.cost, is_free=plan.is_free)
    is_unknown = plan.cost.unpriced and text != _FREE
    if is_unknown and plan.is_expanded and plan.rows > _PILOT and plan.pilot is None:
        text += f"; a run with --pilot {_PILOT} tells"
    return text


def _twice_text(plan: Plan) -> str:
    if not plan.repeated:
        return ""
    more = ", ..." if plan.repeated > len(plan.repeated_ids) else ""
    asks, each = ("asks", "it") if plan.repeated == 1 else ("ask", "each")
    return (
        f"{counted(plan.repeated, 'row')} {asks} for the very same as an earlier one, and {each} is paid for:"
        f" {', '.join(plan.repeated_ids)}{more}"
    )


def _row_lines(plan: Plan) -> list[str]:
    """Only what differs between rows has a column."""
    if not plan.first_rows:
        return []
    columns = ["id", "prompt"]
    if len(plan.groups) > 1:
        columns += ["model", "resolution"]
    if len(plan.aspect_ratios) > 1:
        columns.append("ratio")
    if {row.status for row in plan.first_rows} - {Prospect.NEW, None}:
        columns.insert(0, "status")
    rows = [{column: _row_cell(row, column) for column in columns} for row in plan.first_rows]
    others = [
        max(len(column), *(len(row[column]) for row in rows)) for column in columns if column != "prompt"
    ]
    room = max(NARROWEST, screen_width() - sum(others) - 2 * len(others))
    cells = [[cut(text, room) if name == "prompt" else text for name, text in row.items()] for row in rows]
    left = (plan.pilot.rows if plan.pilot else plan.rows) - len(rows)
    return [table(columns, cells), *([f"... and {left:,} more"] if left else [])]


def _row_cell(row: FirstRow, column: str) -> str:
    request = row.request
    cells = {
        "status": row.status.value if row.status else "",
        "id": row.id,
        "prompt": request.prompt,
        "model": request.model,
        "resolution": request.resolution or "-",
        "ratio": request.aspect_ratio or "-",
    }
    return cells[column]


def _aligned(facts: Iterable[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Each with its name in front; what has nothing to say is left out."""
    told = [(name, text) for name, text in facts if text]
    width = max((len(name) for name, _ in told), default=0)
    lines = []
    for name, text in told:
        first, *others = text.splitlines() or [""]
        lines += [f"{indent}{name:<{width}}  {first}", *(f"{indent}{'':<{width}}  {line}" for line in others)]
    return lines


def _several(counts: Mapping[str, int]) -> str:
    told = [f"{count:,} {'not given' if name == '-' else f'of {name}'}" for name, count in counts.items()]
    return in_short(told, _RATIOS_SHOWN)


def _said(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
