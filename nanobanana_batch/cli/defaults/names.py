"""What an option is called in a variable and in a file, and for which commands it holds there.

Of several that hold, the nearer one counts: for this command, for the run that it speaks of, for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

from nanobanana_batch.cli.defaults import PREFIX
from nanobanana_batch.project_file import GENERAL
from nanobanana_batch.wording import closest

CONFIG = "config"
_SPEAKS_OF = {"plan": "run", "doctor": "run", "retry": "run"}
_OF_ITSELF = frozenset({"json", "quiet", "verbose", "row", "rows", "out_csv"})
"""How a command says something is no matter of the run that it speaks of."""
_FOLDER_LEADS = frozenset({"status", "retry", "audit"})
"""An output folder knows its provider; another one is named for that command, or not at all."""
_WAY = frozenset({"provider", "base_url"})


def options(command: click.Command) -> dict[str, click.Option]:
    """By the name that they have in a file; `--config` is none of them."""
    found = (param for param in command.params if isinstance(param, click.Option))
    named = {_name(option): option for option in found}
    return {name: option for name, option in named.items() if name != CONFIG}


def headings(command: click.Command, option: str) -> Iterator[str]:
    """Under which headings, or names of commands, it is looked for, the nearest first."""
    own = command.name or ""
    yield own
    leads_elsewhere = own in _FOLDER_LEADS and option in _WAY
    if own in _SPEAKS_OF and option not in _OF_ITSELF and not leads_elsewhere:
        yield _SPEAKS_OF[own]
    if not leads_elsewhere and (own, option) != ("serve", "key_file"):
        yield GENERAL


def variable(heading: str, option: str) -> str:
    """The name of the variable that stands for an option under a heading."""
    middle = "" if heading == GENERAL else f"{plain(heading).upper()}_"
    return f"{PREFIX}{middle}{option.upper()}"


def plain(name: str) -> str:
    """`max-credits` is written as on the command line, `max_credits` as in a program; both are right."""
    return name.replace("-", "_")


def did_you_mean(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """A likely correction, to be put behind a sentence, or nothing."""
    meant = closest(word, known)
    return f"; did you mean {meant}?" if meant else ""


def _name(option: click.Option) -> str:
    return plain(next(word for word in option.opts if word.startswith("--"))[2:])
