"""The folder of policy files: read, tested and compiled; what is wrong in any of them is reported at once."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from ca.csr import MalformedCsr, parse_csr
from policies.decision import Location
from policies.document import DocumentErrors, DocumentProblem, did_you_mean
from policies.profile import Ceilings, parse_policy
from policies.profile_set import ProfileSet
from policies.trial import failed_tests
from server.stamps import stamps

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from pathlib import Path

    from ca.csr import Csr
    from policies.profile import IssuerFacts, PolicyFile
    from policies.request import EndpointName
    from server.config import Config

_BLOCKED = re.compile(r"[0-9a-f]{64}|[0-9a-f]{20}")
PEM_CSR = re.compile(rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----(.+?)-----END", re.DOTALL)
SUFFIXES = frozenset({".yaml", ".yml"})


def policy_paths(folder: Path) -> tuple[Path, ...]:
    """Return the policy files of a folder, sorted, without hidden ones. Raises DocumentErrors if there is none."""
    try:
        every = sorted(folder.iterdir())
    except OSError as error:
        raise DocumentErrors([_at(folder, f"can't read the folder of policy files: {error.strerror}")]) from error
    paths = tuple(path for path in every if path.suffix in SUFFIXES and not path.name.startswith("."))
    if not paths:
        raise DocumentErrors([_at(folder, "there is no policy file (*.yaml) in this folder: nothing would be issued")])
    return paths


def read_policy(path: Path) -> PolicyFile:
    """Read and compile one policy file; its tests are not run. Raises DocumentErrors."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentErrors([_at(path, f"can't read the file: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise DocumentErrors([_at(path, f"the file is not UTF-8 (octet {error.start})")]) from error
    return parse_policy(text, str(path), lambda name: _read_csr(path.parent / name))


