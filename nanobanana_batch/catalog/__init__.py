"""What each model of each dialect allows: data, and the checks against it."""

from nanobanana_batch.catalog.catalog import Catalog, load_catalog
from nanobanana_batch.catalog.checks import (
    IMAGE_ENDINGS,
    MATCH_INPUT,
    PROMPT_LIMIT,
    PromptFault,
    check_images,
    check_prompt,
    is_local,
    prompt_fault,
    read_extra,
)
from nanobanana_batch.catalog.extras import FALSE, TRUE, Extra, Wire
from nanobanana_batch.catalog.findings import Finding
from nanobanana_batch.catalog.rules import ANY_RESOLUTION, BUILT_IN, ModelRules

__all__ = [
    "ANY_RESOLUTION",
    "BUILT_IN",
    "FALSE",
    "IMAGE_ENDINGS",
    "MATCH_INPUT",
    "PROMPT_LIMIT",
    "TRUE",
    "Catalog",
    "Extra",
    "Finding",
    "ModelRules",
    "PromptFault",
    "Wire",
    "check_images",
    "check_prompt",
    "is_local",
    "load_catalog",
    "prompt_fault",
    "read_extra",
]
