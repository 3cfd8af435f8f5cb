"""What the configuration names, loaded: keys, certificates, secrets, policies. Everything that is wrong, at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from ca.issuer import IssuerConfigurationError
from policies.document import DocumentErrors, DocumentProblem, did_you_mean
from policies.profile import IssuerFacts
from policies.profile_set import UnknownProfile
from server.app.cmc import responder, shared_secrets
from server.app.est import key_generator
from server.app.hsms import Hsms, load_hsm_ra_key
from server.app.issuers import load_issuer
from server.app.live_policies import LivePolicies
from server.app.live_secrets import LiveSecrets, secret_files
from server.app.live_tls import LiveTls, Served, TlsFolder
from server.app.lookups import Remembering, load_sources
from server.app.peers import check_profiles
from server.app.scep import ScepSecrets, load_secrets
from server.app.secret_sources import Reader
from server.app.trust import load_trust
from server.config import LocalIssuerConfig, Pkcs11IssuerConfig
from server.credentials import Authenticators
from server.credentials.anchors import AnchorConfigurationError, TrustAnchors, refuse_own
from server.credentials.crls import CrlFiles, MalformedCrl
from server.policy_files import contradictions, load_policies, look_at_policies, read_ceilings
from server.scep.keyring import Keyring, Rollover
from server.scep.ra import RaConfigurationError, expect_role, load_ra_key
from server.scep.ra_renewal import RaFolder, walk
from server.stamps import stamps
from server.status.own import KeptKey
from server.successors import Successors
from server.tls import TlsConfigurationError, prefer_strongest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ca.issuer import Issuer
    from policies.profile_set import ProfileSet
    from policies.request import EndpointName
    from server.config import (
        Config,
        EstEndpointConfig,
        HsmKeyConfig,
        HttpsListener,
        Manufacturer,
        RaConfig,
        ScepEndpointConfig,
    )
    from server.scep.ra import RaKey

T = TypeVar("T")
KeyPath = tuple[str | int, ...]
_NOBODY = Authenticators({}, None, frozenset())


@dataclass(frozen=True, slots=True)
class Material:
    """All that the application is made of besides code.

    Attributes:
        issuers: by configured name.
        policies: the profiles, compiled.
        lookups: what profiles look things up in, by name.
        authenticators: how requesters prove who they are, for EST and SCEP endpoints; `secrets` keeps it up to date.
        secrets: the files of passwords and static challenges.
        ra_keys: the RAs of each SCEP endpoint.
        scep_proxies: SHA-256 of the certificates that may sign requests of others there.
        scep_secrets: what their authorisation needs.
        tls_chain: the certificate of the https listener and those above it at the start; empty without that listener.
        tls: the same as it is now, with its context; None without that listener.
        tls_folder: where renewed ones go, None when nobody renews.
        ocsp_keys: keys of OCSP responders that are in HSMs, by issuer.
    """

    issuers: Mapping[str, Issuer]
    policies: LivePolicies
    lookups: Mapping[str, Remembering]
    authenticators: Mapping[EndpointName, Authenticators]
    secrets: LiveSecrets
    ra_keys: Mapping[EndpointName, Keyring]
    scep_proxies: Mapping[EndpointName, frozenset[bytes]]
    scep_secrets: Mapping[EndpointName, ScepSecrets]
    tls_chain: tuple[x509.Certificate, ...]
    tls: LiveTls | None
    tls_folder: TlsFolder | None = None
    ocsp_keys: Mapping[str, KeptKey] = field(default_factory=dict)


def load_material(config: Config) -> Material:
    """Load all files that the configuration names.

    Raises:
        DocumentErrors: everything that is missing or wrong, each with its place and the way out.
    """
    return _Loader(config).load()


class _Loader:
    """Loads one thing after the other and keeps what goes wrong."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._reader = Reader(config)
        self._hsms = Hsms(self._reader)
        self._problems: list[DocumentProblem] = []

    def load(self) -> Material:
        config = self._config
        loaded = {name: self._attempt(("issuers", name), self._issuer, name) for name in config.issuers}
        issuers = {name: issuer for name, issuer in loaded.items() if issuer is not None}
        seen = look_at_policies(config)  # before they are read: what changes from now on is read again
        policies = self._attempt(("policies",), self._policies, issuers) if len(issuers) == len(loaded) else None
        https = config.listeners.https
        ocsp_keys = {
            name: self._attempt(
                ("issuers", name, "status", "ocsp", "hsm"), self._ocsp_key, name, issuer.status.ocsp.hsm
            )
            for name, issuer in config.issuers.items()
            if isinstance(issuer, LocalIssuerConfig | Pkcs11IssuerConfig)
        }
        folder = self._tls_folder(https) if https is not None else None
        tls = self._attempt(("listeners", "https"), self._tls, https, folder) if https is not None else None
        ra_keys = {
            name: self._keyring(("endpoints", str(name)), endpoint, issuers)
            for name, endpoint in config.endpoints.scep.items()
        }
        proxies = {
            name: self._attempt(("endpoints", str(name), "proxies"), self._proxies, name, endpoint)
            for name, endpoint in config.endpoints.scep.items()
        }
        secrets = {
            name: self._attempt(("endpoints", str(name)), load_secrets, name, endpoint, self._reader)
            for name, endpoint in config.endpoints.scep.items()
        }
        authenticators = self._all_authenticators()
        live = self._attempt(("endpoints",), LiveSecrets, authenticators, secret_files(config), self._reader)
        lookups = self._attempt(("lookups",), load_sources, config, self._reader, monotonic)
        for name, endpoint in config.endpoints.est.items():
            if tls is not None or https is None:  # else that is what is wrong
                self._attempt(("endpoints", str(name), "fullcmc"), responder, name, config, tls)
            if policies is not None:
                self._attempt(("endpoints", str(name), "eecerts"), check_profiles, name, config, policies.profiles)
            issuer = issuers.get(endpoint.issuer or next(iter(config.issuers)))
            if issuer is not None and tls is not None:
                here = ("endpoints", str(name))
                self._attempt((*here, "other_root"), load_trust, name, config, self._reader, issuer.chain())
                if policies is not None:
                    self._attempt((*here, "serverkeygen"), key_generator, name, config, tls, policies.select)
        if policies is None or live is None or self._problems:
            raise DocumentErrors(self._problems)
        return Material(
            issuers=issuers,
            lookups=lookups or {},
            policies=LivePolicies(policies, lambda: self._policies(issuers), lambda: look_at_policies(config), seen),
            authenticators=authenticators,
            secrets=live,
            scep_secrets={name: found for name, found in secrets.items() if found is not None},
            scep_proxies={name: found for name, found in proxies.items() if found is not None},
            ra_keys={name: found for name, found in ra_keys.items() if found is not None},
            tls_chain=tls.chain if tls is not None else (),
            tls=tls,
            tls_folder=folder,
            ocsp_keys={name: found for name, found in ocsp_keys.items() if found is not None},
        )

    def _attempt(self, path: KeyPath, work: Callable[..., T], *arguments: object) -> T | None:
        try:
            return work(*arguments)
        except DocumentErrors as errors:
            self._problems.extend(errors.problems)
        except (IssuerConfigurationError, RaConfigurationError, TlsConfigurationError) as error:
            self._problems.append(self._config.problem(path, str(error)))
        return None

    def _read(self, path: KeyPath, file: Path) -> bytes:
        return self._reader.file(path, file)

    def _passphrase(self, path: KeyPath, file: Path | None) -> bytes:
        return self._read((*path, "passphrase_file"), file).rstrip(b"\r\n") if file is not None else b""

    def _issuer(self, name: str) -> Issuer:
        return load_issuer(name, self._config.issuers[name], self._reader, self._hsms)

    def _ocsp_key(self, name: str, settings: HsmKeyConfig | None) -> KeptKey | None:
        if settings is None:
            return None
        key = self._hsms.key(("issuers", name, "status", "ocsp", "hsm"), settings)
        return KeptKey(key, key.signer.executor)

    def _keyring(self, here: KeyPath, endpoint: ScepEndpointConfig, issuers: Mapping[str, Issuer]) -> Keyring | None:
        """Return the RAs of an endpoint, None when one of them can't be had."""

        def load(ra: RaConfig, *path: str | int) -> RaKey | None:
            return self._attempt((*here, *path), self._ra, (*here, *path), ra)

        current = load(endpoint.ra, "ra")
        previous = [load(ra, "previous_ra", index) for index, ra in enumerate(endpoint.previous_ra)]
        rollover = None
        if endpoint.rollover is not None:
            coming, issuer = load(endpoint.rollover.ra, "rollover", "ra"), issuers.get(endpoint.rollover.issuer)
            if coming is not None and issuer is not None:
                rollover = Rollover(coming, endpoint.rollover.profile, issuer.chain)
        if current is None:
            return None
        as_ca = endpoint.ca_certificates in {"ca-only", "chain"}
        self._attempt((*here, "ra", "certificate"), lambda: expect_role(current.certificate, as_ca=as_ca))
        keys = Keyring(current, tuple(ra for ra in previous if ra is not None), rollover)
        if endpoint.ra_renewal is not None:
            passphrase = self._passphrase((*here, "ra"), endpoint.ra.passphrase_file) or None
            folder = RaFolder(Successors(endpoint.ra_renewal.folder, passphrase), same_key=endpoint.ra.hsm is not None)
            self._attempt((*here, "ra_renewal", "folder"), walk, keys, folder)
            keys.follow = folder.follow
        return keys

    def _proxies(self, name: EndpointName, endpoint: ScepEndpointConfig) -> frozenset[bytes]:
        found = []
        for index, file in enumerate(endpoint.proxies):
            pem = self._read(("endpoints", str(name), "proxies", index), file)
            try:
                found += x509.load_pem_x509_certificates(pem)
            except ValueError as error:
                raise RaConfigurationError(f"{file} holds no PEM certificate") from error
        return frozenset(certificate.fingerprint(SHA256()) for certificate in found)

    def _ra(self, here: KeyPath, ra: RaConfig) -> RaKey:
        certificate = self._read((*here, "certificate"), ra.certificate)
        if ra.hsm is not None:
            return load_hsm_ra_key(certificate, self._hsms.key((*here, "hsm"), ra.hsm))
        key = self._read((*here, "key"), ra.key) if ra.key is not None else b""
        return load_ra_key(certificate, key, self._passphrase(here, ra.passphrase_file) or None)

    def _tls(self, https: HttpsListener, folder: TlsFolder | None) -> LiveTls:
        here = ("listeners", "https")
        if https.renewal is not None and https.renewal.issuer not in self._config.issuers:
            problem = (
                f'there is no issuer "{https.renewal.issuer}"{did_you_mean(https.renewal.issuer, self._config.issuers)}'
            )
            raise DocumentErrors([self._config.problem((*here, "renewal", "issuer"), problem)])

        def load() -> Served:
            pems = self._read((*here, "certificate"), https.certificate), self._read((*here, "key"), https.key)
            passphrase = self._passphrase(here, https.passphrase_file) or None
            served = Served.of(*pems, passphrase, (str(https.certificate), str(https.key)))
            served = served if folder is None else folder.newest(served)
            if any(each.serverkeygen is not None for each in self._config.endpoints.est.values()):
                prefer_strongest(served.context)
            return served

        files = [https.certificate, https.key, *([folder.folder] if folder is not None else [])]
        return LiveTls(load, lambda: stamps(files))

    def _tls_folder(self, https: HttpsListener) -> TlsFolder | None:
        if https.renewal is None:
            return None
        passphrase = self._attempt(
            ("listeners", "https"), self._passphrase, ("listeners", "https"), https.passphrase_file
        )
        return TlsFolder(Successors(https.renewal.folder, passphrase or None))

    def _all_authenticators(self) -> dict[EndpointName, Authenticators]:
        return {
            name: self._attempt(("endpoints", str(name)), self._authenticators, name) or _NOBODY
            for name in self._config.endpoints.all()
        }

    def _authenticators(self, name: EndpointName) -> Authenticators:
        """Return how requesters of an endpoint prove who they are, without secrets; ACME has accounts instead."""
        here: KeyPath = ("endpoints", str(name))
        est, scep = self._config.endpoints.est.get(name), self._config.endpoints.scep.get(name)
        if est is not None:
            return self._est_authenticators(name, here, est)
        if scep is None:
            return _NOBODY
        accepted = frozenset({name, *scep.certificates_from}) if scep.renewal else frozenset()
        return self._scep_authenticators(here, scep, accepted)

    def _scep_authenticators(
        self, endpoint: KeyPath, scep: ScepEndpointConfig, accepted: frozenset[EndpointName]
    ) -> Authenticators:
        """Return whose certificates count at an endpoint, other parties' too, and whether one-time challenges do."""
        place = (*endpoint, "alternate_cas")
        anchors = tuple(self._anchors((*place, word), word, party) for word, party in scep.alternate_cas.items())
        stored = scep.challenge is not None and scep.challenge.one_time
        return Authenticators({}, None, accepted, stored=stored, anchors=anchors)

    def _est_authenticators(self, name: EndpointName, here: KeyPath, est: EstEndpointConfig) -> Authenticators:
        ways = est.authenticate
        accepted = frozenset({name, *ways.certificates_from}) if ways.certificates else frozenset()
        place = (*here, "authenticate", "manufacturers")
        anchors = tuple(self._anchors((*place, word), word, party) for word, party in ways.manufacturers.items())
        return Authenticators(
            {},
            None,
            accepted,
            stored=ways.one_time_passwords,
            anchors=anchors,
            sealer=shared_secrets(name, self._config, self._reader),
        )

    def _anchors(self, here: KeyPath, name: str, settings: Manufacturer) -> TrustAnchors:
        """Return a manufacturer's CAs; ours must not be among them."""
        own = [
            certificate
            for issuer in self._config.issuers.values()
            for file in (issuer.certificate, issuer.chain)
            for certificate in self._certificates(here, file)
        ]
        crls = CrlFiles(settings.crls) if settings.crls else None
        try:
            anchors = TrustAnchors(
                name,
                self._certificates((*here, "anchors"), settings.anchors),
                intermediates=(
                    self._certificates((*here, "intermediates"), settings.intermediates)
                    if settings.intermediates is not None
                    else ()
                ),
                crls=crls,
                grace=settings.grace,
                own=own,
            )
            refuse_own(anchors, own)
            if crls is not None:
                crls.check()
        except (AnchorConfigurationError, MalformedCrl, OSError) as error:
            raise DocumentErrors([self._config.problem(here, f"{name}: {error}")]) from error
        return anchors

    def _certificates(self, here: KeyPath, file: Path) -> tuple[x509.Certificate, ...]:
        try:
            return tuple(x509.load_pem_x509_certificates(self._read(here, file)))
        except ValueError as error:
            raise DocumentErrors([self._config.problem(here, f"{file} holds no PEM certificate")]) from error

    def _policies(self, issuers: Mapping[str, Issuer]) -> ProfileSet:
        config = self._config
        facts = {
            name: IssuerFacts(issuer.chain()[0].not_valid_before_utc, issuer.chain()[0].not_valid_after_utc)
            for name, issuer in issuers.items()
        }
        ceilings = read_ceilings(config)
        if not os.access(config.policies, os.X_OK) or not config.policies.is_dir():
            message = f"can't read the folder of policy files: {config.policies} is no folder, not there or closed"
            raise DocumentErrors([config.problem(("policies",), message)])
        endpoints = {name: endpoint.every_profile() for name, endpoint in config.endpoints.all().items()}
        try:
            profiles = load_policies(config.policies, ceilings=ceilings, issuers=facts, endpoints=endpoints)
        except UnknownProfile as error:
            named = [name for name in endpoints if str(error).startswith(f"endpoint {name}:")]
            place = ("endpoints", *(str(name) for name in named), "profiles")
            raise DocumentErrors([config.problem(place, str(error))]) from error
        problems = contradictions(profiles, config)
        if problems:
            raise DocumentErrors(problems)
        return profiles
