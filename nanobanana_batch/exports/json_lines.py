"""An object as a line of JSON: readable, and one line to every reader."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_NOT_IN_LINES = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
"""What some take for the end of a line, and what is no text in UTF-8."""


def json_line(told: Mapping[str, object]) -> bytes:
    """The line, with its end."""
    text = json.dumps(told, ensure_ascii=False)
    return f"{_NOT_IN_LINES.sub(_escaped, text)}\n".encode()


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
