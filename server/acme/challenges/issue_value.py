"""The value of CAA's issue properties, which dns-persist-01 has too (RFC 8659 section 4.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = r"[A-Za-z0-9](?:-*[A-Za-z0-9])*"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PARAMETER = re.compile(rf"(?P<tag>{_LABEL})[ \t]*=[ \t]*(?P<value>[\x21-\x3a\x3c-\x7e]*)")
_SPACE = " \t"


@dataclass(frozen=True, slots=True)
class IssueValue:
    """A well-formed value.

    Attributes:
        domain: the issuer's domain name in lower case, empty when nobody may issue.
        parameters: tags in lower case with values, in their order, repeated ones too.
    """

    domain: str
    parameters: tuple[tuple[str, str], ...] = ()

    def all(self, tag: str) -> tuple[str, ...]:
        """Return the values of a parameter."""
        return tuple(value for each, value in self.parameters if each == tag)


def parse_issue_value(text: str) -> IssueValue | None:
    """Return the value, None when it does not follow the grammar."""
    domain, _, rest = text.partition(";")
    domain = domain.strip(_SPACE)
    if domain and not _DOMAIN.fullmatch(domain):
        return None
    parameters: list[tuple[str, str]] = []
    if rest.strip(_SPACE):
        for part in rest.split(";"):
            found = _PARAMETER.fullmatch(part.strip(_SPACE))
            if found is None:
                return None
            parameters.append((found["tag"].lower(), found["value"]))
    return IssueValue(domain.lower(), tuple(parameters))
