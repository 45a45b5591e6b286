"""The JSON Schema of YAML manifests, by which editors complete, check and explain while one is written.

It marks nothing that `plan` accepts and a row uses. What depends on other files, on several rows at once or
on the chosen model stays with `plan`. Editors see numbers, truths and nulls where a manifest holds only
text, so all of them are let through where a text may stand. No model class gives such a schema: the reader
knows texts with their places, and editors want sentences where such classes know only types.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, combinations
from typing import Any

from nanobanana_batch.catalog import FALSE, PROMPT_LIMIT, TRUE, Extra, ModelRules
from nanobanana_batch.manifest.combine.grid import MAX_VARIANTS
from nanobanana_batch.manifest.form.skips import REASONS
from nanobanana_batch.manifest.read.origin import ENDINGS
from nanobanana_batch.manifest.read.unpack import ENDINGS as PACKED
from nanobanana_batch.manifest.words.names import BLOCK_KEYS, HOLDS_NO_KEY, ROW_NAMES, SECRET_NAMES
from nanobanana_batch.model import REQUEST_FIELDS

Schema = dict[str, Any]

_SOURCES = ("rows", "table", "images_from", "from")
_TEXT: Schema = {"type": ["string", "number", "boolean"]}
_PERHAPS_TEXT: Schema = {"type": [*_TEXT["type"], "null"]}
_PERHAPS_MAP: Schema = {"type": ["object", "null"]}
_PERHAPS_LIST: Schema = {"type": ["array", "null"]}
_WRONG_KIND: Schema = {"errorMessage": "expected one text; several values belong under `matrix`"}
_ONE_VALUE: Schema = {**_PERHAPS_TEXT, **_WRONG_KIND}
_TEMPLATE: Schema = {
    "pattern": r"^([^{}]|\{\{|\}\}|\{\s*[^{}\s][^{}]*\})*$",
    "patternErrorMessage": "a brace that belongs to no {name}; write {{ or }} for a brace",
}
_FILE_NAME: Schema = {
    **_PERHAPS_TEXT,
    "pattern": r'^[^/\\:*?"<>|\x00-\x1f\x7f]*$',
    "patternErrorMessage": 'this becomes the name of a file, so it is without / \\ : * ? " < > |',
}
_WHOLE_NUMBER: Schema = {
    "type": ["integer", "string"],
    "pattern": r"^\s*[+-]?[0-9]+\s*$",
    "errorMessage": "expected a whole number",
}
_NUMBER: Schema = {
    "type": ["number", "string"],
    "pattern": r"^\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*$",
    "errorMessage": "expected a number, such as 3 or 0.25",
}
_RATIO: Schema = {
    "pattern": r"^\s*([A-Za-z_]+|[0-9.]+:[0-9.]+)?\s*$",
    "patternErrorMessage": "a ratio is written 16:9",
}

_FIELD_AT_THE_TOP = "a request field; it belongs under `defaults`"
_ONE_SOURCE = "at most one of `rows`, `table`, `images_from` and `from`; for several use `blocks`"
_NEEDS_SOURCE = "this needs a `table`, `images_from` or `from`"
_NO_FACTOR = "this cannot be a factor; for repetitions use `variants`, for ids `id:`"
_OF_ONE_ROW = "an id belongs to one row; for a pattern use `id:` beside `defaults`"
_NAME = r"^(?=.*\S)[^{}\x00-\x1f\x7f]{1,200}$"
_NAME_FAULT = "a name has no braces, no control characters, and at most 200 characters"
_VARIANT = "the number of a repetition is called this; choose another name, or write `variants`"

_TOLD: dict[str, tuple[str, list[Any]]] = {
    "prompt": (
        "What the image shows. A template: `{name}` inserts a variable or a field, `{name:upper}` changes"
        f" what is inserted, `{{{{` is a brace. At most {PROMPT_LIMIT} characters once it is filled in.",
        ["{style:a} skyline of {city}, {mood}"],
    ),
    "model": (
        "Which model makes the image; `nanobanana-batch models` lists what each of them allows.",
        ["gemini-3.1-flash-image-preview"],
    ),
    "aspect_ratio": ("Width to height. Models differ in what they make; `plan` checks it.", ["16:9"]),
    "resolution": ("Size of the image. Without it the model's own default counts.", ["1K"]),
    "images": (
        "Reference images: URLs, or files relative to the manifest; several as a list, or one text with `|`"
        " between them. A template, as the prompt is.",
        ["photos/{id}.jpg", ["photos/{id}.jpg", "palette.png"]],
    ),
    "output_format": ("The kind of image file, where the provider lets one choose.", ["png"]),
    "web_search": ("Whether the model may search the web before it draws.", [True]),
    "image_search": ("Whether the model may search for images before it draws.", [True]),
    "thinking_level": ("How long the model thinks before it draws.", ["high"]),
    "name": ("Names the output folder, outputs/<name>. Without it the file's name counts.", ["skylines"]),
    "defaults": (
        "Fields and variables that hold for every row; a row, a factor or an `include` entry overrides them.",
        [{"model": "gemini-3.1-flash-image-preview", "aspect_ratio": "16:9"}],
    ),
    "variants": ("Make each row so many times, as variant 1, 2, …; each of them is paid for.", [4]),
    "rows": (
        "One entry for each row: fields, variables of yours, `id`, `variants`.",
        [[{"id": "tokyo", "city": "Tokyo", "mood": "calm"}]],
    ),
    "table": (
        "A table whose lines are the rows, or a folder of text files, relative to the manifest. Prompts of a"
        " table are taken as written.",
        ["prompts.csv", "data/captions.parquet"],
    ),
    "sheet": ("Which sheet of an Excel workbook is the table; the first, if not given.", ["Prompts"]),
    "from": (
        "The output folder of another run, relative to the manifest: its completed rows are the rows here."
        ' `images: "{image}"` uses their images, `{row.prompt}` and the like what its results.csv says.',
        ["../outputs/first-run"],
    ),
    "columns": (
        "For `table` and `from`: `our name: their name`. Columns that are not named here keep their names.",
        [{"subject": "Prompt", "tag": "Category"}],
    ),
    "where": (
        "For `table` and `from`: only rows whose column has this value, or one of a list.",
        [{"tag": "Animals"}, {"tag": ["Animals", "People"]}],
    ),
    "images_from": (
        "A folder of pictures, or a pattern such as `photos/**/*.jpg`, relative to the manifest: a row for"
        " each picture, with `images`, `id`, `file` and `folder`.",
        ["photos/", "photos/*.jpg"],
    ),
    "skip": (
        "Rows that are left out and counted, where one of them would keep all others from being made.",
        [{"empty_prompt": True, "too_long": True}],
    ),
    "styles": (
        "A table of styles, each with a `name` and a `prompt` in which `{prompt}` stands for the row's: every"
        " row is made in each of them. Its name is the factor `style`.",
        ["styles.csv", {"table": "styles.csv", "only": ["Anime", "Ink"]}],
    ),
    "zip": (
        "Lists of the same length, walked side by side: all first values together, then all second ones.",
        [{"time": ["night", "noon"], "light": ["neon", "dust"]}],
    ),
    "matrix": (
        "Factors: every row is made with every combination of their values. One that has the name of a field"
        " sets the field.",
        [{"style": ["ink", "photo"], "aspect_ratio": ["1:1", "9:16"]}],
    ),
    "exclude": (
        "Combinations taken out: every one that has all of an entry's values, of a list any.",
        [[{"style": "ink", "city": "Lagos"}, {"style": ["ink", "photo"], "city": "Oslo"}]],
    ),
    "include": (
        "Combinations added. Names that the rows give say which rows an entry is for; all others are set.",
        [[{"style": "oil", "city": "Tokyo"}]],
    ),
    "sample": ("Draw so many combinations at random, instead of making all.", [{"n": 200, "seed": 1}]),
    "id": ("Template of the ids, which begin the images' file names.", ["{city}-{style}"]),
    "variables": ("Names of yours that look like misspelt fields, and are not.", [["modell", "prompts"]]),
    "blocks": (
        "Parts that add up, in this order. What stands beside `blocks` is their default.",
        [[{"rows": [{"city": "Tokyo"}]}, {"table": "cities.csv"}]],
    ),
}
"""What an editor shows about each name, and examples of it."""


def manifest_schema(models: Collection[ModelRules]) -> Schema:
    """The schema, with these models, their values and their own settings as suggestions."""
    rules = {**_fields(models), **_block_rules()}
    told = {
        name: {"description": _TOLD[name][0], "examples": _TOLD[name][1], **rules[name]} for name in _TOLD
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:nanobanana-batch:manifest",
        "title": "nanobanana-batch manifest",
        "description": "What to make: rows of prompts and parameters, and how they multiply.",
        **_block((*BLOCK_KEYS, "name", "blocks")),
        "allOf": [*_one_source(), *_sources_needed()],
        "$defs": {
            **told,
            **_shapes(_own(models)),
            "block": {**_block(BLOCK_KEYS), "allOf": [*_one_source()]},
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _refs(names: Iterable[str]) -> Schema:
    return {name: _ref(name) for name in names}


def _refused(message: str) -> Schema:
    # Language servers pass on what is said beside `type`, and not what is said beside `not`.
    return {"type": "null", "errorMessage": message, "doNotSuggest": True}


def _any_case(words: Iterable[str]) -> str:
    return "|".join(re.sub("[a-z]", lambda found: f"[{found[0].upper()}{found[0]}]", word) for word in words)


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


def _or_several(item: Schema) -> Schema:
    return {"anyOf": [item, _list_of(item)]}


def _closed(required: list[str], **properties: tuple[Schema, str, Any]) -> Schema:
    told = {
        name: {"description": description, "examples": [example], **rule}
        for name, (rule, description, example) in properties.items()
    }
    return {"type": "object", "properties": told, "required": required, "additionalProperties": False}


# What a row has

_RAW_PROMPT = _closed(
    ["raw"], raw=(_TEXT, "A text that is no template, such as JSON.", '{"subject": "a cat"}')
)


def _offered(*values: tuple[str, ...]) -> Schema:
    # A provider's profile may know more: this is what editors offer, not all that is allowed.
    words = list(dict.fromkeys(chain(*values)))
    return {"anyOf": [{"enum": words, **_WRONG_KIND}, _ONE_VALUE]} if words else _ONE_VALUE


def _own(models: Collection[ModelRules]) -> Schema:
    """Settings that some models have beside our fields; for others they are variables."""
    takers: dict[str, list[tuple[str, Extra]]] = {}
    for entry in models:
        for name, extra in entry.extra.items():
            takers.setdefault(name, []).append((entry.name, extra))
    return {
        name: {
            "description": "A setting of "
            + "; ".join(f"{model}: {extra.said_in_full}" for model, extra in known)
            + ".",
            **_offered(*(extra.words for _, extra in known)),
        }
        for name, known in takers.items()
    }


def _fields(models: Collection[ModelRules]) -> Schema:
    image = {**_PERHAPS_TEXT, **_TEMPLATE}
    words = _any_case((*TRUE, *FALSE, ""))
    yes_or_no = {
        "type": ["boolean", "integer", "string", "null"],
        "minimum": 0,
        "maximum": 1,
        "pattern": rf"^\s*({words})\s*$",
        "errorMessage": "expected yes or no",
    }
    return {
        "prompt": {"anyOf": [{**_ONE_VALUE, **_TEMPLATE}, _RAW_PROMPT]},
        "model": _offered(*((entry.name, *entry.aliases) for entry in models)),
        "aspect_ratio": {**_offered(*(entry.aspect_ratios for entry in models)), **_RATIO},
        "resolution": _offered(*(entry.resolutions for entry in models)),
        "images": {"anyOf": [image, {"type": "array", "items": image}]},
        "output_format": _offered(*(entry.output_formats for entry in models)),
        "web_search": yes_or_no,
        "image_search": yes_or_no,
        "thinking_level": _offered(*(entry.thinking_levels for entry in models)),
    }


def _shapes(own: Schema) -> Schema:
    """What several keys have in common, and what names of a person's own may stand for."""
    given = {**own, **_refs((*REQUEST_FIELDS, "variants"))}
    own_id = {
        "description": "Your name for this row; it begins its image's file name.",
        "examples": ["tokyo"],
    }
    no_factor = {"id": _refused(_NO_FACTOR), "variants": _refused(_NO_FACTOR)}
    matched = {name: _TEXT if name in ("prompt", "images") else _ref(name) for name in REQUEST_FIELDS}
    factors = {name: {"description": _TOLD[name][0], **_levels(_ref(name))} for name in REQUEST_FIELDS}
    factors |= {name: {"description": rule["description"], **_levels(rule)} for name, rule in own.items()}
    return {
        "row": _named({"id": {**own_id, **_FILE_NAME}, **given}, _ONE_VALUE),
        "values": {**_named({**given, "id": _refused(_OF_ONE_ROW)}, _ONE_VALUE), **_PERHAPS_MAP},
        "factors": {**_named({**factors, **no_factor}, _ref("levels")), **_PERHAPS_MAP},
        **_ways_to_say_levels(),
        "combination": {**_named(matched, _TEXT), "minProperties": 1},
        "combinations": {
            **_named({name: _or_several(rule) for name, rule in matched.items()}, _or_several(_TEXT)),
            "minProperties": 1,
        },
        "names": {
            "propertyNames": {"pattern": _NAME, "patternErrorMessage": _NAME_FAULT},
            "patternProperties": {_secret_names(): _refused(HOLDS_NO_KEY), "^variant$": _refused(_VARIANT)},
        },
    }


