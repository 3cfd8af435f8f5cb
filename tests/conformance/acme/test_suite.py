"""The suite itself: nothing of the checklist without a test, and what differs is written down where people read."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.acme.differences import DIFFERENCES

HERE = Path(__file__).parent
CHECKLIST = {
    "TR": 10,
    "JW": 12,
    "PG": 5,
    "NO": 8,
    "RL": 2,
    "ER": 5,
    "DI": 2,
    "AC": 1,
    "OL": 1,
    "OR": 4,
    "ST": 2,
    "NA": 6,
    "AU": 1,
    "TS": 1,
    "EAB": 7,
    "KC": 9,
    "DA": 1,
    "FI": 6,
    "PA": 1,
    "CE": 4,
    "AZ": 4,
    "CH": 2,
    "H1": 1,
    "D1": 1,
    "TA": 1,
    "RV": 4,
    "CA": 1,
    "SE": 1,
    "ARI": 3,
    "PR": 1,
    "IP": 2,
    "DP": 2,
    "DC": 1,
    "SD": 2,
    "AT": 2,
}
LINES = {f"{subject}-{number + 1}" for subject, count in CHECKLIST.items() for number in range(count)}
LINES |= {"ER-0", "NO-O1", "NO-O2"}


def test_every_line_of_the_checklist_has_one_test() -> None:
    found = [
        line for path in HERE.glob("test_*.py") for line in re.findall(r'^@checks\("(.+)"\)$', path.read_text(), 8)
    ]
    assert sorted(found) == sorted(LINES)


def test_the_differences_are_in_the_readme() -> None:
    rows = [f"| {line} | {reason} |" for listed in DIFFERENCES.values() for line, reason in listed.items()]
    told = [row for row in (HERE / "README.md").read_text().splitlines() if re.match(r"\| [A-Z0-9]+-[O0-9]+ \|", row)]
    assert told == rows
