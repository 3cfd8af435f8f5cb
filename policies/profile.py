"""Policy files: one file holds profiles and the tests that they must pass."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from ca.keys import ENCAPSULATING
from ca.plan import KeyUsage
from policies.cases import PolicyTest
from policies.document import (
    Document,
    DocumentErrors,
    DocumentProblem,
    FormatVersion,
    KeyPath,
    Strict,
    did_you_mean,
    open_schema,
    read_document,
)
from policies.durations import duration_words
from policies.fields import KEY_KINDS
from policies.patterns import REQUESTER, Glob, GlobField, placeholders
from policies.request import ENDPOINT_PROTOCOLS
from policies.sections import Sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime, timedelta

    from ca.csr import Csr
    from policies.decision import Location

T = TypeVar("T")

_NOTHING_KNOWN: Mapping[str, str] = {}
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")

_ONLY_FOR: dict[KeyUsage, frozenset[str]] = {
    KeyUsage.DIGITAL_SIGNATURE: frozenset(KEY_KINDS) - ENCAPSULATING,
    KeyUsage.CONTENT_COMMITMENT: frozenset(KEY_KINDS) - ENCAPSULATING,
    KeyUsage.KEY_ENCIPHERMENT: frozenset({"rsa", *ENCAPSULATING}),
    KeyUsage.DATA_ENCIPHERMENT: frozenset({"rsa"}),
    KeyUsage.KEY_AGREEMENT: frozenset({"ec"}),
    KeyUsage.ENCIPHER_ONLY: frozenset({"ec"}),
    KeyUsage.DECIPHER_ONLY: frozenset({"ec"}),
}
"""Which keys can do what (RFC 3279 section 2.3, RFC 5480 section 3, RFC 8410 section 5, RFC 9881 section 5, RFC 9935
section 5)."""


def fits_key(usage: KeyUsage, kind: str) -> bool:
    """Whether a key of this kind can be used so."""
    return kind in _ONLY_FOR.get(usage, frozenset({kind}))


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Limits from outside the policy files, which no policy file can exceed.

    Attributes:
        max_validity: the longest whole period of a certificate.
        min_rsa_bits: the shortest RSA key.
        blocked_keys: keys that are never certified, as `ca.weak_keys.blocked_names` writes them.
    """

    max_validity: timedelta
    min_rsa_bits: int = 2048
    blocked_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class IssuerFacts:
    """What a policy may know of an issuer: the validity of its certificate, aware UTC."""

    not_before: datetime
    not_after: datetime