def _named(fields: Schema, variable: Schema) -> Schema:
    """Fields, and variables of any name but those that no row may have."""
    return {
        "type": "object",
        "properties": fields,
        "additionalProperties": variable,
        "allOf": [_ref("names")],
    }


def _secret_names() -> str:
    # As `names.is_secret` folds them; `key` and `token` may be declared as words, which only `plan` sees.
    gap = r"[\s_.\-]*"
    loose = re.sub("[a-z]", lambda found: f"[{found[0].upper()}{found[0]}]{gap}", SECRET_NAMES.pattern)
    return f"^(?!{gap}({_any_case(['key', 'token'])})[Ss]?{gap}$){gap}({loose})([Ss]{gap})?$"


# How rows multiply


def _levels(item: Schema) -> Schema:
    # A value that stands there twice is left to `plan`: 1 and 1.0 are two texts, and one number to an editor.
    return {"anyOf": [_list_of(item), _ref("listed_in_a_file"), _ref("range")]}


def _ways_to_say_levels() -> Schema:
    return {
        "levels": {
            "description": "Its values: a list, `{file: name.txt}`, or a range `{from, to, step}`.",
            "examples": [["ink", "photo"], {"file": "moods.txt"}, {"from": 0.5, "to": 1.0, "step": 0.1}],
            **_levels(_TEXT),
        },
        "listed_in_a_file": _closed(
            ["file"],
            file=(_TEXT, "A text file with one value a line, a YAML list, or a table.", "moods.txt"),
            column=(_TEXT, "Which column of a table holds the values.", "mood"),
            sheet=(_TEXT, "Which sheet of an Excel workbook is the table.", "Moods"),
        ),
        "range": _closed(
            ["from", "to"],
            **{"from": (_NUMBER, "The first value.", 0.5)},
            to=(_NUMBER, "The last value.", 1.0),
            step=(_NUMBER, "From one value to the next; 1 if not given.", 0.1),
        ),
    }


