"""What one model allows in one dialect, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from nanobanana_batch.catalog.extras import Extra, Wire

BUILT_IN = "built in"
ANY_RESOLUTION = "any"


@dataclass(frozen=True, slots=True)
class ModelRules:
    """What one model allows in one dialect; empty means "not offered", `None` means "not stated"."""

    name: str
    dialect: str
    title: str = ""
    aliases: tuple[str, ...] = ()
    """Names that only mean this model: its own name is sent, and stands in the row key."""
    older_names: tuple[str, ...] = ()
    """Names by which it was known before: rows that have them keep them, and they are sent as written."""
    maker: str = ""
    retired_on: str = ""
    """The day on which its maker switched this name off; providers may list it all the same."""
    aspect_ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    default_aspect_ratio: str | None = None
    default_resolution: str | None = None
    max_images: int | None = None
    max_image_bytes: int | None = None
    output_formats: tuple[str, ...] = ()
    web_search: bool = False
    image_search: bool = False
    thinking_levels: tuple[str, ...] = ()
    fields: Mapping[str, Wire | None] = dataclass_field(default_factory=dict)
    """Our fields that are written otherwise for this model than for others; None: not offered."""
    extra: Mapping[str, Extra] = dataclass_field(default_factory=dict)
    """Settings of its own, by their names in manifests."""
    credits: Mapping[str, float] | None = None
    """What one image costs by resolution, or `any`; the contract names no prices, a profile may."""
    credits_as_of: str = ""
    source: str = BUILT_IN
    """Who says all this."""

    def values_of(self, field: str) -> tuple[str, ...] | None:
        """The texts that one of our fields may have here; None where they are not listed."""
        lists = {
            "aspect_ratio": self.aspect_ratios,
            "resolution": self.resolutions,
            "output_format": self.output_formats,
            "thinking_level": self.thinking_levels,
            "web_search": ("true", "false") if self.web_search else (),
            "image_search": ("true", "false") if self.image_search else (),
        }
        return lists.get(field)

    def offers(self, field: str) -> bool:
        """Whether a request may give this field of ours."""
        values = self.values_of(field)
        return self.max_images != 0 if field == "images" else values is None or bool(values)
