"""How things look on the screen; no decision is made here."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nanobanana_batch.model import AS
from nanobanana_batch.pricing.money import money_text
from nanobanana_batch.visible import visible_line

if TYPE_CHECKING:
    from nanobanana_batch.auditing import Audit
    from nanobanana_batch.catalog import ModelRules
    from nanobanana_batch.doctor import Diagnosis
    from nanobanana_batch.piloting import Share
    from nanobanana_batch.pipeline import Outcome
    from nanobanana_batch.results import Standing

_WIDEST_CELL = 200
_REASONS_SHOWN = 5
_LONGEST_REASON = 120
_PLACES_SHOWN = 6
NARROWEST = 24
"""A column of texts; else it takes what the others leave of the screen."""


def as_json(value: Any) -> str:
    """A dataclass, or a list of them, as indented JSON."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False)
    # A byte of a file's name that is no text: as such it would not be JSON any more.
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def unexpected_text(error: BaseException) -> str:
    """An error that nobody foresaw: its kind and where it arose; its words may hold a link or a key."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[-_PLACES_SHOWN:]]
    return (
        f"{type(error).__name__} in {' > '.join(places)}: this should not have happened; please report it."
        " Whatever was paid for is remembered: run the same command again to go on."
    )


def counted(count: int, noun: str) -> str:
    """A number with its noun: 1 row, 2 rows."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, numbers to the right; very long cells are cut."""
    cells = [[cut(cell, _WIDEST_CELL) for cell in row] for row in (header, *rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    signs = [">" if all(map(_is_number, column[1:])) else "<" for column in columns]
    return "\n".join(
        "  ".join(
            f"{cell:{sign}{width}}" for cell, sign, width in zip(row, signs, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def amount(number: float) -> str:
    """A number as a person writes it: 19,920 or 0.25."""
    return f"{number:,.2f}".rstrip("0").rstrip(".") if abs(number) >= 1 else f"{number:.3g}"


def priced(credits: float, credits_per_usd: float | None) -> str:
    """An amount of credits, and of money where that is known: 680 credits, $10.00."""
    return ", ".join(filter(None, [f"{amount(credits)} credits", money_text(credits, credits_per_usd)]))


def _beside(credits: float, credits_per_usd: float | None) -> str:
    """An amount of credits whose noun is told already, with the money in brackets."""
    money = money_text(credits, credits_per_usd)
    return f"{amount(credits)} ({money})" if money else amount(credits)


def outcome_text(outcome: Outcome) -> str:
    """How a run ended, where its results are, and what to do if something is left."""
    counts = {status.value: count for status, count in outcome.counts.items()}
    done = counts.pop("completed")
    left = _several({name: count for name, count in counts.items() if count})
    lines = [f"{done:,} of {counted(outcome.rows, 'row')} completed" + (f" ({left})" if left else "") + "."]
    if not outcome.had_work:
        lines.append("There was nothing to do; nothing was sent.")
    if outcome.stop_reason:
        lines.append(visible_line(outcome.stop_reason))
    for name, count in outcome.elsewhere.items():
        where = visible_line(name)
        lines.append(
            f"Unfinished rows that went to {where}: {count:,}; a run with that provider collects them."
        )
    if outcome.credits_used:
        used = _beside(outcome.credits_used, outcome.credits_per_usd)
        lines.append(f"Credits used in this folder so far: {used}")
    if awaited := counts.get("running", 0) + counts.get("ready", 0):
        reserved = f"{priced(outcome.credits_reserved, outcome.credits_per_usd)} reserved"
        lines.append(
            f"Paid for and not fetched yet: {counted(awaited, 'image')}, {reserved}."
            " Run the same command again soon: links die 24 hours after their image is made."
        )
    if outcome.same_bytes:
        lines.append(
            f"Images with the bytes of another row's: {outcome.same_bytes:,};"
            " see duplicate_of in the results."
        )
    if outcome.not_as_asked:
        lines.append(
            f"Images of another size or ratio than asked for: {outcome.not_as_asked:,};"
            " see note in the results."
        )
    lines += _failure_lines(outcome)
    for only in ("failed", "refused", "expired"):
        if counts.get(only):
            again = "pays for them again" if only == "expired" else "sends them again"
            lines.append(f"`nanobanana-batch retry {outcome.folder} --only {only}` {again}.")
    if counts.get("unknown"):
        lines.append(
            "Unknown rows may have been paid: look in your account."
            f" `nanobanana-batch retry {outcome.folder} --only unknown` sends them again."
        )
    if outcome.exit_code in (3, 130) and not outcome.needs_change:
        lines.append("Run the same command again to go on.")
    lines += _projection_lines(outcome)
    return "\n".join([*lines, f"Images:  {outcome.folder}/images", f"Results: {outcome.results}"])


def _failure_lines(outcome: Outcome) -> list[str]:
    """The most frequent reasons, each with the first row that has it."""
    shown = outcome.failures[:_REASONS_SHOWN]
    lines = [
        f"  {found.rows:,} {found.status.value}: {_joined(found.code, found.message)}"
        f" (first: {visible_line(found.first)})"
        for found in shown
    ]
    left = sum(found.rows for found in outcome.failures) - sum(found.rows for found in shown)
    return [*lines, *([f"  {left:,} for other reasons; see error_code in the results."] if left else [])]


def _joined(code: str, message: str) -> str:
    return ": ".join(filter(None, (visible_line(code), cut(message, _LONGEST_REASON))))


def _projection_lines(outcome: Outcome) -> list[str]:
    """What a pilot has shown, and what the rest will be."""
    from nanobanana_batch.cli.plan_text import cost_text, time_text

    found = outcome.projection
    if found is None:
        return []
    lines = [f"The pilot of {counted(outcome.rows, 'row')} says of all rows:"]
    if found.failed.of:
        lines += [f"  failed   {_share_text(found.failed)}", f"  refused  {_share_text(found.refused)}"]
    lines.append(f"  left     {counted(found.rows_left, 'row')}")
    if not found.rows_left:
        return lines
    lines += [f"  cost     {cost_text(found.cost)}", f"  time     {time_text(found.duration)}"]
    return [*lines, "The same command without --pilot makes them."]


def _share_text(share: Share) -> str:
    return f"{share.low:.0%} to {share.high:.0%} (95% sure; it was {share.rows:,} of {share.of:,})"


def standing_text(standing: Standing) -> str:
    """Counts and credits of a folder."""
    from nanobanana_batch.cli.plan_text import cost_text

    lines = [f"{visible_line(standing.manifest)}: {counted(standing.rows, 'row')} in {standing.folder}"]
    counts = {"being sent": standing.being_sent, **standing.counts}
    lines += [f"  {name}: {count:,}" for name, count in counts.items() if count]
    if standing.left_manifest:
        lines.append(f"  no longer in the manifest: {_several(standing.left_manifest)}")
    credits = {
        "used": standing.credits_used,
        "reserved": standing.credits_reserved,
        "being sent": standing.credits_being_sent,
        "perhaps": standing.credits_unknown,
    }
    shown = [
        f"{name}: {_beside(sum_, standing.credits_per_usd)}"
        for name, sum_ in credits.items()
        if sum_ or name in ("used", "reserved")
    ]
    lines.append(f"  credits {', '.join(shown)}")
    if standing.left is not None:
        lines.append(f"  left to pay: {cost_text(standing.left)}")
    return "\n".join([*lines, *_run_lines(standing)])


def _run_lines(standing: Standing) -> list[str]:
    """Whether a run is going on, or else how the last one ended."""
    last = standing.last_run
    if standing.is_running:
        since = f" (began {last.began})" if last and not last.ended else ""
        return [f"  A run is going on{since}."]
    if last is None:
        return []
    if not last.ended:
        return [
            f"  The last run (began {last.began}) did not end by itself; it may have been killed.",
            "  Run the same command again to go on.",
        ]
    lines = [f"  The last run ended {last.ended} with exit code {last.exit_code}."]
    return lines + ([f"  {visible_line(last.reason)}"] if last.reason else [])


def audit_text(audit: Audit) -> str:
    """Totals, then every finding with what to do."""
    totals = audit.totals
    lines = [
        f"{audit.folder}: {counted(totals.attempts, 'request')}, {counted(totals.accepted, 'task')},"
        f" {counted(totals.saved, 'image')} saved, {counted(totals.files, 'file')}",
        f"  credits reserved: {amount(totals.credits_reserved)}, used: {amount(totals.credits_used)},"
        f" refunded: {amount(totals.credits_refunded)}",
    ]
    for found in audit.findings:
        lines.append("  " + visible_line(f"{found.kind}: {found.what}: {found.detail}; {found.advice}"))
    if audit.in_flight is not None:
        lines.append(f"A run is going on: {counted(audit.in_flight, 'request')} in flight not looked at.")
    lines.append(
        f"{counted(len(audit.findings), 'finding')}." if audit.findings else "Everything is explained."
    )
    return "\n".join(lines)


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """One paragraph a check; what is no ok also says what to do."""
    width = max(len(check.name) for check in diagnosis.checks)
    lines = []
    for check in diagnosis.checks:
        lines += _hanging(f"{check.verdict:<7}  {check.name:<{width}}  ", check.found)
        if check.advice:
            lines += _hanging(f"{'':<7}  {'':<{width}}  ", f"-> {check.advice}")
    problems = sum(check.verdict == "problem" for check in diagnosis.checks)
    return "\n".join([*lines, f"{counted(problems, 'problem')}." if problems else "All is well."])


def _hanging(first: str, text: str) -> list[str]:
    """The text behind its first words, as wide as the screen; a path stays in one piece."""
    width = max(len(first) + NARROWEST, screen_width())
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def screen_width() -> int:
    """Characters in a line; a usual number where nobody is looking."""
    return shutil.get_terminal_size((120, 24)).columns


def models_text(models: Sequence[ModelRules]) -> str:
    """One paragraph a model and dialect."""
    return "\n\n".join(_model_text(rules) for rules in models)


def _model_text(rules: ModelRules) -> str:
    title = f" ({rules.title})" if rules.title else ""
    lines = [f"{rules.name}{title}, dialect {rules.dialect}"]
    lines += [f"  {name} is only another name; {rules.name} is sent" for name in rules.aliases]
    lines += [f"  {name} is its older name; rows that say it send it" for name in rules.older_names]
    if rules.retired_on:
        lines.append(
            f"  retired at its maker on {rules.retired_on} ({rules.maker}); still listed by this provider"
        )
    facts = {
        "aspect ratios": rules.aspect_ratios,
        "resolutions": rules.resolutions,
        "output formats": rules.output_formats,
        "thinking levels": rules.thinking_levels,
    }
    lines += [f"  {name}: {' '.join(values)}" for name, values in facts.items() if values]
    searches = [
        name for name, offered in (("web", rules.web_search), ("images", rules.image_search)) if offered
    ]
    if searches:
        lines.append(f"  searches: {' '.join(searches)}")
    if rules.max_images is not None:
        lines.append(f"  reference images: at most {rules.max_images}")
    lines += [f"  {name} is sent as {wire.said}" for name, wire in rules.fields.items() if wire]
    lines += [f"  {extra.name}: {extra.said_in_full}" for extra in rules.extra.values()]
    if rules.credits is not None:
        prices = ", ".join(f"{size} {credits:g}" for size, credits in rules.credits.items())
        lines.append(f"  credits: {prices} (as of {rules.credits_as_of or 'a day that is not told'})")
    told = [*lines, f"  from: {rules.source}"]
    return "\n".join(line[: len(line) - len(line.lstrip())] + visible_line(line) for line in told)


def _is_number(cell: str) -> bool:
    return cell in ("?", "") or cell.lstrip("$").replace(",", "").replace(".", "").isdigit()


def _several(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def cut(text: str, width: int) -> str:
    """A text in one line, and no wider than that."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(field.metadata.get(AS, lambda told: told)(getattr(value, field.name)))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_plain(item) for item in value]
    return value