def _read_csr(path: Path) -> Csr:
    """Read a certification request, PEM or DER. Raises ValueError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    match = PEM_CSR.search(data)
    if match is not None:
        data = base64.b64decode(b"".join(match[1].split()))
    try:
        return parse_csr(data)
    except MalformedCsr as error:
        raise ValueError(f"{path}: {error}") from error


def load_policies(
    folder: Path,
    *,
    ceilings: Ceilings,
    issuers: Mapping[str, IssuerFacts],
    endpoints: Mapping[EndpointName, tuple[str, ...]] | None = None,
) -> ProfileSet:
    """Read all policy files of a folder and run the tests inside them.

    Args:
        folder: where they are; files ending in .yaml or .yml count.
        ceilings: the limits of the server's configuration.
        issuers: the configured issuers by name.
        endpoints: the profiles of each endpoint, see `ProfileSet`.

    Raises:
        DocumentErrors: everything that is wrong in any file: syntax, keys, values, contradictions, ceilings, unknown
            issuers, and tests that fail.
        UnknownProfile: an endpoint names a profile that there is not, or that does not take it.
    """
    files: list[PolicyFile] = []
    problems: list[DocumentProblem] = []
    for path in policy_paths(folder):
        try:
            files.append(read_policy(path))
        except DocumentErrors as errors:
            problems += errors.problems
    profiles = [profile for file in files for profile in file.profiles]
    try:
        loaded = ProfileSet(profiles, ceilings=ceilings, issuers=issuers)
    except DocumentErrors as errors:
        raise DocumentErrors([*problems, *errors.problems]) from errors
    problems += (problem for file in files for problem in failed_tests(file, ceilings))
    if problems:
        raise DocumentErrors(problems)
    return (
        loaded if endpoints is None else ProfileSet(profiles, ceilings=ceilings, issuers=issuers, endpoints=endpoints)
    )


def read_ceilings(config: Config) -> Ceilings:
    """Return the limits of the configuration, the lists of blocked keys read.

    Raises:
        DocumentErrors: a list can't be read or has lines that name no key.
    """
    blocked: set[str] = set()
    problems: list[DocumentProblem] = []
    for index, path in enumerate(config.ceilings.blocked_keys):
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "not ASCII text"
            place = ("ceilings", "blocked_keys", index)
            problems.append(config.problem(place, f"{path}: can't be read: {cause}"))
            continue
        for number, line in enumerate(text.splitlines(), 1):
            word = line.partition("#")[0].strip().lower()
            if _BLOCKED.fullmatch(word):
                blocked.add(word)
            elif word:
                message = "no key: 64 hexadecimal digits (SHA-256) or 20 (openssl-blacklist)"
                problems.append(DocumentProblem(Location(str(path), number, 1), message))
    if problems:
        raise DocumentErrors(problems)
    return Ceilings(config.ceilings.max_validity, config.ceilings.min_rsa_bits, frozenset(blocked))


def look_at_policies(config: Config) -> Hashable:
    """Return what changes when a policy file or list of blocked keys changes, comes or goes. Raises nothing."""
    try:
        paths = [*policy_paths(config.policies), *config.ceilings.blocked_keys]
    except DocumentErrors:
        paths = list(config.ceilings.blocked_keys)
    return stamps(paths)


def absent_approvers(profiles: ProfileSet, config: Config) -> Iterator[DocumentProblem]:
    """Yield the profiles that need more approvers of a role than the configuration has."""
    for profile in profiles.profiles.values():
        approval = profile.sections.approval
        if approval is None or approval.role is None:
            continue
        persons = set(config.approvers.get(approval.role, ()))
        if approval.role not in config.approvers:
            hint = did_you_mean(approval.role, config.approvers)
            message = f'the server\'s configuration has no role "{approval.role}" under approvers{hint}'
            yield DocumentProblem(profile.place("approval", "role"), message)
        elif len(persons) < approval.count:
            message = f"{approval.count} must approve, but only {len(persons)} have the role {approval.role}"
            yield DocumentProblem(profile.place("approval", "count"), message)


def absent_sources(profiles: ProfileSet, config: Config) -> Iterator[DocumentProblem]:
    """Yield the look-ups whose source the configuration does not have."""
    for profile in profiles.profiles.values():
        for name, lookup in profile.sections.lookups.items():
            if lookup.source not in config.lookups:
                hint = did_you_mean(lookup.source, config.lookups)
                message = f'the server\'s configuration has no "{lookup.source}" under lookups{hint}'
                yield DocumentProblem(profile.place("lookups", name, "source"), message)


def contradictions(profiles: ProfileSet, config: Config) -> tuple[DocumentProblem, ...]:
    """Return where the policy files and the configuration do not fit together."""
    return (
        *foreign_issuers(profiles, config),
        *absent_approvers(profiles, config),
        *absent_sources(profiles, config),
        *misplaced_tests(profiles, config),
    )


def misplaced_tests(profiles: ProfileSet, config: Config) -> Iterator[DocumentProblem]:
    """Yield the profiles that are for testing where nothing is tested, and those that are not where something is."""
    testing = {name for name, endpoint in config.endpoints.acme.items() if endpoint.danger_test_mode is not None}
    for name, endpoint in config.endpoints.all().items():
        for index, each in enumerate(endpoint.profiles):
            profile = profiles.profiles.get(each)
            if profile is None or profile.sections.testing == (name in testing):
                continue
            message = (
                f'profile "{each}" is for testing ({profile.place("testing")}), and {name} is not in test mode'
                if profile.sections.testing
                else f'{name} is in test mode, and profile "{each}" does not say "testing: true"'
            )
            yield config.problem(("endpoints", str(name), "profiles", index), message)


def foreign_issuers(profiles: ProfileSet, config: Config) -> Iterator[DocumentProblem]:
    """Yield the endpoints that hand out the chain of one issuer while a profile of theirs is signed by another."""
    for name, endpoint in config.endpoints.all().items():
        issuer = endpoint.issuer or next(iter(config.issuers))
        for index, each in enumerate(endpoint.profiles):
            profile = profiles.profiles.get(each)
            if profile is not None and profile.sections.issuer != issuer:
                message = (
                    f'{name} hands out the chain of issuer "{issuer}", but profile "{each}" is signed by '
                    f'"{profile.sections.issuer}" ({profile.place("issuer")}): write the same issuer in both'
                )
                yield config.problem(("endpoints", str(name), "profiles", index), message)
    for name, scep in config.endpoints.scep.items():
        own = None if scep.ra_renewal is None else profiles.profiles.get(scep.ra_renewal.profile)
        if own is not None and own.sections.issuer != (scep.issuer or next(iter(config.issuers))):
            message = f'profile "{own.name}" is signed by "{own.sections.issuer}", which is not the endpoint\'s issuer'
            yield config.problem(("endpoints", str(name), "ra_renewal", "profile"), message)
        profile = None if scep.rollover is None else profiles.profiles.get(scep.rollover.profile)
        if scep.rollover is not None and profile is not None and profile.sections.issuer != scep.rollover.issuer:
            message = f'profile "{scep.rollover.profile}" is signed by "{profile.sections.issuer}"'
            yield config.problem(("endpoints", str(name), "rollover", "profile"), message)


def _at(path: Path, message: str) -> DocumentProblem:
    return DocumentProblem(Location(str(path), 1, 1), message)
