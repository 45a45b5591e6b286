"""What all commands have in common: defaults of a project, and how their pages of help look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nanobanana_batch.cli.defaults.config import config_option
from nanobanana_batch.cli.headings import OTHER, headings
from nanobanana_batch.cli.our_program import OurContext, write_examples
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.streams import quiet_libraries
from nanobanana_batch.wording import closest, did_you_mean

if TYPE_CHECKING:
    Records = list[tuple[str, str]]

_ABOUT_PAYING = frozenset({"plan", "run", "retry"})


class OurCommand(click.Command):
    """One command of ours: it has `--config`, options under headings, and examples."""

    context_class = OurContext

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        if any(isinstance(param, click.Option) for param in self.params):
            self.params.append(config_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Of a word that is no option a near one is named; click takes one for near that is not."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = [word for param in self.get_params(ctx) for word in (*param.opts, *param.secondary_opts)]
            bare = {word.lstrip("-"): word for word in known if word.startswith("--")}
            meant = bare.get(closest(error.option_name.lstrip("-"), bare))
            raise click.UsageError(
                f"No such option {error.option_name!r}. {did_you_mean(meant)}".rstrip(), ctx
            ) from error

    def invoke(self, ctx: click.Context) -> Any:
        """What a file decides of what is paid for is said before anything else."""
        from nanobanana_batch.cli.defaults.in_force import refuse_another_way

        if self.name in _ABOUT_PAYING and (told := _of_file(ctx)):
            show(told, err=True)
        refuse_another_way(ctx)
        quiet_libraries()
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each option under its heading."""
        known = headings(self.name or "")
        found: dict[str, Records] = {heading: [] for heading in [*known.values(), OTHER]}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                found[_heading(param, known)].append(record)
        for heading, records in found.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What a person would type."""
        super().format_epilog(ctx, formatter)
        write_examples(self.name or "", formatter)


def _of_file(context: click.Context) -> str:
    from nanobanana_batch.cli.defaults.in_force import settings_of

    settings = [setting for setting in settings_of(context) if setting.file]
    if not settings:
        return ""
    return f"By {settings[0].file}: {', '.join(setting.text for setting in settings)}"


def _heading(param: click.Parameter, known: dict[str, str]) -> str:
    return next((known[name] for name in param.opts if name in known), OTHER)
