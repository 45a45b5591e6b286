"""Where a manifest comes from, and of which kind it is: its name says so, `--format`, or how it begins."""

from __future__ import annotations

import errno
import io
import json
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.temporary_file import temporary_file
from nanobanana_batch.manifest.read.delimited import TextTable
from nanobanana_batch.manifest.read.encoding import Unusable, beginning_of, name_fault
from nanobanana_batch.manifest.read.folders import PictureFolder, PromptFolder, has_pictures, has_texts
from nanobanana_batch.manifest.read.json_file import json_table, lines_table
from nanobanana_batch.manifest.read.lines import TextLines
from nanobanana_batch.manifest.read.parquet import ParquetTable
from nanobanana_batch.manifest.read.reach import Reach, near_file
from nanobanana_batch.manifest.read.table import Table, opened
from nanobanana_batch.manifest.read.unpack import bare_name
from nanobanana_batch.manifest.read.workbook import Workbook
from nanobanana_batch.manifest.words.names import BLOCK_KEYS, ROW_NAMES, offers_prompts, slip_of
from nanobanana_batch.wording import did_you_mean, in_short, shown

YAML_ENDINGS = (".yaml", ".yml")
STDIN = Path("-")
_HEAD_BYTES = 1 << 16
_AT_ONCE = 1 << 20
_YAML_KEYS = ("name", "blocks", *BLOCK_KEYS)
_YAML_KEY = re.compile(rf"({'|'.join(_YAML_KEYS)})\s*:(\s|$)")
_WHOLE = re.compile(r'\s*\{\s*"([a-z]+)"\s*:')
_PIPE_HINT = "Pipe one in: `python make_rows.py | nanobanana-batch plan -`."
_ENDINGS = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "txt": (".txt",),
    "parquet": (".parquet",),
    "xlsx": (".xlsx", ".xlsm"),
}
_NOT_PACKED = ("parquet", "xlsx")
"""Kinds that are packed as they are, and are not read from one end to the other."""
_SPREADSHEETS = (".xlsb", ".xls", ".ods", ".numbers")
PROMPTS, PICTURES = "prompts", "pictures"
"""The kinds of folders."""
KINDS = tuple(_ENDINGS)
FORMATS = ("yaml", *KINDS)
ENDINGS = tuple(ending for endings in _ENDINGS.values() for ending in endings)
SHEETS = _ENDINGS["xlsx"]
_OPENERS: dict[str, Callable[[Path, str], Table]] = {
    "csv": lambda path, file: TextTable(path, file, tabs=False),
    "tsv": lambda path, file: TextTable(path, file, tabs=True),
    "jsonl": lines_table,
    "json": json_table,
    "txt": TextLines,
    "parquet": ParquetTable,
}
_WORDS_OF_A_PROMPT = 4
_MANIFESTS_TOLD = 5


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
    label = path if path.name else path.resolve()  # `.` is a folder, too
    if fault := name_fault(label.name):
        raise UsageError(f"{path} cannot be used: {fault}.")
    return Origin(label, label, kind or _kind_of_name(label), names_output=True)


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
    if path.is_dir():
        try:
            return _kind_of_folder(path)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if path.name.lower().endswith(YAML_ENDINGS):
        return "yaml"
    kind = kind_of(path.name)
    if kind == "json" and _is_whole(path):
        return "yaml"
    if kind is None:
        known = " ".join((*YAML_ENDINGS, *ENDINGS))
        if why := no_table(path.name):
            raise UsageError(f"{path} {why}.")
        raise UsageError(
            f"{path} is no manifest: one ends in one of {known}.", hint="Or say it with --format."
        )
    return kind


def _kind_of_folder(path: Path) -> str:
    if manifests := sorted(each.name for each in path.iterdir() if _is_manifest(each.name)):
        some = in_short(manifests, _MANIFESTS_TOLD)
        raise UsageError(f"{path} is a folder; name one of the manifests in it: {some}.")
    if has_texts(path):
        return PROMPTS
    if has_pictures(path):
        return PICTURES
    wanted = "one of prompts has .txt files in it, one of pictures to edit has pictures"
    raise UsageError(f"{path} is a folder without rows: {wanted}.")


def _is_manifest(name: str) -> bool:
    return name.lower().endswith(YAML_ENDINGS) or kind_of(name) in ("csv", "tsv", "parquet", "xlsx")


