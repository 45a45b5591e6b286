"""Credits as money: nothing rests on it, it only tells."""

from __future__ import annotations

_SMALLEST_USD = 0.0001


def money_text(credits: float, credits_per_usd: float | None) -> str:
    """What credits cost, such as `$12.40` or `$0.094`; empty where that is not known."""
    if credits_per_usd is None:
        return ""
    usd = credits / credits_per_usd
    if abs(usd) >= 1 or usd == 0:
        return f"${usd:,.2f}" if usd else "$0"
    if abs(usd) < _SMALLEST_USD:
        return f"under ${_SMALLEST_USD}"
    return f"${usd:.3g}"
