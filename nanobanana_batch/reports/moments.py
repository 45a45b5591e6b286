"""Moments as this machine's clock shows them, with the name of its zone said once."""

from __future__ import annotations

from datetime import datetime


def moment(at: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """A moment (Unix seconds); `?` where no clock shows it."""
    try:
        return datetime.fromtimestamp(at).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "?"


def zone(at: float) -> str:
    """The zone at that moment, such as `CET (UTC+01:00)`."""
    try:
        found = datetime.fromtimestamp(at).astimezone()
    except (ValueError, OverflowError, OSError):
        return "?"
    name, offset = found.strftime("%Z"), found.strftime("%z")
    ahead = f"UTC{offset[:3]}:{offset[3:5]}" if offset.strip("+-0") else "UTC"
    return name if name == ahead else f"{name} ({ahead})"


def offset_s(at: float) -> float:
    """How far this machine's clock is ahead of UTC then."""
    try:
        found = datetime.fromtimestamp(at).astimezone().utcoffset()
    except (ValueError, OverflowError, OSError):
        return 0.0
    return found.total_seconds() if found is not None else 0.0


def between(began: float, ended: float) -> str:
    """From when to when; the day of the second one only where it is another one."""
    is_same_day = moment(began, "%Y-%m-%d") == moment(ended, "%Y-%m-%d")
    return f"{moment(began)} to {moment(ended, '%H:%M' if is_same_day else '%Y-%m-%d %H:%M')}"
