"""The types of an export's columns as the Hub and `datasets` write them down."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobanana_batch.exports.columns import Column, Type

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Feature:
    """A column by the name of its type there."""

    name: str
    type: str


def features_of(columns: Iterable[Column], images: Iterable[str] = (IMAGE,)) -> tuple[Feature, ...]:
    """Those of pictures, then those of what is told of them."""
    pictures = [Feature(name, IMAGE) for name in images]
    return (*pictures, *(Feature(column.name, column.type.value) for column in columns))


def arrow_schema(features: Iterable[Feature]) -> pa.Schema:
    """The same for Parquet, with what makes `datasets` and the Hub see pictures in it."""
    import pyarrow as pa

    kinds = {
        IMAGE: pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        Type.TEXT.value: pa.string(),
        Type.WHOLE.value: pa.int64(),
        Type.NUMBER.value: pa.float64(),
        Type.TRUTH.value: pa.bool_(),
    }
    listed = list(features)
    told = {
        each.name: {"_type": "Image"} if each.type == IMAGE else {"dtype": each.type, "_type": "Value"}
        for each in listed
    }
    schema = pa.schema([pa.field(each.name, kinds[each.type]) for each in listed])
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": told}})})
