"""What a person is told to type is a whole command: it can be pasted as it stands.

A test carries out each of these; what cannot be carried out is no advice.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "nanobanana-batch"


def command(*words: object) -> str:
    """A command of this program in backticks, each word as a shell needs it."""
    return f"`{shlex.join([PROGRAM, *map(str, words)])}`"


def kill_this() -> str:
    """How a process is ended that a network disk, which hangs, keeps from hearing anything else."""
    return (
        "Where Ctrl-C does not end this process, as on a network disk that hangs,"
        f" `kill -9 {os.getpid()}` does."
    )


@dataclass(frozen=True, slots=True)
class FolderCommands:
    """Those for an output folder, and the options by which they reach its provider."""

    folder: Path | str
    way: tuple[str, ...] = ()
    """None where the folder leads there by itself."""
    others: tuple[Path, ...] = ()
    """More folders, of the other parts of the same run."""

    def status(self, *options: str) -> str:
        """How it stands."""
        return command("status", self.folder, *options)

    def audit(self) -> str:
        """What is not explained."""
        return command("audit", self.folder)

    def repair(self) -> str:
        """Fetch what is paid for; nothing is paid for by it."""
        return command("audit", self.folder, "--repair", *self.way)

    def retry(self, only: str) -> str:
        """Pay again for the rows that ended so."""
        told = command("retry", self.folder, "--only", only, *self.way)
        return f"{told} (and likewise for the other shards)" if self.others else told

    def gallery(self) -> str:
        """Look at what was made."""
        if self.others:
            return command("gallery", self.folder, *self.others, "--out", f"{self._home}-gallery")
        return command("gallery", self.folder)

    def export(self, *options: str) -> str:
        """A data set of it, in the working directory; the kind that needs no extra."""
        whole = self._home if self.others else self.folder
        name = f"{os.path.basename(os.path.abspath(whole))}-dataset"
        places = (self.folder, *self.others)
        return command("export", *places, "--format", "imagefolder", "--out", name, *options)

    @property
    def _home(self) -> str:
        return os.path.dirname(os.fspath(self.folder))


def rebuild_hint(folder: Path) -> str:
    """What to do where the state of an output folder is lost, and its payments are told of."""
    return (
        "Bring the newest state back, or name its folder if it was made with --state-dir. If it is lost:"
        f" {command('audit', folder, '--rebuild')} makes one of what payments.jsonl tells."
    )
