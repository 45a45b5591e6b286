"""What a check has found, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobanana_batch.visible import visible_line
from nanobanana_batch.wording import and_more, counted

if TYPE_CHECKING:
    from nanobanana_batch.checks.report import Checked, Finding, Group


def checks_text(found: Checked) -> str:
    """How many of each kind, the first of them, what to do, and where the rest stands."""
    known = found.images - found.measured
    before = f" ({known:,} known from before)" if known else ""
    lines = [f"{counted(found.images, 'image')} looked at{before}."]
    for finding in found.findings:
        lines += _finding(finding)
    if found.groups:
        lines.append("Largest groups of images that are nearly the same:")
        lines += [f"  {visible_line(_group(group))}" for group in found.groups]
    if not found.findings:
        lines.append("Nothing was found.")
    return "\n".join([*lines, *(f"Written to {table}" for table in found.tables)])


def _finding(finding: Finding) -> list[str]:
    lines = [f"{finding.what}: {finding.count:,}. {finding.advice}"]
    lines += [f"  {visible_line(one)}" for one in finding.first]
    more = finding.count - len(finding.first)
    return [*lines, f"  {and_more(more).lstrip(', ')}"] if more > 0 and finding.kind != "score" else lines


def _group(group: Group) -> str:
    others = ", ".join(group.others) + and_more(group.count - 1 - len(group.others))
    return f"{group.count:,}: {group.first}; {others}"
