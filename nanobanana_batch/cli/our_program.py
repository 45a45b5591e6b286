"""All commands together: the page that lists them, and what pages of help end with."""

from __future__ import annotations

import sys

import click

from nanobanana_batch.cli.dress import width_of
from nanobanana_batch.cli.examples import examples
from nanobanana_batch.cli.listing import LISTED
from nanobanana_batch.wording import closest, did_you_mean

_WIDTH, _LEAST_WIDTH = 80, 50
"""Of a page where nobody says how wide the screen is; and on the narrowest."""


class OurContext(click.Context):
    """One that finds out how wide the screen is without the library that click loads for it."""

    def make_formatter(self) -> click.HelpFormatter:
        """As wide as click makes it."""
        most = self.max_content_width or _WIDTH
        width = max(min(width_of(sys.stdout) or _WIDTH, most) - 2, _LEAST_WIDTH)
        return click.HelpFormatter(width=self.terminal_width or width)


class OurProgram(click.Group):
    """All commands together, in the order in which a person needs them."""

    context_class = OurContext

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Of a word that is no command a near one is named; click takes one for near that is not."""
        word = args[0]
        if word in self.commands or word.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        meant = did_you_mean(closest(word, self.commands))
        raise click.UsageError(f"No such command {word!r}. {meant}".rstrip(), ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """With what is said of each in the list, so that none has to be read."""
        names = self.list_commands(ctx)
        width = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            told = [click.Command(name, help=LISTED[name].summary) for name in names]
            formatter.write_dl([(str(one.name), one.get_short_help_str(width)) for one in told])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Where to begin, and what the exit codes mean."""
        write_examples("", formatter)
        super().format_epilog(ctx, formatter)


def write_examples(command: str, formatter: click.HelpFormatter) -> None:
    """What a person would type, at the end of a command's page; `command` empty: of the program's."""
    told = examples(command)
    if not told:
        return
    with formatter.section("Examples"):
        for purpose, line in told:
            formatter.write_text(purpose)
            with formatter.indentation():  # one piece, however wide: it is there to be pasted
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
