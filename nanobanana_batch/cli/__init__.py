"""The command line: parses, calls one function, prints, and turns how it ended into an exit code."""

from __future__ import annotations

import sys

import click

from nanobanana_batch.cli.doctor_command import doctor
from nanobanana_batch.cli.folder_commands import audit, results, retry, status
from nanobanana_batch.cli.manifest_commands import plan, run
from nanobanana_batch.cli.prices_command import prices
from nanobanana_batch.cli.schema_command import schema
from nanobanana_batch.cli.service_commands import models, serve
from nanobanana_batch.errors import NanobananaError

EXIT_CODES = """
Exit codes: 0 every row completed; 1 finished, some rows did not complete; 2 bad usage or manifest,
nothing sent; 3 stopped early, run it again later; 4 folder in use; 130 interrupted.
"""


@click.group(
    epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="nanobanana-batch")
def commands() -> None:
    """Make images in bulk with the Nanobanana image API.

    A manifest of prompts becomes a folder of verified images and a results.csv. Interrupt it at any
    time and run the same command again: no row is paid for twice, and no paid image is lost.
    """


for command in (plan, run, status, retry, results, audit, doctor, serve, models, prices, schema):
    commands.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        return int(commands.main(standalone_mode=False) or 0)
    except NanobananaError as error:
        click.echo(f"nanobanana-batch: {error}".replace("\n", "\n  "), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("nanobanana-batch: interrupted", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
