"""The requester's own name, for patterns and values that depend on who asks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from policies.patterns import REQUESTER

if TYPE_CHECKING:
    from policies.request import EnrollmentRequest

_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@ -]{0,62}[A-Za-z0-9])?")
NOBODY = "\x00"
"""Stands for a name that can't be used in a certificate; no pattern with it matches anything."""


class UnusableRequester(ValueError):
    """A value depends on the requester's name, and that has characters that can't go into a certificate."""


def requester_name(request: EnrollmentRequest) -> str:
    """Return the identity without its kind, or `NOBODY` where it is not plain text of at most 64 characters."""
    name = request.requester.identity.partition(":")[2]
    return name if _PLAIN.fullmatch(name) else NOBODY


def expand(template: str, name: str) -> str:
    """Put the requester's name into a value. Raises UnusableRequester."""
    if REQUESTER not in template:
        return template
    if name == NOBODY:
        raise UnusableRequester("the requester's name can't be part of a certificate")
    return template.replace(REQUESTER, name)