class _File(Strict):
    version: FormatVersion
    groups: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")], tuple[GlobField, ...]] = Field(
        default_factory=dict
    )
    profiles: dict[str, Sections] = Field(min_length=1)
    tests: tuple[PolicyTest, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile, ready to judge.

    Attributes:
        name: its name, unique in a deployment.
        sections: what its file says.
        digest: SHA-256, hex, of the file.
        clients: patterns, one of which the requester's name matches; None: it is for everybody.
        personal: whether it matters to the profile what the requester is called.
    """

    name: str
    sections: Sections
    digest: str
    clients: tuple[Glob, ...] | None
    personal: bool
    _document: Document[Any] = field(repr=False, compare=False)
    _places: dict[KeyPath, Location] = field(default_factory=dict, repr=False, compare=False)
    _prepared: dict[Callable[[Profile], Any], Any] = field(default_factory=dict, repr=False, compare=False)

    def is_for(self, requester: str) -> bool:
        """Whether the profile is for the requester of this name."""
        return self.clients is None or any(glob.matches(requester, _NOTHING_KNOWN) for glob in self.clients)

    def renews(self, profile: str) -> bool:
        """Whether certificates that were issued under the profile of this name are renewed under this one."""
        section = self.sections.renewal
        return section is not None and profile in (section.profiles or (self.name,))

    def place(self, *path: str | int) -> Location:
        """Return the place of a key below the profile, or of its nearest ancestor that is in the file."""
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = self._document.locate(("profiles", self.name, *path))
        return place

    def prepared(self, prepare: Callable[[Profile], T]) -> T:
        """Return what a rule makes of the profile; it is made once: reading a section takes longer than judging by it.

        Args:
            prepare: a function of a module, which makes it of nothing but the profile, and never None.
        """
        made: T | None = self._prepared.get(prepare)
        if made is None:
            made = self._prepared[prepare] = prepare(self)
        return made


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A file of profiles with its tests, each with its place.

    Attributes:
        file: the name to which locations refer.
        digest: SHA-256, hex, of its text.
        profiles: its profiles, in order; never empty.
        tests: its tests and where each stands.
        csrs: the certification requests that its tests name, by their file names.
    """

    file: str
    digest: str
    profiles: tuple[Profile, ...]
    tests: tuple[tuple[PolicyTest, Location], ...]
    csrs: Mapping[str, Csr] = field(default_factory=dict, repr=False, compare=False)


def file_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of policy files."""
    schema = open_schema(_File)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Certwright policy file",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def parse_policy(text: str, file: str, csr_file: Callable[[str], Csr] | None = None) -> PolicyFile:
    """Read one policy file.

    Args:
        text: the content.
        file: its name, for locations.
        csr_file: reads a certification request beside the file, by its name; raises ValueError with the reason. None:
            there are no files.

    Raises:
        DocumentErrors: with every problem and its place. Nothing else is raised.
    """
    document = read_document(text, file, _File)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    profiles = tuple(
        Profile(name, sections, digest, _clients(document, sections), _is_personal(text, sections), document)
        for name, sections in document.value.profiles.items()
    )
    problems = [problem for profile in profiles for problem in _unknown_groups(document, profile)]
    problems += [problem for profile in profiles for problem in _contradictions(profile)]
    tests = tuple((test, document.locate(("tests", index))) for index, test in enumerate(document.value.tests))
    problems += _test_problems(document, [profile.name for profile in profiles])
    csrs: dict[str, Csr] = {}
    problems += _read_csrs(document, csr_file, csrs)
    if problems:
        raise DocumentErrors(problems)
    return PolicyFile(file, digest, profiles, tests, csrs)


def _read_csrs(
    document: Document[_File], csr_file: Callable[[str], Csr] | None, csrs: dict[str, Csr]
) -> Iterator[DocumentProblem]:
    """Read the certification requests that tests name, and yield what is wrong with them."""
    for index, test in enumerate(document.value.tests):
        name = test.given.csr
        if name is None or name in csrs:
            continue
        place = document.locate(("tests", index, "given", "csr"))
        if csr_file is None:
            yield DocumentProblem(place, "there are no files beside this one")
            continue
        try:
            csrs[name] = csr_file(name)
        except ValueError as error:
            yield DocumentProblem(place, str(error))


def parse_profiles(text: str, file: str) -> tuple[Profile, ...]:
    """Return the profiles of one policy file. Raises DocumentErrors."""
    return parse_policy(text, file).profiles


def ceiling_problems(profile: Profile, ceilings: Ceilings) -> Iterator[DocumentProblem]:
    """Yield where a profile promises more than the ceilings of the server's configuration let through."""
    validity = profile.sections.validity
    if validity.limit > ceilings.max_validity:
        message = (
            f"{duration_words(validity.limit)} of validity, backdating included, is above the ceiling of "
            f"{duration_words(ceilings.max_validity)} in the server's configuration (ceilings: max_validity)"
        )
        yield DocumentProblem(profile.place("validity", "max" if validity.max else "default"), message)
    for index, key in enumerate(profile.sections.key.allowed):
        if key.kind == "rsa" and key.least < ceilings.min_rsa_bits:
            message = (
                f"{key} begins below the ceiling of {ceilings.min_rsa_bits} bits in the server's configuration "
                f"(ceilings: min_rsa_bits)"
            )
            yield DocumentProblem(profile.place("key", "allowed", index), message)


def _clients(document: Document[_File], sections: Sections) -> tuple[Glob, ...] | None:
    if sections.clients is None:
        return None
    groups = (document.value.groups.get(group, ()) for group in sections.clients.groups)
    return (*sections.clients.names, *(glob for group in groups for glob in group))


def _is_personal(text: str, sections: Sections) -> bool:
    by_name = any(lookup.key == "requester" for lookup in sections.lookups.values())
    return REQUESTER in text or "requester." in text or sections.clients is not None or by_name


def _unknown_groups(document: Document[_File], profile: Profile) -> Iterator[DocumentProblem]:
    clients = profile.sections.clients
    for index, group in enumerate(() if clients is None else clients.groups):
        if group not in document.value.groups:
            message = f'"{group}" is no group of this file{did_you_mean(group, document.value.groups)}'
            yield DocumentProblem(profile.place("clients", "groups", index), message)


def _contradictions(profile: Profile) -> Iterator[DocumentProblem]:
    """Yield what each key by itself allows but together makes no sense."""
    sections = profile.sections
    if not _NAME.fullmatch(profile.name):
        yield DocumentProblem(
            profile.place(), f'"{profile.name}" is no name for a profile: lower-case letters, digits and - . _ only'
        )
    for index, endpoint in enumerate(sections.endpoints):
        protocol = endpoint.text.partition("/")[0]
        if protocol not in ENDPOINT_PROTOCOLS:
            message = f'"{protocol}" is no protocol{did_you_mean(protocol, ENDPOINT_PROTOCOLS)}'
            yield DocumentProblem(profile.place("endpoints", index), message)
    yield from _unknown_lookups(profile)
    kinds = {key.kind for key in sections.key.allowed}
    usages = sections.key_usage
    for index, usage in enumerate(usages.forced):
        wrong = sorted(kind for kind in kinds if not fits_key(usage, kind))
        if wrong:
            message = (
                f"{usage} is not for {' or '.join(wrong)} keys, which are allowed here; "
                f"write it under forced_for with the kind of key"
            )
            yield DocumentProblem(profile.place("key_usage", "forced", index), message)
    for kind, bits in usages.forced_for.items():
        for index, usage in enumerate(bits):
            if not fits_key(usage, kind):
                message = f"{usage} is not for {kind} keys"
                yield DocumentProblem(profile.place("key_usage", "forced_for", kind, index), message)


def _unknown_lookups(profile: Profile) -> Iterator[DocumentProblem]:
    """Yield placeholders for look-ups that the profile does not have."""
    sections = profile.sections
    templates: list[tuple[KeyPath, str]] = [
        (("subject", key, word), text)
        for key in ("forced", "default")
        for word, text in getattr(sections.subject, key).items()
    ]
    for word, kind in sections.names.kinds:
        for key in ("forced", "allowed", "default", "forbidden"):
            templates += [(("names", word, key, index), str(text)) for index, text in enumerate(getattr(kind, key))]
    for path, text in templates:
        for placeholder in placeholders(text):
            source, _, rest = placeholder.strip("{}").partition(".")
            name = rest.partition(".")[0]
            if source == "lookup" and name not in sections.lookups:
                message = f'{placeholder}: the profile has no look-up "{name}"{did_you_mean(name, sections.lookups)}'
                yield DocumentProblem(profile.place(*path), message)


def _test_problems(document: Document[_File], names: list[str]) -> Iterator[DocumentProblem]:
    seen: set[str] = set()
    for index, test in enumerate(document.value.tests):
        place = document.locate(("tests", index, "name"))
        if test.name in seen:
            yield DocumentProblem(place, f'a second test is called "{test.name}"')
        seen.add(test.name)
        if test.profile is None and len(names) > 1:
            yield DocumentProblem(
                place, f"the file has several profiles; write profile: with one of {', '.join(names)}"
            )
        elif test.profile is not None and test.profile not in names:
            place = document.locate(("tests", index, "profile"))
            yield DocumentProblem(
                place, f'"{test.profile}" is no profile of this file{did_you_mean(test.profile, names)}'
            )
