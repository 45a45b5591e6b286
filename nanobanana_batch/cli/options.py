"""What several commands share: options, and doing work under a progress line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nanobanana_batch import defaults
from nanobanana_batch.cli.show import show

if TYPE_CHECKING:
    from nanobanana_batch.api.watching import Progress
    from nanobanana_batch.jobs.outcome import Outcome

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)

provider = click.option(
    "--provider",
    default=defaults.PROVIDER,
    show_default=True,
    metavar="NAME|FILE",
    help="evolink, foxapi, unified, local (embedded, free), local-unified, or a profile file.",
)
last_provider = click.option(
    "--provider",
    default="",
    metavar="NAME|FILE",
    help="The provider, if not the one of the last run here; a profile file has to be named again.",
)
base_url = click.option(
    "--base-url", metavar="URL", help="Where the provider is, if not where its profile says."
)
key_file = click.option("--key-file", type=PATH, help="Read the API key from this file.")
debug = click.option("--debug", is_flag=True, help="Also write what replies say to run.log.")
no_progress = click.option("--no-progress", is_flag=True, help="No progress line.")
as_copy = click.option(
    "--as-copy",
    is_flag=True,
    help="Go on in a copy of a folder, or in one that was moved to another machine; needed once.",
)
as_json_flag = click.option("--json", "json_", is_flag=True, help="As JSON.")
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


def work(no_progress: bool, job: Callable[[Progress], Outcome]) -> int:
    """Do a job under a progress line, say how it ended, and give its exit code."""
    from nanobanana_batch.api.driving import Interrupted
    from nanobanana_batch.cli.outcome_text import outcome_text
    from nanobanana_batch.cli.streams import impatient
    from nanobanana_batch.screen.progress import progress

    with impatient():
        try:
            outcome = job(progress(shown=not no_progress))
        except Interrupted as interrupt:
            outcome = interrupt.outcome
    show(outcome_text(outcome), err=True)
    return outcome.exit_code
