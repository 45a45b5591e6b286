"""What is said of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobanana_batch.wording import bytes_text, counted

if TYPE_CHECKING:
    from nanobanana_batch.exports.export import Exported


def exported_text(done: Exported) -> str:
    """Where it is, what is in it, and what is not, and why."""
    did = (
        "would be written"
        if done.is_dry_run
        else "written"
        if done.is_new
        else "there already, and up to date"
    )
    held = f" ({bytes_text(done.picture_bytes)} of images)" if done.holds_pictures else ""
    lines = [f"{done.path}: {counted(done.samples, 'sample')} {did}{held}"]
    if len(done.splits) > 1:
        lines.append("  " + ", ".join(f"{name}: {count:,}" for name, count in done.splits.items()))
    lines += [f"  left out: {count:,} {why}" for why, count in done.left_out.items()]
    if done.copied_instead_of_linked:
        lines.append(
            f"  {counted(done.copied_instead_of_linked, 'image')} could not be linked there, and were copied"
        )
    lines += [
        f"  nothing written into {counted(count, 'image')}: {why}" for why, count in done.not_embedded.items()
    ]
    if pushed := done.pushed:
        sent = f"sent to {pushed.url}" if pushed.url else f"would be sent to the data set {pushed.repo}"
        lines.append(f"  {counted(pushed.files, 'file')} ({bytes_text(pushed.bytes)}) {sent}")
    return "\n".join([*lines, *done.remarks])
