"""What may be said of a run: the names of the command line's options, with `_` for `-`.

Each may be left out, or be None: then what stands in brackets holds, as it does on the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

AnyPath = str | PathLike[str]
Scalar = str | int | float | bool


class ProviderOptions(TypedDict, total=False):
    """How the provider is reached.

    - `base_url`: where it is [where its profile says]
    - `key_file`: a file with the API key [the environment variable that its profile names]
    - `debug`: also write what replies say to run.log [False]
    """

    base_url: str | None
    key_file: AnyPath | None
    debug: bool


class PaceOptions(TypedDict, total=False):
    """How fast, how hard to try, when to stop, and who is told.

    - `concurrency`: tasks in flight [64]
    - `submit_concurrency`: paid requests on the wire at once [8, at most `concurrency`]
    - `rate`: at most so many new requests a minute [as many as the provider takes]
    - `max_attempts`: paid attempts for a row whose task fails for a reason that may pass [3]
    - `max_credits`: credits that the output folder may cost, all runs together [no limit]
    - `max_failures`: stop after so many failed rows (`20`), or above a share of those that ended (`"10%"`)
      [5 in a row with the same code, or over half of the first 50]
    - `max_outage`: give up when nothing has worked for so long, in seconds, or as `"90s"`, `"30m"`, `"8h"`
      [8 hours; 10 minutes where the provider has never answered]
    - `on_daily_quota`: when a daily quota is used up, `"wait"` until it resets, if that is within
      `max_outage`, or `"stop"` [`"wait"`]
    - `stuck_after`: set a task aside that works longer, in seconds, or as `"30m"` [30 minutes]
    - `on_end`, `on_trouble`: a program, with its arguments, that is started when the run has ended, or when
      something goes wrong that it waits out or stops for [none]
    """

    concurrency: int | None
    submit_concurrency: int | None
    rate: float | None
    max_attempts: int | None
    max_credits: float | None
    max_failures: int | str | None
    max_outage: float | str | None
    on_daily_quota: Literal["wait", "stop"] | None
    stuck_after: float | str | None
    on_end: str | Sequence[str] | None
    on_trouble: str | Sequence[str] | None


class RunOptions(ProviderOptions, PaceOptions, total=False):
    """What `run` and `plan` take beside the manifest; `ProviderOptions` and `PaceOptions` say more of it.

    - `format`: what the manifest is, such as `"yaml"`, `"csv"` or `"jsonl"` [what its name says]
    - `defaults`: fields for all rows that do not give them, such as `{"model": "nano-banana-beta"}` [none]
    - `columns`: our names with those of a table's columns, such as `{"prompt": "caption"}`; with dots into
      nested objects, `"prompts.en"` [the same names]
    - `id`: how rows of a table are named, such as `"{category}-{id}"` [by the column `id`, or by the prompt]
    - `skip`: leave out and count rows whose prompt is `"empty"` or `"too-long"` [none]
    - `variables`: columns that look like a misspelt field and are none [none]
    - `allow_outside`: folders to read from, beside the manifest's own and the working directory [none]
    - `allow_unknown_model`: send models that the catalogue does not know [False]
    - `state_dir`: keep the state below this local folder [in the output folder]
    - `risk_network_filesystem`: keep the state on a network file system, where two runs may pay twice [False]
    - `on_unknown`: `"hold"` requests that may have been paid and cannot be found, or `"resubmit"` [`"hold"`]
    - `callback_url`: where the provider can call this machine when a task has ended, over https [nowhere]
    - `callback_listen`: `"HOST:PORT"` where these calls arrive [127.0.0.1:8080]
    - `as_copy`: go on in a copy of a folder, or in one that was moved to another machine; once [False]
    - `shard`: only one part of several, `"1/4"`, each in a folder of its own [the whole manifest]
    """

    format: str | None
    defaults: Mapping[str, Scalar] | None
    columns: Mapping[str, str] | None
    id: str | None
    skip: str | Sequence[str] | None
    variables: Sequence[str] | None
    allow_outside: Sequence[AnyPath] | None
    allow_unknown_model: bool
    state_dir: AnyPath | None
    risk_network_filesystem: bool
    on_unknown: Literal["hold", "resubmit"] | None
    callback_url: str | None
    callback_listen: str | None
    as_copy: bool
    shard: str | None


class RetryOptions(ProviderOptions, PaceOptions, total=False):
    """What `retry` takes beside the folder; `ProviderOptions` and `PaceOptions` say more of it.

    - `as_copy`: go on in a copy of a folder, or in one that was moved to another machine; once [False]
    """

    as_copy: bool


class AuditOptions(TypedDict, total=False):
    """What `audit` takes beside the folder.

    - `base_url`, `key_file`: as in `ProviderOptions`
    - `as_copy`: as in `RetryOptions`
    """

    base_url: str | None
    key_file: AnyPath | None
    as_copy: bool


class ExportOptions(TypedDict, total=False):
    """What `export` takes beside the folders, the format and the place.

    - `only`, `where`: which pictures, as `results` and the gallery name them: `only="accepted"`,
      `where=["rating>=4", "style=ink,photo"]` [all]
    - `split`: parts and their shares, `"train=0.9,test=0.1"`; what has the same prompt or source image is
      never in two [everything is `train`]
    - `seed`: another one, another split [0]
    - `max_size`: of a shard, in bytes or as `"500MB"` [what the format does]
    - `link`: how pictures come into folders: `"copy"`, `"hard"` or `"symlink"` [`"copy"`]
    - `images`: of a row that has several, the `"first"` or `"all"` [`"first"`]
    - `noted`: pictures of another size or ratio than asked for come along, `"in"`, or stay `"out"` [`"in"`]
    - `practice`: placeholders of the embedded service come along, marked [False: they are refused]
    - `bom`: tables for spreadsheets [False]
    - `paths_only`: Parquet with paths in the place of bytes [False]
    - `convert`: pictures are drawn anew as `"jpg"`, `"png"` or `"webp"` [they stay as they are]
    - `quality`: of those that become JPEG or WebP, 1 to 100 [95]
    - `caption`: a column, or a template such as `"sks style, {prompt}"` [the prompt]
    - `path_prefix`: where the trainer will find the export, for the paths in musubi-tuner's list [`out`]
    - `layout`: edits as `"parquet"`, `"imagefolder"` or `"webdataset"` [`"parquet"`]
    - `by`: a column of numbers that says which of two pictures is better [what people said]
    - `ties`: pairs of which neither is better come along [False]
    - `embed_metadata`: copies of pictures say of which row they are; `from_image` reads it [False]
    - `embed_in_signed`: also those whose signature (C2PA) does not hold then [False]
    - `push_to_hub`: a repository on the Hugging Face Hub that the folder is sent to, private if new [none]
    """

    only: str | Iterable[str] | None
    where: str | Iterable[str] | None
    split: str | Mapping[str, float] | None
    seed: int | None
    max_size: int | str | None
    link: Literal["copy", "hard", "symlink"] | None
    images: Literal["first", "all"] | None
    noted: Literal["in", "out"] | None
    practice: bool
    bom: bool
    paths_only: bool
    convert: Literal["jpg", "png", "webp"] | None
    quality: int | None
    caption: str | None
    path_prefix: str | None
    layout: Literal["parquet", "imagefolder", "webdataset"] | None
    by: str | None
    ties: bool
    embed_metadata: bool
    embed_in_signed: bool
    push_to_hub: str | None
