"""A run at one moment, in words: a block of a few lines for a terminal, and one line for a log."""

from __future__ import annotations

from collections.abc import Sequence

from nanobanana_batch.live.snapshot import Live, State
from nanobanana_batch.visible import visible_line
from nanobanana_batch.wording import amount, clock_text, cut, duration_text, with_money

_SEPARATOR = " · "
_NARROWEST = 24
_WAITED_FOR = {"quota": "for the daily quota", "wait": "as the provider asks"}
_DOWN = {
    "submit": "provider down",
    "read": "tasks cannot be read",
    "unclear": "the provider is not understood",
    "fetch": "images cannot be fetched or saved",
    "keep": "replies that are paid for cannot be saved",
}


def state_text(live: Live) -> str:
    """What it does, in a few words: `sending`, `provider down since 02:48, next try in 40 s, …`."""
    if live.state is State.WAITING:
        until = f" until {clock_text(live.held_until, live.at)}" if live.held_until else ""
        text = f"waiting{until} {_WAITED_FOR.get(live.about, '')}".rstrip()
    elif live.about in _DOWN and live.state in (State.DOWN, State.BLOCKED):
        text = _down_text(live)
    else:
        text = live.state.value
    if live.interrupted or live.state is State.COLLECTING:
        collecting = _collecting_text(live)
        return collecting if live.state is State.COLLECTING else f"{collecting}; {text}"
    return text


def block(live: Live, width: int) -> list[str]:
    """The lines below the bar: what it does, what came of it, what it costs, what went wrong last.

    None is wider than `width` columns, but for a single part that is.
    """
    doing = [state_text(live), *_flight_parts(live), *_pace_parts(live), _end_text(live)]
    come = [_counts_text(live), _credits_text(live)]
    return [*_fitted(doing, width), *_fitted(come, width), *trouble_lines(live, width)]


def log_line(live: Live) -> str:
    """All of it in one line, for where no terminal is."""
    done = f"{live.completed:,} of {live.rows:,} done"
    counts = [done, *_bad_parts(live)]
    pace = _joined([*_flight_parts(live), *_pace_parts(live)], ", ")
    return _joined(
        [f"{state_text(live)}: {', '.join(counts)}", pace, _credits_text(live), _end_text(live)], "; "
    )


def trouble_lines(live: Live, width: int) -> list[str]:
    """The latest troubles, each with its time."""
    return [
        cut(f"{clock_text(at, live.at, seconds=True)} {visible_line(text)}", max(width, _NARROWEST))
        for at, text in live.troubles
    ]


def _collecting_text(live: Live) -> str:
    if live.interrupted and live.collects_of:
        come = max(live.collects_of - live.in_flight, 0)
        return f"collecting what is paid for, {come:,} of {live.collects_of:,}"
    return f"collecting the last {live.in_flight:,}" if live.in_flight else "collecting"


def _down_text(live: Live) -> str:
    parts = [_DOWN[live.about]]
    if live.held_since is not None:
        parts[0] += f" since {clock_text(live.held_since, live.at)}"
    if live.next_try_at is not None:
        in_s = live.next_try_at - live.at
        parts.append(f"next try in {duration_text(in_s)}" if in_s >= 1 else "trying now")
    if live.gives_up_at is not None:
        parts.append(f"gives up at {clock_text(live.gives_up_at, live.at)}")
    return ", ".join(parts)


def _flight_parts(live: Live) -> list[str]:
    if not live.in_flight and live.state is State.STARTING:
        return []
    text = f"{live.in_flight:,} in flight"
    if live.in_flight_allowed and not live.interrupted:
        text += f" of {live.in_flight_allowed:,} allowed"
    return [text, *([visible_line(live.slowed)] if live.slowed else [])]


def _pace_parts(live: Live) -> list[str]:
    parts = []
    if live.images_per_s and live.state in (State.SENDING, State.COLLECTING):
        parts.append(_rate_text(live.images_per_s))
    if live.last_image_at is not None:
        parts.append(f"last image {duration_text(max(live.at - live.last_image_at, 0.0))} ago")
    return parts


def _rate_text(per_s: float) -> str:
    """`0.52 images/s`, or a minute where that is easier to grasp."""
    if per_s >= 0.1:
        return f"{amount(per_s)} images/s"
    return f"{amount(60 * per_s)} images/min"


def _counts_text(live: Live) -> str:
    return ", ".join([f"{live.completed:,} done", *_bad_parts(live)])


def _bad_parts(live: Live) -> list[str]:
    counts = {
        "failed": live.failed,
        "refused": live.refused,
        "expired": live.expired,
        "unknown": live.unknown,
    }
    return [f"{count:,} {name}" for name, count in counts.items() if count]


def _credits_text(live: Live) -> str:
    used, rate = live.credits_used, live.credits_per_usd
    if live.completed and not used and live.credits_cap is None:
        return ""  # nobody tells what they cost, which is not nothing
    text = with_money(f"{amount(used)} credits", used, rate)
    if live.credits_cap is not None:
        text += f" of {amount(live.credits_cap)}"
    if live.credits_projected is not None and live.credits_projected > used:
        all_ = with_money(amount(live.credits_projected), live.credits_projected, rate)
        text += f", about {all_} when all is made"
    return text


def _end_text(live: Live) -> str:
    if live.done_at is not None:
        left_s = max(live.done_at - live.at, 0.0)
        return f"done about {clock_text(live.done_at, live.at)} (in {duration_text(left_s)})"
    return f"end: {live.not_said}" if live.not_said else ""


def _fitted(parts: Sequence[str], width: int) -> list[str]:
    """The parts on as few lines as they fit on."""
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + len(_SEPARATOR) + len(part) <= width:
            lines[-1] += _SEPARATOR + part
        else:
            lines.append(part)
    return lines


def _joined(parts: Sequence[str], separator: str = _SEPARATOR) -> str:
    return separator.join(filter(None, parts))
