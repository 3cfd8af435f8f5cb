"""The outcomes of policy tests as JUnit XML, which build pipelines read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from policies.decision import Location
    from policies.document import DocumentProblem
    from policies.profile import PolicyFile

    Outcome = tuple[PolicyFile, Mapping[Location, DocumentProblem]]

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes: for each file the tests that fail, by their places."""
    return "".join(f"{line}\n" for line in _lines(outcomes))


def _lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield "<testsuites>"
    for file, failed in outcomes:
        name = _attribute(file.file)
        yield f'  <testsuite name={name} tests="{len(file.tests)}" failures="{len(failed)}" errors="0" skipped="0">'
        for case, place in file.tests:
            start = f'    <testcase classname={name} name={_attribute(case.name)} file={name} line="{place.line}"'
            problem = failed.get(place)
            if problem is None:
                yield f"{start}/>"
            else:
                yield f"{start}><failure message={_attribute(str(problem))}/></testcase>"
        yield "  </testsuite>"
    yield "</testsuites>"


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))
