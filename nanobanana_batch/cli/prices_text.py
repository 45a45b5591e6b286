"""How prices look on the screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nanobanana_batch.cli.text import screen_width, table
from nanobanana_batch.pricing.book import REFRESH, Source
from nanobanana_batch.wording import amount, counted, money_text

if TYPE_CHECKING:
    from nanobanana_batch.jobs.prices import PricedModel, PriceReport


def prices_text(report: PriceReport) -> str:
    """Where prices come from and how old they are, then each, then what is not in the table."""
    if report.is_free:
        return f"{report.provider}: a service on this machine, which costs nothing."
    parts = [[_heading(report)], _table_lines(report), list(_notes(report))]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _heading(report: PriceReport) -> str:
    rate = report.credits_per_usd
    money = f" 1 USD is {amount(rate)} credits." if rate is not None else ""
    if report.url is None:
        return f"{report.provider} publishes no price list.{money}"
    if report.read_at is None:
        return f"{report.provider}: no price list was read yet; {REFRESH} reads {report.url}.{money}"
    day = report.read_at[:10] + _age(report.age_days)
    return f"{report.provider}: price list of {day}, {report.url}.{money}"


def _age(days: int | None) -> str:
    if days is None or days < 0:
        return ""
    return " (today)" if days == 0 else f" ({counted(days, 'day')} old)"


def _table_lines(report: PriceReport) -> list[str]:
    """Resolutions with one price share a line."""
    rate = report.credits_per_usd
    sizes: dict[tuple[str, ...], list[str]] = {}
    for price in report.prices:
        if price.credits is not None:
            sizes.setdefault(_cells(price, price.credits, rate), []).append(price.resolution or "-")
    money = [] if rate is None else ["USD"]
    header = ("model", "resolution", "credits", *money, "+ an input image", "from")
    rows = [(model, " ".join(names), *cells) for (model, *cells), names in sizes.items()]
    return [f"  {line}" for line in table(header, rows).splitlines()] if rows else []


def _cells(price: PricedModel, credits: float, credits_per_usd: float | None) -> tuple[str, ...]:
    money = [] if credits_per_usd is None else [money_text(credits, credits_per_usd)]
    more = amount(price.credits_an_input_image) if price.credits_an_input_image else ""
    day = f" of {price.day}" if price.day and price.source is Source.PROFILE else ""
    return price.model, amount(credits), *money, more, f"{price.source}{day}"


def _notes(report: PriceReport) -> Iterator[str]:
    yield from (f"warning: {warning}" for warning in report.warnings)
    silent = dict.fromkeys(price.model for price in report.prices if price.credits is None)
    if silent:
        yield _listed("Nobody says what these cost:", list(silent))
        if report.url is None:
            yield "A profile may give prices (docs/providers.md); a run with --pilot shows what rows cost."
    if others := list(dict.fromkeys(price.model for price in report.others)):
        yield _listed("Only the list knows (--json has their prices):", others)
    if report.unpriced:
        said = [f"{name} (by {', '.join(units) or '?'})" for name, units in report.unpriced.items()]
        yield _listed("In the list, and not priced by image:", said)
    if report.read_at is not None:
        yield "At most, as the list reads; what the provider reserves for a request is what counts."


def _listed(words: str, names: Sequence[str]) -> str:
    text = f"{words} {', '.join(names)}"
    return textwrap.fill(text, screen_width(), subsequent_indent="  ", break_on_hyphens=False)
