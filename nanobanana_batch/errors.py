"""Every error that a caller may see, as one tree; this file imports nothing of ours.

NanobananaError
|- UsageError            exit 2: nothing was sent
|  |- ManifestError      the manifest has problems, all of them listed
|  |- TooManyRows        the manifest has more rows than a run takes
|  |- ProfileError       a provider profile cannot be used
|  |- FolderRefused      an output folder holds what no run has put there
|  |- BadSurroundings    a variable, a limit or a locale of this process is in the way
|  |- NoPriceList        a provider's price list cannot be read, or not be kept
|  `- KeyProblem         no API key, or one of an impossible form
|- FolderInUse           exit 4: another process works on this output folder
|- RunStopped            exit 3: stopped early, the same command resumes
|  |- StateFailed        the state file cannot be read or written
|  |- DiskFailed         the disk is full or refuses to write
|  `- Superseded         another process has taken the run's journal over
|- OutputFailed          what was asked for cannot be written to standard output
|- ServiceFailed         the embedded service did not start or went away
|- ImageRejected         bytes that are not the whole image they claim to be
`- LinkFailed            a download link gave no usable body
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import ClassVar

from nanobanana_batch.wording import and_more

_ALLOWED_SHOWN = 30
_ALLOWED_BESIDE_SUGGESTION = 10


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
    path: str = dataclass_field(default="", compare=False)
    """Where it stands inside of its document, as in `blocks[1].matrix.style[0]`."""
    rests_on: str = dataclass_field(default="", compare=False)
    """A name that it is about; a problem with that very name may be the cause of this one."""

    @property
    def kind(self) -> tuple[object, ...]:
        """What it has in common with the same mistake in another place."""
        return self.field, self.message, self.allowed, self.suggestion

    @property
    def what(self) -> str:
        """All but the place."""
        text = f"{self._subject()}: {self.message}" if self.path or self.field else self.message
        if self.suggestion:
            text += f"; did you mean {self.suggestion!r}?"
        if not self.allowed:
            return text
        text += " Allowed: " if self.suggestion else "; allowed: "
        most = _ALLOWED_BESIDE_SUGGESTION if self.suggestion else _ALLOWED_SHOWN
        return text + " ".join(self.allowed[:most]) + and_more(len(self.allowed) - most)

    def _subject(self) -> str:
        if not self.path or not self.field or self.field in re.split(r"[.\[]", self.path):
            return self.path or self.field
        return f"{self.path}: {self.field}"

    def __str__(self) -> str:
        return f"{self.source}: {self.what}"


class ManifestError(UsageError):
    """The manifest has problems; `problems` holds the first of them, `total` counts all."""

    def __init__(self, problems: tuple[Problem, ...], total: int, text: str) -> None:
        self.problems = problems
        self.total = total
        super().__init__(text)


class TooManyRows(UsageError):
    """A manifest has more rows than a run takes; `rows` counts them."""

    def __init__(self, message: str, rows: int, *, hint: str = "") -> None:
        self.rows = rows
        super().__init__(message, hint=hint)


class ProfileError(UsageError):
    """A provider profile is missing, malformed or incomplete."""


class FolderRefused(UsageError):
    """An output folder holds a link, or a state that no run writes: somebody else may have made it so."""


class BadSurroundings(UsageError):
    """What a process is started with is in the way: a variable (its value is not told), a limit, a locale."""


class NoPriceList(UsageError):
    """A price list cannot be read or kept; what was known before stays, and no run needs more."""


class KeyProblem(UsageError):
    """There is no API key, or what was given cannot be one; the key itself is never in the text."""


class FolderInUse(NanobananaError):
    """Another process holds the output folder; this one has sent nothing."""

    exit_code = 4


class RunStopped(NanobananaError):
    """The run cannot go on for now; what was paid for stays collectable by the same command."""

    exit_code = 3


@contextmanager
def after_sending() -> Iterator[None]:
    """In the block something may have been sent already: no error may say any more that nothing was.

    Raises:
        RunStopped: in the place of a `UsageError`, or of an error of the system that nobody foresaw.
    """
    try:
        yield
    except UsageError as error:
        raise RunStopped(error.message, hint=error.hint) from error
    except OSError as error:
        raise RunStopped(system_words(error), hint="See to it, then run the same command again.") from error


def system_words(error: OSError) -> str:
    """What the operating system refuses, in a sentence."""
    return f"{error.filename or 'A file'} cannot be used: {error.strerror or type(error).__name__}."


class StateFailed(RunStopped):
    """The state file is damaged, too new, or cannot be written: going on could pay twice."""


class DiskFailed(RunStopped):
    """The disk is full or failing: paying for more images would lose them."""


class Superseded(RunStopped):
    """Another process has taken the run's journal over: this one pays for nothing more."""


class OutputFailed(NanobananaError):
    """Standard output takes nothing; `is_unread`: whoever read it went away, and need not be told."""

    def __init__(self, message: str, *, is_unread: bool = False) -> None:
        super().__init__(message)
        self.is_unread = is_unread


@contextmanager
def before_sending() -> Iterator[None]:
    """In the block nothing has been sent yet: with a disk that fails the command cannot even be begun.

    Raises:
        UsageError: in the place of a `DiskFailed`.
    """
    try:
        yield
    except DiskFailed as error:
        raise UsageError(f"{error.message} Nothing was sent.", hint=error.hint) from error


class ServiceFailed(NanobananaError):
    """The embedded service did not start or went away; its log says why."""

    exit_code = 3


class ImageRejected(NanobananaError):
    """A body is not one whole image of a known type."""


class SameImage(ImageRejected):
    """A link shows an image of its row that is a file already."""


class LinkFailed(NanobananaError):
    """A link gave no usable body.

    `dead` is true only when the host itself says that the link is gone (403, 404, 410); everything
    else (5xx, a cut connection, HTML, a wrong length) may work again later.
    """

    def __init__(self, message: str, *, dead: bool = False) -> None:
        super().__init__(message)
        self.dead = dead
