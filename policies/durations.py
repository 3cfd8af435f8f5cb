"""Durations as policy and configuration files write them: ``90d``, ``12h``, ``5m``."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_DURATION = re.compile(r"([0-9]{1,6})([smhdwy])")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}


def parse_duration(text: object) -> timedelta:
    """Read a whole number with its unit: s, m (minutes), h, d, w or y (365 days). Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a duration is a number with a unit (s, m, h, d, w, y), like 90d")
    number, unit = match.groups()
    return int(number) * _UNITS[unit]


def duration_text(duration: timedelta) -> str:
    """Return a duration as files write it, in the largest unit that fits without a rest."""
    seconds = round(duration.total_seconds())
    for unit in "dhm":
        size = round(_UNITS[unit].total_seconds())
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


@lru_cache(maxsize=256)  # each decision says its periods, which are nearly always the same
def duration_words(duration: timedelta) -> str:
    """Return a duration for people: in the largest unit that fits, and what is left over in smaller ones."""
    left, words = round(duration.total_seconds()), []
    for unit in "dhms":
        size = round(_UNITS[unit].total_seconds())
        number, left = (left // size, left % size) if left >= size else (0, left)
        if number:
            words.append(f"{number}{unit}")
    return " ".join(words) or f"{left}s"


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhdwy]$"})
]
"""A pydantic field that is written ``90d`` and read as timedelta."""