# What a block has


def _block(names: Iterable[str]) -> Schema:
    fields = "|".join(name for name in REQUEST_FIELDS if name not in names)
    return {
        "type": "object",
        "properties": _refs(names),
        "patternProperties": {f"^({fields})$": _refused(_FIELD_AT_THE_TOP)},
        "additionalProperties": False,
    }


def _block_rules() -> Schema:
    variants = {**_WHOLE_NUMBER, "minimum": 1, "maximum": MAX_VARIANTS}
    return {
        "name": {**_FILE_NAME, "minLength": 1},
        "variants": {**variants, "type": [*variants["type"], "null"]},
        "defaults": _ref("values"),
        "rows": _list_of(_ref("row")),
        **_table_rules(),
        **_combination_rules(),
        "id": {**_TEXT, **_TEMPLATE, "minLength": 1},
        "variables": {"type": "array", "items": {**_PERHAPS_TEXT, "not": {"enum": list(ROW_NAMES)}}},
        "blocks": _list_of(_ref("block")),
    }


def _table_rules() -> Schema:
    """Of rows that stand in a file, and which of them."""
    endings = _any_case(ending.removeprefix(".") for ending in ENDINGS)
    packed = "|".join(_any_case([ending]).replace(".", r"\.") for ending in PACKED)
    return {
        "table": {
            "type": "string",
            "pattern": rf"\.({endings})({packed})?$|^[^.]*$|[/\\][^.]*$",
            "patternErrorMessage": f"tables end in {' '.join(ENDINGS)}",
        },
        "sheet": {**_TEXT, "minLength": 1},
        "images_from": {**_TEXT, "minLength": 1},
        "skip": {
            "type": ["object", "null"],
            "properties": {
                reason: {"description": f"Rows with {words}.", **_fields(())["web_search"]}
                for reason, words in REASONS.items()
            },
            "additionalProperties": False,
        },
        "from": {**_TEXT, "minLength": 1},
        "columns": {**_named({}, _TEXT), **_PERHAPS_MAP},
        "where": {
            **_PERHAPS_MAP,
            "additionalProperties": {"anyOf": [_PERHAPS_TEXT, _list_of(_PERHAPS_TEXT)]},
        },
    }


