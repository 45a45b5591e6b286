"""How a run ended and how a folder stands, for a person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nanobanana_batch.cli.plan_text import cost_text, how_long_text
from nanobanana_batch.cli.text import NARROWEST
from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.files.standing import sentences
from nanobanana_batch.visible import visible_line
from nanobanana_batch.wording import amount, counted, cut, duration_text, priced, untold_text, with_money

if TYPE_CHECKING:
    from nanobanana_batch.collection.rated import Rated
    from nanobanana_batch.jobs.outcome import Outcome
    from nanobanana_batch.jobs.pilot import Share
    from nanobanana_batch.live.snapshot import Live
    from nanobanana_batch.results import Standing
    from nanobanana_batch.state.reports import Failure

_REASONS_SHOWN = 5
_LONGEST_REASON = 120


def outcome_text(outcome: Outcome) -> str:
    """How a run ended, where its results are, and what to do if something is left."""
    first, *others = outcome.shards or (outcome.folder,)
    commands = FolderCommands(first, outcome.way, tuple(others))
    counts = {status.value: count for status, count in outcome.counts.items()}
    done = counts.pop("completed")
    lines = [
        *_done_lines(outcome, done, counts),
        *_elsewhere_lines(outcome),
        *_paid_lines(outcome, counts),
        *_image_lines(outcome),
        *_waited_lines(outcome.waited_s),
        *_failure_lines(outcome.failures),
        *_again_lines(outcome, counts, commands),
        *sentences(outcome.files, commands),
        *_projection_lines(outcome),
        *_where_lines(outcome, done, commands),
    ]
    return "\n".join(lines)


def _done_lines(outcome: Outcome, done: int, counts: Mapping[str, int]) -> list[str]:
    """How many rows are what, and why it ended."""
    left = _several({name: count for name, count in counts.items() if count})
    lines = [f"{done:,} of {counted(outcome.rows, 'row')} completed" + (f" ({left})" if left else "") + "."]
    if not outcome.had_work:
        lines.append("There was nothing to do; nothing was sent.")
    if outcome.stop_reason:
        lines.append(visible_line(outcome.stop_reason))
    return lines


def _paid_lines(outcome: Outcome, counts: Mapping[str, int]) -> list[str]:
    """What was paid, and what is paid for and still to come."""
    lines = []
    if outcome.credits_used or outcome.untold:
        used = with_money(amount(outcome.credits_used), outcome.credits_used, outcome.credits_per_usd)
        free = " (placeholders: nobody pays for them)" if outcome.is_free else ""
        lines.append(f"Credits used in this folder so far: {used}{free or untold_text(outcome.untold)}")
    if awaited := _awaited(counts):
        reserved = f"{priced(outcome.credits_reserved, outcome.credits_per_usd)} reserved"
        lines.append(
            f"Paid for and not fetched yet: {counted(awaited, 'image')}, {reserved}."
            " Run the same command again soon: links die 24 hours after their image is made."
        )
    return lines


def _awaited(counts: Mapping[str, int]) -> int:
    return counts.get("running", 0) + counts.get("ready", 0)


def _image_lines(outcome: Outcome) -> list[str]:
    """What is odd about images that are there."""
    lines = []
    if outcome.same_bytes:
        lines.append(
            f"Images that are the same file as another row's: {outcome.same_bytes:,};"
            " see duplicate_of in the results."
        )
    if outcome.not_as_asked:
        lines.append(
            f"Images of another size or ratio than asked for: {outcome.not_as_asked:,};"
            " see note in the results."
        )
    return lines


def _again_lines(outcome: Outcome, counts: Mapping[str, int], commands: FolderCommands) -> list[str]:
    """When the same command goes on; behind that what costs, and last what pays for the same image again."""
    lines = []
    if outcome.exit_code in (3, 130) and not outcome.needs_change:
        lines.append("Run the same command again to go on.")
    for only in ("failed", "refused", "expired"):
        if counts.get(only):
            again = "pays for them again" if only == "expired" else "sends them again"
            lines.append(f"{commands.retry(only)} {again}.")
    if counts.get("unknown"):
        lines.append(
            "Unknown rows may have been paid: look in your account."
            f" {commands.retry('unknown')} sends them again."
        )
    if _awaited(counts):
        lines.append(
            "Only if what is paid for never comes, however often the same command is run:"
            f" {commands.retry('running')} gives it up and pays for it again."
        )
    return lines


def _where_lines(outcome: Outcome, done: int, commands: FolderCommands) -> list[str]:
    """Where images and results are, and what to do next; folders of other machines cannot be opened here."""
    if not all(folder.is_dir() for folder in outcome.shards):
        return [f"Images:  {outcome.folder}/shard-*/images, on the machines of the shards"]
    images = outcome.folder / "shard-*" if len(outcome.shards) > 1 else outcome.folder
    lines = [f"Images:  {images}/images", f"Results: {outcome.results}"]
    if done:
        marked = ["--practice"] if outcome.is_practice else []
        lines += [f"Look:    {commands.gallery()}", f"Export:  {commands.export(*marked)}"]
    return lines


def _elsewhere_lines(outcome: Outcome) -> list[str]:
    """What only another provider can collect, and what to do if there is none any more."""
    lines = [
        f"Unfinished rows that went to {visible_line(name)}: {count:,}; a run with that provider collects"
        " them."
        for name, count in outcome.elsewhere.items()
    ]
    if not lines:
        return []
    here = FolderCommands(outcome.folder, outcome.way_here)
    return [
        *lines,
        f"If it is not to be had any more, {here.retry('unknown')} and {here.retry('running')} give them up"
        " there and pay for them here; they may have been paid.",
    ]


_WAITED = {
    "quota": "for the daily quota",
    "wait": "as the provider asked",
    "submit": "for a provider that gave no answers",
    "unclear": "for replies that can be understood",
    "fetch": "for images that could not be fetched or saved",
    "keep": "for a disk that took no replies",
}
_SHORTEST_WAIT_S = 1.0


def _waited_lines(waited_s: Mapping[str, float]) -> list[str]:
    """How long the run was held up, and by what; a provider that is down answers neither kind of request."""
    down_s = max(waited_s.get("submit", 0.0), waited_s.get("read", 0.0))
    told = {**waited_s, "submit": down_s}
    parts = [
        f"{duration_text(told[about])} {what}"
        for about, what in _WAITED.items()
        if told.get(about, 0.0) >= _SHORTEST_WAIT_S
    ]
    return [f"Waited {', '.join(parts)}."] if parts else []


def _failure_lines(failures: Sequence[Failure]) -> list[str]:
    """The most frequent reasons, each with the first row that has it."""
    shown = failures[:_REASONS_SHOWN]
    lines = [
        f"  {found.rows:,} {found.status.value}: {_joined(found.code, found.message)}"
        f" (first: {visible_line(found.first)})"
        for found in shown
    ]
    left = sum(found.rows for found in failures) - sum(found.rows for found in shown)
    return [*lines, *([f"  {left:,} for other reasons; see error_code in the results."] if left else [])]


def _joined(code: str, message: str) -> str:
    return ": ".join(filter(None, (visible_line(code), cut(message, _LONGEST_REASON))))


def _projection_lines(outcome: Outcome) -> list[str]:
    """What a pilot has shown, and what the rest will be."""
    found = outcome.projection
    if found is None:
        return []
    lines = [f"The pilot of {counted(outcome.rows, 'row')} says of all rows:"]
    if found.failed.of:
        lines += [f"  failed   {_share_text(found.failed)}", f"  refused  {_share_text(found.refused)}"]
    lines.append(f"  left     {counted(found.rows_left, 'row')}")
    if not found.rows_left:
        return lines
    lines.append(f"  cost     {cost_text(found.cost, is_free=outcome.is_free)}")
    lines.append(f"  time     {how_long_text(found.duration)}")
    return [*lines, "The same command without --pilot makes them."]


def _share_text(share: Share) -> str:
    return f"{share.low:.0%} to {share.high:.0%} (95% sure; it was {share.rows:,} of {share.of:,})"


def standing_text(standing: Standing) -> str:
    """Counts and credits of a folder."""
    name = standing.manifest or "(made anew, without a manifest until the next run)"
    lines = [f"{visible_line(name)}: {counted(standing.rows, 'row')} in {standing.folder}"]
    counts = {"being sent": standing.being_sent, **standing.counts}
    lines += [f"  {name}: {count:,}" for name, count in counts.items() if count]
    lines += [f"  {line}" for line in _failure_lines(standing.failures)]
    if standing.asked is not None:
        rows = sum(standing.asked.values())
        lines.append(f"  the last run was about {counted(rows, 'row')} of these ({_several(standing.asked)})")
    if standing.left_manifest:
        lines.append(f"  no longer in the manifest: {_several(standing.left_manifest)}")
    credits = {
        "used": standing.credits_used,
        "reserved": standing.credits_reserved,
        "being sent": standing.credits_being_sent,
        "perhaps": standing.credits_unknown,
    }
    shown = [
        f"{name}: {with_money(amount(sum_), sum_, standing.credits_per_usd)}"
        for name, sum_ in credits.items()
        if sum_ or name in ("used", "reserved")
    ]
    lines.append(f"  credits {', '.join(shown)}{untold_text(standing.untold)}")
    if standing.left is not None:
        free = "; nobody pays for placeholders" if standing.is_left_free and standing.left.credits else ""
        lines.append(f"  left to pay: {cost_text(standing.left, is_free=standing.is_left_free)}{free}")
    if standing.ratings is not None:
        lines.append(f"  {_rated_text(standing.ratings)}")
    commands = FolderCommands(standing.folder)
    lines += [f"  {sentence}" for sentence in sentences(standing.files, commands)]
    return "\n".join([*lines, *_run_lines(standing)])


def _rated_text(found: Rated) -> str:
    if found.problem:
        return f"ratings: {visible_line(found.problem)}"
    told = {"accepted": found.accepted, "rejected": found.rejected}
    verdicts = _several({name: count for name, count in told.items() if count})
    text = f"rated: {found.rated:,} of {counted(found.images, 'image')}" + (
        f" ({verdicts})" if verdicts else ""
    )
    return text + (f"; {counted(found.pairs, 'pair')} judged" if found.pairs else "")


def _run_lines(standing: Standing) -> list[str]:
    """Whether a run is going on, or else how the last one ended."""
    last = standing.last_run
    if standing.is_running:
        since = f" (began {last.began})" if last and not last.ended else ""
        return [f"  A run is going on{since}.", *_live_lines(standing.live)]
    if last is None:
        return []
    if not last.ended:
        return [
            f"  The last run (began {last.began}) did not end by itself; it may have been killed.",
            "  Run the same command again to go on.",
        ]
    lines = [f"  The last run ended {last.ended} with exit code {last.exit_code}."]
    return lines + ([f"  {visible_line(last.reason)}"] if last.reason else [])


def _live_lines(live: Live | None) -> list[str]:
    """What it says of itself; where it has fallen silent, since when."""
    if live is None:
        return []
    import shutil

    from nanobanana_batch.live.file import STALE_S
    from nanobanana_batch.screen.live_text import block

    silent_s = time.time() - live.at
    if silent_s > STALE_S:
        return [f"  It has said nothing for {duration_text(silent_s)}: it may be held (Ctrl-Z), or stuck."]
    width = max(shutil.get_terminal_size((110, 24)).columns - 5, NARROWEST)
    return [f"    {line}" for line in block(live, width)]


def _several(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
