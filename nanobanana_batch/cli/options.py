"""What several commands share: options, and doing work under a progress line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanobanana_batch.cli.show import show

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from nanobanana_batch.engine.work import Tally
    from nanobanana_batch.jobs.outcome import Outcome

PATH = click.Path(path_type=Path)


def _providers(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """For a shell that completes: the built-in ones, and files."""
    from click.shell_completion import CompletionItem

    from nanobanana_batch.jobs.connection import built_in

    names = [CompletionItem(name) for name in built_in() if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]


provider = click.option(
    "--provider",
    default="evolink",
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


def work(no_progress: bool, job: Callable[[Tally], Outcome]) -> int:
    """Do a job under a progress line, say how it ended, and give its exit code."""
    from nanobanana_batch.cli.outcome_text import outcome_text
    from nanobanana_batch.cli.progress import progress

    with progress(shown=not no_progress) as tally:
        outcome = job(tally)
    show(outcome_text(outcome), err=True)
    return outcome.exit_code