def _combination_rules() -> Schema:
    """Of rows that are combined from lists, and how many of them."""
    return {
        "styles": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                _closed(
                    ["table"],
                    table=({"type": "string"}, "The table.", "styles.csv"),
                    template=(_TEXT, "Its column with the texts; `prompt`, if not given.", "prompt"),
                    name=(_TEXT, "Its column with the names; `name`, if not given.", "name"),
                    only=(_list_of(_TEXT), "The names of those that are used; else all.", ["Anime", "Ink"]),
                ),
            ]
        },
        "zip": _ref("factors"),
        "matrix": _ref("factors"),
        "exclude": {**_list_of(_ref("combinations")), **_PERHAPS_LIST},
        "include": {**_list_of(_ref("combination")), **_PERHAPS_LIST},
        "sample": {
            **_closed(
                ["n"],
                n=({**_WHOLE_NUMBER, "minimum": 1}, "How many combinations are drawn.", 200),
                seed=(_WHOLE_NUMBER, "Another number draws other ones; 0 if not given.", 1),
            ),
            **_PERHAPS_MAP,
        },
    }


def _one_source() -> Iterator[Schema]:
    for first, second in combinations(_SOURCES, 2):
        then = {"properties": {second: _refused(_ONE_SOURCE)}}
        yield {"if": {"required": [first, second]}, "then": then}


def _sources_needed() -> Iterator[Schema]:
    """`columns` and `where` choose from a source: their own block's, or the one that stands at the top."""
    given = [{"required": [name]} for name in ("table", "images_from", "from")]
    lonely = {"properties": {key: _refused(_NEEDS_SOURCE) for key in ("columns", "where")}}
    yield {"if": {"not": {"anyOf": [*given, {"required": ["blocks"]}]}}, "then": lonely}
    inner = {"items": {"if": {"not": {"anyOf": given}}, "then": lonely}}
    yield {"if": {"not": {"anyOf": given}}, "then": {"properties": {"blocks": inner}}}
