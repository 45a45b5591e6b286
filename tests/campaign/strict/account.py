"""Money: what a task costs, what is left, and the public price list."""

from __future__ import annotations

from typing import Any

from .rules import CREDITS, MODELS

_CREDITS_PER_USD = 68
PRICES: dict[str, Any] = {
    "success": True,
    "data": [
        {
            "sku_id": "strict-1",
            "sku_name": "Nano Banana 2",
            "model_name": "gemini-3.1-flash-image-preview",
            "model_type": "image",
            "billing_rule": "per_call",
            "cny_price": 0.2,
            "price_range": {
                "min_usd": CREDITS["0.5K"] / _CREDITS_PER_USD,
                "max_usd": CREDITS["0.5K"] / _CREDITS_PER_USD,
            },
            "resolution_multipliers": {
                name.lower(): credits / CREDITS["0.5K"] for name, credits in CREDITS.items()
            },
        }
    ],
}


def price(body: dict[str, Any]) -> float:
    """Credits for a task; the default is 2K where there are resolutions."""
    has_resolutions = bool(MODELS[body["model"]].resolutions)
    return CREDITS[body.get("quality", "2K")] if has_resolutions else CREDITS["1K"]


def balance(whole: float, left: float) -> dict[str, Any]:
    """The reply about credits."""
    user = {"remaining_credits": left, "used_credits": whole - left}
    return {
        "data": {"token": {**user, "unlimited_credits": False}, "user": user},
        "message": "ok",
        "success": True,
    }
