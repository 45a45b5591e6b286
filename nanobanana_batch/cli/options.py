"""What several commands share: options, and doing work under a progress line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from nanobanana_batch import defaults
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import as_json

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from nanobanana_batch.api.watching import Progress
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.outcome import Outcome

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


class Whole(click.IntRange):
    """As people call it when something else is given."""

    name = "whole number"


def _providers(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """For a shell that completes: the built-in ones, and files."""
    from click.shell_completion import CompletionItem

    from nanobanana_batch.jobs.connection import built_in

    names = [CompletionItem(name) for name in built_in() if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]


provider = click.option(
    "--provider",
    default=defaults.PROVIDER,
    show_default=True,
    metavar="NAME|FILE",
    shell_complete=_providers,
    help="evolink, foxapi, unified, local (embedded, free), local-unified, or a profile file.",
)
last_provider = click.option(
    "--provider",
    default="",
    metavar="NAME|FILE",
    shell_complete=_providers,
    help="The provider, if not the one of the last run here; a profile file has to be named again.",
)
base_url = click.option(
    "--base-url", metavar="URL", help="Where the provider is, if not where its profile says."
)
key_file = click.option("--key-file", type=PATH, metavar="FILE", help="Read the API key from this file.")
debug = click.option("--debug", is_flag=True, help="Also write what the provider's replies say to run.log.")
no_progress = click.option("--no-progress", is_flag=True, help="No progress line.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Say only what needs attention.")
verbose = click.option(
    "--verbose", "-v", is_flag=True, help="Say more: all rows, or all that happens to them."
)
as_copy = click.option(
    "--as-copy",
    is_flag=True,
    help="Go on in a copy of a folder, or in one that was moved to another machine; needed once.",
)
as_json_flag = click.option("--json", "json_", is_flag=True, help="As JSON, on standard output.")
only = click.option(
    "--only",
    multiple=True,
    metavar="WHICH",
    help="Only rows that are completed, failed, refused, …, or images that are accepted, rejected, rated or"
    " unrated; may be given several times.",
)
where = click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only what is like that: style=ink,photo, style!=ink, rating>=4, prompt~fox; all of several have to"
    " hold.",
)
verify = click.option(
    "--verify", is_flag=True, help="Read every image, and compare its bytes with those that were saved."
)
folder = click.argument("folder", type=PATH)


_HOOKS = (
    click.option(
        "--on-end",
        metavar="CMD",
        help="Start this program when the run has ended, however; what there is to tell is in its environment"
        " (NANOBANANA_TEXT, NANOBANANA_EXIT_CODE, …) and, as JSON, on its standard input.",
    ),
    click.option(
        "--on-trouble",
        metavar="CMD",
        help="The same when something goes wrong that the run waits out, or stops for.",
    ),
)


def with_hooks(command: Command) -> Command:
    """Add `--on-end` and `--on-trouble`; the command gets each by its name."""
    decorated: Any = command
    for option in reversed(_HOOKS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command that works tells of it."""

    no_progress: bool = False
    quiet: bool = False
    verbose: bool = False
    json: bool = False


def with_manner(command: Command) -> Command:
    """Add the options; the command gets them as `manner`."""

    @functools.wraps(command)
    def with_options(*args: Any, **options: Any) -> Any:
        told = [options.pop(name) for name in ("no_progress", "quiet", "verbose", "json_")]
        return command(*args, manner=Manner(*told), **options)

    decorated: Any = with_options
    for option in (as_json_flag, verbose, quiet, no_progress):
        decorated = option(decorated)
    return cast(Command, decorated)


@contextmanager
def shown(manner: Manner) -> Iterator[Tally]:
    """The tally of a run, shown as the person wants it."""
    from nanobanana_batch.screen.progress import progress

    with progress(shown=not (manner.no_progress or manner.quiet)) as tally:
        tally.tells_all = manner.verbose
        if manner.quiet:
            tally.announce = only_urgent(tally.announce)
        yield tally


def work(manner: Manner, job: Callable[[Progress], Outcome]) -> int:
    """Do a job under a progress line, say how it ended, and give its exit code.

    What came of it is on standard output only as JSON; what is said to people goes to standard error.
    """
    from nanobanana_batch.api.driving import Interrupted
    from nanobanana_batch.cli.outcome_text import outcome_text
    from nanobanana_batch.cli.streams import impatient

    with impatient():
        try:
            outcome = job(shown(manner))
        except Interrupted as interrupt:
            outcome = interrupt.outcome
    if not manner.quiet or outcome.exit_code:
        show(outcome_text(outcome), err=True)
    if manner.json:
        show(as_json(outcome))
    return outcome.exit_code


def only_urgent(announce: Callable[[str], None]) -> Callable[[str], None]:
    """Says on what a person has to know at once: warnings, and that a run stops and what it waits for."""

    def told(text: str) -> None:
        if text.startswith(("warning:", "Stopping:")) or text.endswith("is being collected."):
            announce(text)

    return told
