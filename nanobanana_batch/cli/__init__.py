"""The command line: parses, calls one function, prints, and turns how it ended into an exit code."""

from __future__ import annotations

import io
import sys

import click

from nanobanana_batch.cli import interrupts, streams
from nanobanana_batch.cli.check_command import check
from nanobanana_batch.cli.completion_command import completion
from nanobanana_batch.cli.doctor_command import doctor
from nanobanana_batch.cli.export_command import export
from nanobanana_batch.cli.folder_commands import audit, results, retry, status
from nanobanana_batch.cli.from_image_command import from_image
from nanobanana_batch.cli.gallery_command import gallery
from nanobanana_batch.cli.init_command import init
from nanobanana_batch.cli.manifest_commands import plan, run
from nanobanana_batch.cli.merge_command import merge
from nanobanana_batch.cli.our_command import OurProgram
from nanobanana_batch.cli.prices_command import prices
from nanobanana_batch.cli.report_command import report
from nanobanana_batch.cli.schema_command import schema
from nanobanana_batch.cli.service_commands import models, serve
from nanobanana_batch.cli.show import show
from nanobanana_batch.cli.text import unexpected_text
from nanobanana_batch.errors import NanobananaError, OutputFailed, RunStopped, UsageError, system_words

EPILOG = """
Each option can be set by a variable, too (NANOBANANA_BATCH_PROVIDER=local), or in nanobanana.toml.

Exit codes: 0 every row completed; 1 finished, some rows did not complete; 2 bad usage or manifest,
nothing sent; 3 stopped early, run it again later; 4 folder in use; 130 interrupted.
"""


@click.group(
    cls=OurProgram,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="nanobanana-batch")
def commands() -> None:
    """Make images in bulk with the Nanobanana image API.

    A manifest of prompts becomes a folder of verified images and a results.csv. Interrupt it at any
    time and run the same command again: no row is paid for twice, and no paid image is lost.
    """


for command in (
    init,
    plan,
    run,
    status,
    retry,
    results,
    gallery,
    report,
    check,
    export,
    from_image,
    audit,
    merge,
    doctor,
    serve,
    models,
    prices,
    schema,
    completion,
):
    commands.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    is_own_process = streams.secure()
    with interrupts.like_ctrl_c(is_last=is_own_process):
        code = _exit_code()
    sys.exit(code)


def _exit_code() -> int:
    try:
        return int(commands.main(standalone_mode=False) or 0)
    except OutputFailed as error:
        if not error.is_unread:
            _say(str(error))
        return error.exit_code
    except NanobananaError as error:
        _say(str(error))
        return error.exit_code
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        show(said.getvalue().rstrip("\n"), err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        interrupts.once_more_ends_at_once()
        _say("interrupted")
        return 130
    except OSError as error:  # one that a run meets is another error by now
        _say(system_words(error))
        return UsageError.exit_code
    except Exception as error:
        _say(unexpected_text(error))
        return RunStopped.exit_code


def _say(text: str) -> None:
    show(f"nanobanana-batch: {text}".replace("\n", "\n  "), err=True)
