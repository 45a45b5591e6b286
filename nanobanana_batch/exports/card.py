"""The card of an export: README.md, which the Hub shows and `datasets` reads the types from.

It says what is in the export and what is not, and has no time in it but those of the pictures: the same run
makes the same card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from nanobanana_batch.exports.escaping import code, plain, table
from nanobanana_batch.exports.format import Layout
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.samples import Samples
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.wording import bytes_text, counted

CARD = "README.md"
_MOST_LINES = 50
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def card(samples: Samples, options: Options, layout: Layout) -> str:
    """The whole text."""
    tally = samples.tally
    parts = [
        _front_matter(samples, layout),
        [f"# {_title(tally)}", "", *_beginning(tally)],
        _loading(layout),
        ["## What is in it", "", *_contents(samples), *_columns(samples, layout)],
        ["## How it was made", "", *_making(tally)],
        ["## What is not in it", "", *_missing(tally)],
        ["## What to know", "", *_notes(samples, options, layout)],
    ]
    return "\n\n".join("\n".join(part).rstrip("\n") for part in parts if part) + "\n"


def _front_matter(samples: Samples, layout: Layout) -> list[str]:
    import yaml

    tally = samples.tally
    count = tally.written.total()
    told: dict[str, Any] = {
        "pretty_name": _name(tally),
        "task_categories": ["image-to-image" if tally.with_sources else "text-to-image"],
        "size_categories": [next((name for most, name in _SIZES.items() if count < most), "n>1M")],
        "tags": ["synthetic", *(["placeholders"] if tally.placeholders else [])],
    }
    if layout.data_files:
        files = [{"split": name, "path": pattern} for name, pattern in layout.data_files.items()]
        told["configs"] = [{"config_name": "default", "data_files": files}]
    if layout.features:
        splits = [
            {
                "name": name,
                "num_bytes": layout.num_bytes.get(name, tally.written_bytes[name]),
                "num_examples": tally.written[name],
            }
            for name in samples.splits
        ]
        told["dataset_info"] = {
            "features": [{"name": each.name, "dtype": each.type} for each in layout.features],
            "splits": splits,
            "dataset_size": sum(int(str(split["num_bytes"])) for split in splits),
        }
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000)
    return ["---", text.rstrip("\n"), "---"]


def _name(tally: Tally) -> str:
    names = [name for name in dict.fromkeys(tally.manifests) if name]
    return ", ".join(names[:3]) or "images"


def _title(tally: Tally) -> str:
    return plain(_name(tally))


def _beginning(tally: Tally) -> list[str]:
    lines = [
        f"{counted(tally.written.total(), 'image')} with their prompts, made by models; exported by"
        " nanobanana-batch."
    ]
    if tally.placeholders:
        lines += [
            "",
            f"**{tally.placeholders:,} of them are placeholders, drawn by a service on the machine that made"
            " this, and by no model. They are there to practise with; the column `placeholder` marks them.**",
        ]
    return lines


def _loading(layout: Layout) -> list[str]:
    return ["```python", *layout.load, "```"] if layout.load else []


def _contents(samples: Samples) -> Iterator[str]:
    tally = samples.tally
    rows = [
        (name, f"{tally.written[name]:,}", bytes_text(tally.written_bytes[name])) for name in samples.splits
    ]
    yield from table(("part", "samples", "images"), list(rows))
    yield ""
    yield f"Kinds of files: {_listed(tally.media_types)}."


def _columns(samples: Samples, layout: Layout) -> Iterator[str]:
    names = [(each.name, each.type) for each in layout.features] or [
        (column.name, column.type.value) for column in samples.columns
    ]
    yield ""
    yield "Columns: " + ", ".join(f"{code(name)} ({type})" for name, type in names) + "."


def _making(tally: Tally) -> Iterator[str]:
    models = [
        (plain(model), plain(provider or "not known"), f"{count:,}")
        for (model, provider), count in tally.models.most_common(_MOST_LINES)
    ]
    yield from table(("model", "provider", "samples"), list(models))
    yield ""
    for name, counts in tally.settings.items():
        yield f"- {code(name)}: {_listed(counts)}"
    manifests = [plain(name) for name in dict.fromkeys(tally.manifests) if name]
    told = ", ".join(manifests[:_MOST_LINES]) or "not known"
    yield f"- source of the prompts: {'manifest' if len(manifests) == 1 else 'manifests'} {told}"
    if tally.with_sources:
        yield f"- made from other images: {tally.with_sources:,}"
    if tally.first_saved_at is not None and tally.last_saved_at is not None:
        yield f"- made from {_utc(tally.first_saved_at)} to {_utc(tally.last_saved_at)} (UTC)"


def _missing(tally: Tally) -> Iterator[str]:
    yield f"Of {counted(tally.rows, 'row')}: {_listed(tally.statuses)}."
    if tally.refusals:
        yield ""
        rows = [
            (status, plain(code), f"{count:,}")
            for (status, code), count in tally.refusals.most_common(_MOST_LINES)
        ]
        yield from table(("row", "reason", "rows"), list(rows))
    if tally.left_out:
        yield ""
        yield from (f"- left out: {count:,} {why.value}" for why, count in sorted(tally.left_out.items()))


def _notes(samples: Samples, options: Options, layout: Layout) -> Iterator[str]:
    tally = samples.tally
    if options.only:
        yield f"- chosen: {', '.join(options.only)}"
    for condition in options.where:
        yield f"- chosen where {code(condition)}"
    if options.images == "first":
        yield "- of a row with several images the first that was chosen is here"
    else:
        yield "- of a row with several images all that were chosen are here; `image_number` tells them apart"
    if options.noted and tally.noted:
        yield f"- {tally.noted:,} have another size or ratio than asked for: the column `note` says so"
    if tally.duplicates:
        yield f"- {tally.duplicates:,} have the same bytes as another one: the column `duplicate_of`"
    if tally.rejected:
        yield f"- {tally.rejected:,} were rejected by who looked at them: the column `verdict`"
    if options.split:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in options.split)
        yield (
            f"- split into {shares} by content (seed {options.seed}): no prompt, no source image and no image"
            " is in two parts"
        )
    if options.embed_metadata:
        left = f", but for {tally.not_embedded.total():,} that are as they came" if tally.not_embedded else ""
        yield f"- each file says in itself what row it is of{left}; `sha256` is of the file before that"
    yield from (f"- {note}" for note in layout.notes)


def _listed(counts: Mapping[str, int]) -> str:
    most = Counter(counts).most_common(_MOST_LINES)
    return ", ".join(f"{plain(name)} ({count:,})" for name, count in most) or "none"


def _utc(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "?"
