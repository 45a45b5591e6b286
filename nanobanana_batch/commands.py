"""What a person is told to type is a whole command: it can be pasted as it stands.

A test carries out each of these; what cannot be carried out is no advice.
"""

from __future__ import annotations

import shlex

PROGRAM = "nanobanana-batch"


def command(*words: object) -> str:
    """A command of this program in backticks, each word as a shell needs it."""
    return f"`{shlex.join([PROGRAM, *map(str, words)])}`"
