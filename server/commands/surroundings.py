"""What the policy commands need of a deployment: its policy files, ceilings and issuers, without any secret of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from policies.document import DocumentErrors
from policies.profile import Ceilings, IssuerFacts
from policies.profile_set import ProfileSet, UnknownProfile
from server.commands.places import USUAL_PLACES
from server.config import load_config
from server.policy_files import contradictions, policy_paths, read_ceilings, read_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from policies.document import DocumentProblem
    from policies.profile import PolicyFile
    from server.config import Config

_USUAL_CEILINGS = Ceilings(timedelta(days=825))
_ANY_TIME = IssuerFacts(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A deployment, or none: files can be checked without one, against the usual ceilings and any issuer.

    Attributes:
        config: its configuration, None without one.
        ceilings: the limits of the configuration.
    """

    config: Config | None
    ceilings: Ceilings

    @classmethod
    def find(cls, given: Path | None) -> Surroundings:
        """Read the configuration that was given, or that is in a usual place. Raises DocumentErrors."""
        path = given or next((place for place in USUAL_PLACES if place.is_file()), None)
        if path is None:
            return cls(None, _USUAL_CEILINGS)
        config = load_config(path)
        return cls(config, read_ceilings(config))

    def files(self, paths: Sequence[Path]) -> tuple[PolicyFile, ...]:
        """Read the files, those of folders, or without any those of the configuration. Raises DocumentErrors."""
        if not paths:
            paths = [Path("policies") if self.config is None else self.config.policies]
        every = [file for path in paths for file in (policy_paths(path) if path.is_dir() else (path,))]
        return _read(every)

    def profiles(self, files: Iterable[PolicyFile], *, selecting: bool = False) -> ProfileSet:
        """Return the profiles together, with the endpoints' choice when `selecting`. Raises DocumentErrors."""
        profiles = [profile for file in files for profile in file.profiles]
        if self.config is None:
            issuers = {profile.sections.issuer: _ANY_TIME for profile in profiles}
            return ProfileSet(profiles, ceilings=self.ceilings, issuers=issuers)
        config = self.config
        endpoints = {name: endpoint.every_profile() for name, endpoint in config.endpoints.all().items()}
        try:
            chosen = ProfileSet(
                profiles,
                ceilings=self.ceilings,
                issuers=_issuers(config),
                endpoints=endpoints if selecting else None,
            )
        except UnknownProfile as error:
            place = ("endpoints", str(error.endpoint), "profiles")
            raise DocumentErrors([config.problem(place, str(error))]) from error
        mismatches = contradictions(chosen, config)
        if mismatches:
            raise DocumentErrors(mismatches)
        return chosen


def _issuers(config: Config) -> Mapping[str, IssuerFacts]:
    """Read the issuers' certificates; their keys are not touched."""
    issuers = {}
    problems: list[DocumentProblem] = []
    for name, issuer in config.issuers.items():
        try:
            certificate = x509.load_pem_x509_certificate(issuer.certificate.read_bytes())
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            message = f"{issuer.certificate} can't be read: {cause}"
            problems.append(config.problem(("issuers", name, "certificate"), message))
        else:
            issuers[name] = IssuerFacts(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    if problems:
        raise DocumentErrors(problems)
    return issuers


def _read(paths: Iterable[Path]) -> tuple[PolicyFile, ...]:
    files: list[PolicyFile] = []
    problems: list[DocumentProblem] = []
    for path in paths:
        try:
            files.append(read_policy(path))
        except DocumentErrors as errors:
            problems += errors.problems
    if problems:
        raise DocumentErrors(problems)
    return tuple(files)
