"""What an EST endpoint is told of the configuration and of the policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from policies.document import DocumentErrors, Strict, read_document
from policies.expectations import expectations
from server.app.cmc import live_pair
from server.app.secret_sources import Reader
from server.est.keygen import recipient_of
from server.est.routes import KeyGenerator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from policies.expectations import Expectations
    from policies.profile import Profile
    from policies.request import EndpointName, EnrollmentRequest
    from server.app.live_policies import LivePolicies
    from server.app.live_tls import LiveTls
    from server.app.secret_sources import KeyPath
    from server.cms.recipients import Recipient
    from server.config import Config, ServerKeys

    Select = Callable[[EndpointName, str | None], Profile | None]


def expected_at(endpoint: EndpointName, config: Config, policies: LivePolicies) -> Callable[[], Expectations | None]:
    """Return what tells what the profile in force wants of requests that name none, None where there is no profile."""
    return lambda: _wanted(policies.select(endpoint, None), config)


def judging(config: Config, policies: LivePolicies) -> Callable[[EnrollmentRequest], Expectations | None]:
    """Return what tells what the profile that will judge a request wants of it, None where there is no profile."""
    return lambda request: _wanted(policies.select_for(request), config)


def keeping(policies: LivePolicies) -> Callable[[EnrollmentRequest], bool]:
    """Return what tells whether the profile that will judge a request has its key kept."""
    return lambda request: _keeps_keys(policies.select_for(request))


def _wanted(profile: Profile | None, config: Config) -> Expectations | None:
    return None if profile is None else expectations(profile, config.ceilings.min_rsa_bits)


def _keeps_keys(profile: Profile | None) -> bool:
    return profile is not None and profile.sections.key.escrow


def key_generator(name: EndpointName, config: Config, tls: LiveTls | None, select: Select) -> KeyGenerator | None:
    """Return what makes keys at an endpoint, None where none are made; signed with the key of the https listener.

    Args:
        name: the endpoint.
        config: the configuration.
        tls: the pair of the https listener, None without that.
        select: returns the profile with a name, which says whether its keys are kept.

    Raises:
        DocumentErrors: a file is missing or is none, there is no https listener to sign with, or no profile allows the
            keys that are to be made.
    """
    settings = config.endpoints.est[name].serverkeygen
    if settings is None:
        return None
    here: KeyPath = ("endpoints", str(name), "serverkeygen")
    if tls is None:
        raise DocumentErrors([config.problem(here, "serverkeygen needs the https listener, whose key signs keys")])
    reader = Reader(config)
    shared, recipients = _shared_keys(settings, here, reader), _recipients(settings, here, reader)
    escrow = _escrow(settings, here, reader)
    _expect_key_allowed(name, config, settings, select)
    kept = [each for each in config.endpoints.est[name].profiles if _keeps_keys(select(name, each))]
    if kept and escrow is None:
        raise DocumentErrors(
            [config.problem(here, f"the profile {kept[0]} has keys kept: say for whom (escrow: FILE)")]
        )
    return KeyGenerator(
        live_pair(tls),
        shared=shared,
        recipients=recipients,
        must_encrypt=settings.encryption == "required",
        through_proxies=settings.danger_plain_through_proxy,
        escrow=escrow,
    )


def _expect_key_allowed(name: EndpointName, config: Config, settings: ServerKeys, select: Select) -> None:
    """Raise DocumentErrors when every key that is made would be refused; no profile goes beyond the ceilings."""
    if settings.key is None:
        return
    shape = settings.key.smallest()
    profiles = [select(name, each) for each in config.endpoints.est[name].profiles]
    allowed = [pattern for profile in profiles if profile is not None for pattern in profile.sections.key.allowed]
    if not any(pattern.matches(shape) for pattern in allowed):
        what = f"no profile of {name} allows {shape} keys: nobody would get one"
        raise DocumentErrors([config.problem(("endpoints", str(name), "serverkeygen", "key"), what)])


class _SharedKeys(Strict):
    keys: dict[str, str]


def _shared_keys(settings: ServerKeys, here: KeyPath, reader: Reader) -> dict[bytes, bytes]:
    if settings.shared_keys is None:
        return {}
    where = (*here, "shared_keys")
    text = reader.file(where, settings.shared_keys).decode("utf-8", "replace")
    found = read_document(text, str(settings.shared_keys), _SharedKeys).value.keys
    made: dict[bytes, bytes] = {}
    for identifier, secret in found.items():
        try:
            made[bytes.fromhex(identifier)] = bytes.fromhex(secret)
        except ValueError:
            made[b""] = b""  # said below without the secret in it
    if any(not identifier or len(secret) not in {16, 24, 32} for identifier, secret in made.items()):
        message = "every shared key is written as identifier: key, both in hex, the key of 16, 24 or 32 octets"
        raise DocumentErrors([reader.problem(where, message)])
    return made


def _recipients(settings: ServerKeys, here: KeyPath, reader: Reader) -> list[x509.Certificate]:
    if settings.recipients is None:
        return []
    return _certificates((*here, "recipients"), settings.recipients, reader)


def _escrow(settings: ServerKeys, here: KeyPath, reader: Reader) -> Recipient | None:
    if settings.escrow is None:
        return None
    where = (*here, "escrow")
    certificates = _certificates(where, settings.escrow, reader)
    found = recipient_of(certificates[0]) if len(certificates) == 1 else None
    if found is None:
        message = f"{settings.escrow} must hold one certificate, whose RSA or EC key may be encrypted to"
        raise DocumentErrors([reader.problem(where, message)])
    return found


def _certificates(where: KeyPath, file: Path, reader: Reader) -> list[x509.Certificate]:
    octets = reader.file(where, file)
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError as error:
        raise DocumentErrors([reader.problem(where, f"{file} holds no PEM certificates")]) from error
