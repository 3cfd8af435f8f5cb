"""What policy files cost: reading many, and deciding by them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import cycle, islice
from time import process_time
from typing import TYPE_CHECKING

from policies.cases import Given
from policies.profile import Ceilings, IssuerFacts, parse_policy
from policies.profile_set import ProfileSet
from policies.trial import TEST_NOW, failed_tests, request_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from policies.profile import PolicyFile
    from policies.request import EnrollmentRequest

_CEILINGS = Ceilings(timedelta(days=825))
_ISSUER = IssuerFacts(TEST_NOW - timedelta(days=365), TEST_NOW + timedelta(days=3650))


@dataclass(frozen=True, slots=True)
class Loading:
    """What reading cost.

    Attributes:
        profiles: how many there were.
        reading: CPU seconds to read and compile them.
        testing: CPU seconds to run the tests inside them.
        tests: how many these were.
        loaded: the profiles.
    """

    profiles: int
    reading: float
    testing: float
    tests: int
    loaded: ProfileSet


def many(texts: Iterable[str], count: int) -> Mapping[str, str]:
    """Return so many files with one profile each, made of these by calling their profiles otherwise."""
    files = {}
    for number, text in enumerate(islice(cycle(texts), count)):
        found = re.search(r"^profiles:\n(?:\s*#.*\n|\n)*  ([a-z0-9-]+):$", text, re.MULTILINE)
        if found is None:
            raise ValueError("a file must begin with one profile")
        name = f"{found[1]}-{number}"
        files[f"{name}.yaml"] = text.replace(f"\n  {found[1]}:\n", f"\n  {name}:\n", 1)
    return files


def measure_loading(files: Mapping[str, str]) -> Loading:
    """Read the files, as a server does when it starts. Raises DocumentErrors for what is wrong in them."""
    began = process_time()
    read: list[PolicyFile] = [parse_policy(text, name) for name, text in files.items()]
    profiles = [profile for file in read for profile in file.profiles]
    issuers = {profile.sections.issuer: _ISSUER for profile in profiles}
    loaded = ProfileSet(profiles, ceilings=_CEILINGS, issuers=issuers)
    reading = process_time() - began
    began = process_time()
    for file in read:
        for problem in failed_tests(file, _CEILINGS):
            raise ValueError(str(problem))
    tests = sum(len(file.tests) for file in read)
    return Loading(len(profiles), reading, process_time() - began, tests, loaded)


def measure_deciding(profiles: ProfileSet, request: EnrollmentRequest, count: int) -> float:
    """Return the CPU time of one decision in seconds."""
    for _ in range(min(count, 100)):
        profiles.decide(request)
    began = process_time()
    for _ in range(count):
        profiles.decide(request)
    return (process_time() - began) / count


def question(profile: str, **given: object) -> EnrollmentRequest:
    """Return a request for a profile, as tests inside files describe it."""
    return replace(request_of(Given.model_validate(given), profile), profile=profile)
