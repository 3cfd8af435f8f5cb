"""All profiles of a deployment: which of them judges a request, and the one question that the server asks."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING

from policies.asked import read_request
from policies.decision import Denied, Finding, Location, Trace
from policies.document import DocumentErrors, DocumentProblem, did_you_mean
from policies.engine import decide, objections_to_names
from policies.profile import ceiling_problems
from policies.request import requester_name
from policies.ruling import Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from policies.decision import Decision
    from policies.profile import Ceilings, IssuerFacts, Profile
    from policies.request import EndpointName, EnrollmentRequest

NOWHERE = Location("policies", 1, 1)
"""Where findings stand that no profile made."""


class UnknownProfile(ValueError):
    """An endpoint is configured with a profile that no policy file has, or that does not take the endpoint.

    Attributes:
        endpoint: the endpoint.
        profile: the name that it was configured with.
    """

    def __init__(self, endpoint: EndpointName, profile: str, message: str) -> None:
        super().__init__(f"endpoint {endpoint}: {message}")
        self.endpoint = endpoint
        self.profile = profile


class ProfileSet:
    """The profiles of a deployment.

    Args:
        profiles: from all files.
        ceilings: the limits of the server's configuration.
        issuers: the configured issuers by name.
        endpoints: the profiles that each endpoint may use, its first being the one for requests that name none. Without
            it, an endpoint may use every profile that takes it, and a request that names none needs exactly one.

    Raises:
        DocumentErrors: a profile exceeds the ceilings, names an unknown issuer, or has the name of another one.
        UnknownProfile: see there.
    """

    def __init__(
        self,
        profiles: Iterable[Profile],
        *,
        ceilings: Ceilings,
        issuers: Mapping[str, IssuerFacts],
        endpoints: Mapping[EndpointName, tuple[str, ...]] | None = None,
    ) -> None:
        every = tuple(profiles)
        self._ceilings = ceilings
        self._issuers = dict(issuers)
        problems = list(_problems(every, ceilings, self._issuers))
        if problems:
            raise DocumentErrors(problems)
        self._profiles = {profile.name: profile for profile in every}
        self._endpoints = None if endpoints is None else dict(endpoints)
        for endpoint, names in (self._endpoints or {}).items():
            self._require(endpoint, names)
            self._tell_apart(endpoint, names)
        # As many as there are right answers.
        self._chosen: dict[tuple[EndpointName, str | None], tuple[Profile, ...]] = {}
        self._some_for_few = any(profile.clients is not None for profile in every)
        self._personal = any(profile.personal for profile in every)
        digests = sorted({profile.digest for profile in every})
        self.digest = hashlib.sha256("".join(digests).encode()).hexdigest()

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The profiles by name."""
        return MappingProxyType(self._profiles)

    def decide(self, request: EnrollmentRequest) -> Decision:
        """Judge a request. Never raises: what goes wrong denies."""
        try:
            question = self._question(request)
            return self._nothing(request) if question is None else decide(question)
        except Exception as error:  # noqa: BLE001 - a decision is always reached, and a fault denies
            finding = Finding("engine", "the policy could not be evaluated", NOWHERE, repr(error))
            return Denied((finding,), Trace("", self.digest))

    def objections_to_names(self, request: EnrollmentRequest) -> tuple[Finding, ...]:
        """Return what `decide` would have against the names alone, before there is a CSR. Never raises."""
        try:
            question = self._question(request)
            return () if question is None else objections_to_names(question)  # no name is at fault for having none
        except Exception:  # noqa: BLE001 - what goes wrong denies when there is a certificate to decide over
            return ()

    def _question(self, request: EnrollmentRequest) -> Question | None:
        """Return what is to be judged, None when no profile judges it."""
        chosen = self.select_for(request)
        if chosen is None:
            return None
        issuer = self._issuers[chosen.sections.issuer]
        return Question(chosen, request, issuer, self._ceilings, read_request(request))

    @property
    def personal(self) -> bool:
        """Whether it matters to any profile what the requester is called."""
        return self._personal

    def select(self, endpoint: EndpointName, name: str | None, requester: str | None = None) -> Profile | None:
        """Return the one profile that judges what comes in at `endpoint` and asks for `name`, None when there is none.

        Nothing is chosen among several but by the order of the endpoint's configuration.

        Args:
            endpoint: where a request comes in.
            name: the profile that it asks for, None for any.
            requester: the requester's name, None when nobody asks yet: then no profile is passed over for its clients.
        """
        candidates = self._candidates(endpoint, name, requester)
        return candidates[0] if candidates else None

    def select_for(self, request: EnrollmentRequest) -> Profile | None:
        """Return the one profile that judges a request, None when there is none.

        As `select`, but that a renewal which asks for no profile is for the first that renews certificates of the old
        one's profile, where there is such a one.
        """
        candidates = self._candidates(request.endpoint, request.profile, requester_name(request))
        if not candidates:
            return None
        old = request.renewed
        if old is not None and request.profile is None:
            return next((each for each in candidates if each.renews(old.profile)), candidates[0])
        return candidates[0]

    def _candidates(self, endpoint: EndpointName, name: str | None, requester: str | None) -> tuple[Profile, ...]:
        """Return the profiles that may judge, in order; none where nothing says which of several it is."""
        candidates = self._chosen.get((endpoint, name))
        if candidates is None:
            usable = self._profiles if self._endpoints is None else self._endpoints.get(endpoint, ())
            taking = [self._profiles[each] for each in usable if _takes(self._profiles[each], endpoint)]
            candidates = tuple(profile for profile in taking if name in {None, profile.name})
            if candidates:
                self._chosen[endpoint, name] = candidates
        if requester is not None and self._some_for_few:
            candidates = tuple([each for each in candidates if each.is_for(requester)])
        return () if self._endpoints is None and len(candidates) > 1 else candidates

    def _nothing(self, request: EnrollmentRequest) -> Denied:
        """Return the denial that says which profiles were considered and why each does not apply."""
        considered = tuple(f"{profile.name}: {self._obstacle(profile, request)}" for profile in self._profiles.values())
        message = "no certificate profile applies to this request"
        finding = Finding("profile", message, NOWHERE, request.profile or "", "; ".join(considered))
        return Denied((finding,), Trace("", self.digest, considered=considered))

    def _obstacle(self, profile: Profile, request: EnrollmentRequest) -> str:
        if request.profile not in {None, profile.name}:
            return f"{request.profile} was asked for"
        if not _takes(profile, request.endpoint):
            return f"its endpoints do not include {request.endpoint}"
        if self._endpoints is not None:
            if profile.name in self._endpoints.get(request.endpoint, ()):
                return f"it is for other clients than {request.requester.identity}"
            return f"the configuration does not give it to {request.endpoint}"
        if not profile.is_for(requester_name(request)):
            return f"it is for other clients than {request.requester.identity}"
        return "one of several, and none was asked for"

    def _tell_apart(self, endpoint: EndpointName, names: tuple[str, ...]) -> None:
        """Refuse a profile for certain clients behind one that these clients get already."""
        for index, name in enumerate(names):
            profile = self._profiles[name]
            texts = {str(glob) for glob in profile.clients or ()}
            for earlier in (self._profiles[each] for each in names[:index]):
                same = texts.intersection(map(str, earlier.clients or ()))
                if same or (texts and earlier.clients is None):
                    whom = ", ".join(sorted(same)) or "everybody"
                    message = (
                        f'profile "{earlier.name}" is for {whom} and comes before "{name}": nobody would get "{name}"'
                    )
                    raise UnknownProfile(endpoint, name, message)

    def _require(self, endpoint: EndpointName, names: tuple[str, ...]) -> None:
        for name in names:
            profile = self._profiles.get(name)
            if profile is None:
                hint = did_you_mean(name, self._profiles)
                raise UnknownProfile(endpoint, name, f'there is no profile "{name}"{hint}')
            if not _takes(profile, endpoint):
                place = profile.place("endpoints")
                raise UnknownProfile(endpoint, name, f'profile "{name}" does not take it; see {place}')


def _takes(profile: Profile, endpoint: EndpointName) -> bool:
    return any(pattern.matches(str(endpoint)) for pattern in profile.sections.endpoints)


def _problems(
    profiles: tuple[Profile, ...], ceilings: Ceilings, issuers: Mapping[str, IssuerFacts]
) -> Iterator[DocumentProblem]:
    first: dict[str, Location] = {}
    for profile in profiles:
        place = profile.place()
        if profile.name in first:
            yield DocumentProblem(place, f'profile "{profile.name}" is here a second time; see {first[profile.name]}')
        first.setdefault(profile.name, place)
        issuer = profile.sections.issuer
        if issuer not in issuers:
            message = f'the server\'s configuration has no issuer "{issuer}"{did_you_mean(issuer, issuers)}'
            yield DocumentProblem(profile.place("issuer"), message)
        yield from ceiling_problems(profile, ceilings)
