"""The card of an export: README.md, which the Hub shows and `datasets` reads the types from."""

from __future__ import annotations

from nanobanana_batch.exports.format import Format
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.samples import Samples

CARD = "README.md"


def card(samples: Samples, options: Options, format: Format) -> str:
    """The whole text."""
    lines = [f"# {options.format}", "", f"{samples.tally.written.total():,} samples."]
    return "\n".join(lines) + "\n"