def _is_whole(path: Path) -> bool:
    """Whether a file of JSON is a manifest in itself, since JSON is YAML, and not a table."""
    try:
        with opened(path) as stream:
            head = beginning_of(stream.read(_HEAD_BYTES))
    except (OSError, Unusable):
        return False
    found = _WHOLE.match(head)
    if found is None or found[1] not in _YAML_KEYS:
        return False
    first = head.lstrip().partition("\n")[0].strip()
    return _kind_of_object(first) != "jsonl"


@contextmanager
def spooled(path: Path) -> Iterator[Path | None]:
    """For `-` a temporary file with what stands in standard input; a manifest is read more than once.

    Raises:
        UsageError: standard input is a terminal, closed, or cannot be read, or there is no room for it.
    """
    if path != STDIN:
        yield None
        return
    if sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty():
        raise UsageError(
            "`-` reads the manifest from standard input, and that is a terminal.", hint=_PIPE_HINT
        )
    with ExitStack() as files:
        try:
            spool = files.enter_context(temporary_file())
            spool.writelines(_standard_input())
            spool.flush()
        except OSError as error:
            raise UsageError(
                f"Standard input cannot be kept: {error.strerror or error}.",
                hint="It goes into a temporary file, where TMPDIR says.",
            ) from error
        yield Path(spool.name)


def _standard_input() -> Iterator[bytes]:
    """What stands in it, piece by piece."""
    stream = sys.stdin
    try:
        if stream is None or stream.closed:
            raise OSError(errno.EBADF, "")
        buffer = cast(io.BufferedReader, stream.buffer)
        while piece := buffer.read1(_AT_ONCE):  # as it comes, and not when there is so much
            yield piece
    except OSError as error:
        if error.errno == errno.EBADF:
            raise UsageError(
                "Standard input is closed; a manifest was expected there.", hint=_PIPE_HINT
            ) from error
        raise UsageError(f"Standard input cannot be read: {error.strerror or error}.") from error


def _kind_of_content(path: Path) -> str:
    try:
        with opened(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, Unusable) as error:
        raise UsageError(f"stdin cannot be read: {error}.") from error
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
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    text = beginning_of(head)
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.lstrip().startswith("#")]
    if not said:
        return None
    if said[0].startswith("["):
        return "json"
    if said[0].startswith("{"):
        return _kind_of_object(said[0].strip())
    if said[0].startswith(("---", "%YAML")) or _YAML_KEY.match(said[0]):
        return "yaml"
    names = [name.strip(' "') for name in re.split("[,;\t]", lines[0])]
    if not any(name in ROW_NAMES or slip_of(name) or offers_prompts(name) for name in names):
        if any(_YAML_KEY.match(line) for line in said):
            return "yaml"
        if len(names) == 1 and not _is_sentence(names[0]):
            return None
        if "\t" not in lines[0] and any(map(_is_sentence, names)):
            return "txt"
    return "tsv" if "\t" in lines[0] else "csv"


def _is_sentence(text: str) -> bool:
    """Whether these words are rather a prompt than the name of a column."""
    return len(text.split()) >= _WORDS_OF_A_PROMPT and not text.startswith(("-", "*", "&", "!"))


def _kind_of_object(line: str) -> str | None:
    """JSON may be one row of many, or a whole manifest, since JSON is YAML."""
    try:
        value = json.loads(line)
    except RecursionError:
        return "jsonl"  # where it is told
    except ValueError:
        return "yaml" if line == "{" else None
    if not isinstance(value, dict):
        return None
    is_whole = any(
        key in _YAML_KEYS and key not in ROW_NAMES and isinstance(item, dict | list)
        for key, item in value.items()
    )
    return "yaml" if is_whole else "jsonl"


def kind_of(name: str) -> str | None:
    """The kind of table that a file of this name is; `None` when its ending does not say."""
    lower = bare_name(name).lower()
    kind = next((kind for kind, endings in _ENDINGS.items() if lower.endswith(endings)), None)
    return None if kind in _NOT_PACKED and lower != name.lower() else kind


def no_table(name: str) -> str:
    """What to say of a file of this name that is none and looks like one; nothing of others."""
    if name.lower().endswith(_SPREADSHEETS):
        return "is a spreadsheet; save it as .xlsx or as CSV (UTF-8) in the spreadsheet program"
    return "is compressed; unpack it first" if bare_name(name) != name else ""


def open_table(path: Path, file: str, kind: str, reach: Reach, sheet: str | None = None) -> Table:
    """The table at this path, called `file` in messages; nothing is read yet."""
    if kind == PROMPTS:
        return PromptFolder(path, file, reach)
    if kind == PICTURES:
        return PictureFolder(path.parent, path.name)
    if kind == "xlsx":
        return Workbook(path, file, sheet)
    return _OPENERS[kind](path, file)
