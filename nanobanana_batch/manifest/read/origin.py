"""Where a manifest comes from, and of which kind it is: its name says so, `--format`, or how it begins."""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import UsageError
from nanobanana_batch.manifest.read.delimited import TextTable
from nanobanana_batch.manifest.read.encoding import is_utf16
from nanobanana_batch.manifest.read.jsonl import JsonLines
from nanobanana_batch.manifest.read.parquet import ParquetTable
from nanobanana_batch.manifest.read.reach import near_file
from nanobanana_batch.manifest.read.table import Table
from nanobanana_batch.manifest.words.names import BLOCK_KEYS, ROW_NAMES, slip_of
from nanobanana_batch.wording import did_you_mean, shown

YAML_ENDINGS = (".yaml", ".yml")
STDIN = Path("-")
_HEAD_BYTES = 1 << 16
_YAML_KEYS = ("name", "blocks", *BLOCK_KEYS)
_YAML_KEY = re.compile(rf"({'|'.join(_YAML_KEYS)})\s*:(\s|$)")
_PIPE_HINT = "Pipe one in: `python make_rows.py | nanobanana-batch plan -`."
_ENDINGS = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet",),
}
_SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")
KINDS = tuple(_ENDINGS)
FORMATS = ("yaml", *KINDS)
ENDINGS = tuple(ending for endings in _ENDINGS.values() for ending in endings)
_OPENERS: dict[str, Callable[[Path, str], Table]] = {
    "csv": lambda path, file: TextTable(path, file, tabs=False),
    "tsv": lambda path, file: TextTable(path, file, tabs=True),
    "jsonl": JsonLines,
    "parquet": ParquetTable,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The content of a manifest, and what people call it."""

    path: Path
    label: Path
    """Names it in messages; paths in the manifest are relative to the folder of this one."""
    kind: str
    names_output: bool
    """Whether the label is a name that a person has given."""


def origin_of(path: Path, kind: str | None = None, spool: Path | None = None, called: str = "") -> Origin:
    """The manifest at this path, or the one in `spool`: read from standard input, or `called` so, of no file.

    Raises:
        UsageError: there is none, or nothing says of which kind it is.
    """
    if spool is not None:
        label = Path(called or "stdin")
        return Origin(spool, label, kind or _kind_of_content(spool), names_output=bool(called))
    _refuse_at_sight(path)
    return Origin(path, path, kind or _kind_of_name(path), names_output=True)


def _refuse_at_sight(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = did_you_mean(near_file(Path(), str(path)))
        raise UsageError(f"There is no manifest {path}.", hint=hint) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if stat.S_ISFIFO(mode):
        raise UsageError(f"{path} is a pipe; pipe it in and give `-` for the manifest.")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UsageError(f"{path} is a device or a socket, and no manifest.")


def _kind_of_name(path: Path) -> str:
    if path.name.lower().endswith(YAML_ENDINGS):
        return "yaml"
    kind = kind_of(path.name)
    if kind is None:
        known = " ".join((*YAML_ENDINGS, *ENDINGS))
        if path.is_dir():
            raise UsageError(f"{path} is a folder; a manifest is a file that ends in one of {known}.")
        export = export_hint(path.name)
        if export:
            raise UsageError(f"{path} is a spreadsheet; {export}.")
        raise UsageError(
            f"{path} is no manifest: one ends in one of {known}.", hint="Or say it with --format."
        )
    return kind


@contextmanager
def spooled(path: Path) -> Iterator[Path | None]:
    """For `-` a temporary file with what stands in standard input; a manifest is read more than once.

    Raises:
        UsageError: standard input is a terminal, or there is no room for it.
    """
    if path != STDIN:
        yield None
        return
    if sys.stdin.isatty():
        raise UsageError(
            "`-` reads the manifest from standard input, and that is a terminal.", hint=_PIPE_HINT
        )
    with ExitStack() as files:
        try:
            spool = files.enter_context(tempfile.NamedTemporaryFile(prefix="nanobanana-batch-"))
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.flush()
        except OSError as error:
            raise UsageError(
                f"Standard input cannot be kept: {error.strerror or error}.",
                hint="It goes into a temporary file, where TMPDIR says.",
            ) from error
        yield Path(spool.name)


def _kind_of_content(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.strip():
        raise UsageError("stdin is empty; a manifest was expected there.")
    kind = told_kind(head)
    if kind is None:
        first = shown(head.lstrip().partition(b"\n")[0].decode("utf-8", "replace").strip())
        hint = f"Say it with --format {'|'.join(FORMATS)}."
        raise UsageError(f"It cannot be told of which kind stdin is, which begins with {first}.", hint=hint)
    return kind


def told_kind(head: bytes) -> str | None:
    """Which kind of manifest begins like this; `None` when that cannot be told."""
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.decode("utf-16" if is_utf16(head) else "utf-8-sig", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.lstrip().startswith("#")]
    if not said:
        return None
    if said[0].startswith("{"):
        return _kind_of_object(said[0].strip())
    if said[0].startswith(("---", "%YAML")) or _YAML_KEY.match(said[0]):
        return "yaml"
    names = [name.strip(' "') for name in re.split("[,;\t]", lines[0])]
    if not any(name in ROW_NAMES or slip_of(name) for name in names):
        if any(_YAML_KEY.match(line) for line in said):
            return "yaml"
        if len(names) == 1:
            return None
    return "tsv" if "\t" in lines[0] else "csv"


def _kind_of_object(line: str) -> str | None:
    """JSON may be one row of many, or a whole manifest, since JSON is YAML."""
    try:
        value = json.loads(line)
    except ValueError:
        return "yaml" if line == "{" else None
    is_whole = any(
        key in _YAML_KEYS and key not in ROW_NAMES and isinstance(item, dict | list)
        for key, item in value.items()
    )
    return "yaml" if is_whole else "jsonl"


def kind_of(name: str) -> str | None:
    """The kind of table that a file of this name is; `None` when its ending does not say."""
    lower = name.lower()
    return next((kind for kind, endings in _ENDINGS.items() if lower.endswith(endings)), None)


def export_hint(name: str) -> str:
    """What to do with a spreadsheet, which is read by what makes it; nothing for other files."""
    is_spreadsheet = name.lower().endswith(_SPREADSHEETS)
    return "save it as CSV (UTF-8) in the spreadsheet program" if is_spreadsheet else ""


def open_table(path: Path, file: str, kind: str) -> Table:
    """The table at this path, called `file` in messages; nothing is read yet."""
    return _OPENERS[kind](path, file)
