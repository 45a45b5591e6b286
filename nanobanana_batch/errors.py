"""Every error that a caller may see, as one tree; this file imports nothing of ours.

NanobananaError
|- UsageError            exit 2: nothing was sent
|  |- ManifestError      the manifest has problems, all of them listed
|  |- ProfileError       a provider profile cannot be used
|  `- KeyProblem         no API key, or one of an impossible form
|- FolderInUse           exit 4: another process works on this output folder
|- RunStopped            exit 3: stopped early, the same command resumes
|  |- StateFailed        the state file cannot be read or written
|  `- DiskFailed         the disk is full or refuses to write
|- ServiceFailed         the embedded service did not start or went away
|- ImageRejected         bytes that are not the whole image they claim to be
`- LinkFailed            a download link gave no usable body
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar


class NanobananaError(Exception):
    """Base of all errors of this package: a sentence, and where one helps, what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(NanobananaError):
    """The command cannot be carried out as it was given; nothing was sent."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a manifest: where, what, what is allowed, and a likely correction."""

    source: str
    """`file:line`, `file row N` or just the file."""
    message: str
    field: str = ""
    allowed: tuple[str, ...] = ()
    suggestion: str = ""

    def __str__(self) -> str:
        text = (
            f"{self.source}: {self.field}: {self.message}" if self.field else f"{self.source}: {self.message}"
        )
        if self.allowed:
            text += f"; allowed: {' '.join(self.allowed)}"
        if self.suggestion:
            text += f"; did you mean {self.suggestion!r}?"
        return text


class ProblemLog:
    """Collects problems without stopping at the first, and without growing past `limit`.

    `total` counts all of them, also those past the limit.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._kept: list[Problem] = []
        self.total = 0

    def add(self, problem: Problem) -> None:
        """Take one problem; past the limit it is only counted."""
        self.total += 1
        if len(self._kept) < self._limit:
            self._kept.append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Take several problems."""
        for problem in problems:
            self.add(problem)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._kept)

    def __bool__(self) -> bool:
        return self.total > 0

    def raise_if_any(self) -> None:
        """Raise `ManifestError` when a problem was added."""
        if self:
            raise ManifestError(tuple(self._kept), self.total)


class ManifestError(UsageError):
    """The manifest has problems; `problems` holds those kept, `total` counts all."""

    def __init__(self, problems: tuple[Problem, ...], total: int | None = None) -> None:
        self.problems = problems
        self.total = len(problems) if total is None else total
        lines = [str(problem) for problem in problems]
        if self.total > len(problems):
            lines.append(f"... and {self.total - len(problems)} more")
        noun = "problem" if self.total == 1 else "problems"
        super().__init__("\n".join([*lines, f"{self.total} {noun} in the manifest; nothing was sent."]))


class ProfileError(UsageError):
    """A provider profile is missing, malformed or incomplete."""


class KeyProblem(UsageError):
    """There is no API key, or what was given cannot be one; the key itself is never in the text."""


class FolderInUse(NanobananaError):
    """Another process holds the output folder; this one has sent nothing."""

    exit_code = 4


class RunStopped(NanobananaError):
    """The run cannot go on for now; what was paid for stays collectable by the same command."""

    exit_code = 3


class StateFailed(RunStopped):
    """The state file is damaged, too new, or cannot be written: going on could pay twice."""


class DiskFailed(RunStopped):
    """The disk is full or failing: paying for more images would lose them."""


class ServiceFailed(NanobananaError):
    """The embedded service did not start or went away; its log says why."""

    exit_code = 3


class ImageRejected(NanobananaError):
    """A body is not one whole image of a known type."""


class LinkFailed(NanobananaError):
    """A link gave no usable body.

    `dead` is true only when the host itself says that the link is gone (403, 404, 410); everything
    else (5xx, a cut connection, HTML, a wrong length) may work again later.
    """

    def __init__(self, message: str, *, dead: bool = False) -> None:
        super().__init__(message)
        self.dead = dead
