"""EST endpoints in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from policies.fields import KeyPatternField
from policies.request import Protocol
from server.config.profiled import Profiled
from server.config.secret_sources import SecretSource
from server.config.values import Endpoint

if TYPE_CHECKING:
    from ca.keys import KeyShape

AnchorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class Manufacturer(Strict):
    """Another party's CAs, whose certificates prove who a device is, such as the IDevIDs of its manufacturer.

    Attributes:
        anchors: PEM of the CAs that are trusted.
        intermediates: PEM of CAs below them, for devices that do not present theirs.
        crls: files of CRLs, PEM or DER, read again when they change; one of each CA on the way, else nothing is taken.
        revocation: ``crl``, or ``none`` where the manufacturer publishes nothing.
        grace: how long after its end a certificate is still taken.
    """

    anchors: Path
    intermediates: Path | None = None
    crls: tuple[Path, ...] = ()
    revocation: Literal["crl", "none"] = "crl"
    grace: Duration = Field(default="0d", validate_default=True)

    @model_validator(mode="after")
    def _fails_closed(self) -> Manufacturer:
        if bool(self.crls) is not (self.revocation == "crl"):
            raise ValueError("give crls: [FILE, …], or say revocation: none when the manufacturer publishes nothing")
        return self


class Authenticate(Strict):
    """How an EST client proves who it is: any one of these is enough to be heard; the profile may ask for more.

    Attributes:
        passwords: a YAML file, user name to argon2 hash, for HTTP Basic.
        one_time_passwords: whether passwords that ``certwright credential new`` makes are taken.
        certificates: whether a certificate that this endpoint issued is taken in TLS.
        certificates_from: other endpoints whose certificates are taken too, besides those of this one.
        manufacturers: other parties' CAs by name; their certificates are good for first enrollments.
        registration_authorities: the profiles whose certificates, issued for this endpoint with the purpose
            id-kp-cmcRA, may ask for others (RFC 7030 section 3.7).
        require: ``either`` a password or a certificate, or ``both``.
    """

    passwords: Path | None = None
    one_time_passwords: bool = False
    certificates: bool = False
    certificates_from: tuple[Endpoint, ...] = ()
    manufacturers: Mapping[AnchorName, Manufacturer] = Field(default_factory=dict)
    registration_authorities: tuple[str, ...] = ()
    require: Literal["either", "both"] = "either"

    @property
    def takes_passwords(self) -> bool:
        """Whether HTTP Basic is of any use."""
        return self.passwords is not None or self.one_time_passwords

    @property
    def takes_certificates(self) -> bool:
        """Whether a TLS client certificate is of any use."""
        return self.certificates or bool(self.manufacturers)

    @model_validator(mode="after")
    def _consistent(self) -> Authenticate:
        if not self.takes_passwords and not self.takes_certificates:
            raise ValueError(
                "nobody could authenticate here: give authenticate a password file (passwords: FILE), "
                "or set one_time_passwords: true or certificates: true"
            )
        if self.require == "both" and not (self.takes_passwords and self.takes_certificates):
            raise ValueError("require: both needs both: passwords or one_time_passwords, and certificates")
        if "own" in self.manufacturers:
            raise ValueError("own is what our certificates are called; give the manufacturer another name")
        if self.certificates_from and not self.certificates:
            raise ValueError("certificates_from needs certificates: true")
        if self.registration_authorities and not self.certificates:
            raise ValueError("registration_authorities needs certificates: true")
        return self


class ServerKeys(Strict):
    """Keys that the server makes for devices (RFC 7030 section 4.4).

    Attributes:
        key: kind and size of the keys; without it, what the profile's list begins with. libest reads no EC keys.
        encryption: whether a key leaves encrypted only (``required``), or under TLS alone where no more is asked for.
        shared_keys: a YAML file, identifier to AES key, both in hex, for devices that share a secret with the server.
        recipients: PEM of certificates of devices to whose keys can be encrypted, besides that of the connection.
        escrow: PEM of the one certificate to whose key those keys are encrypted that a profile has kept.
        danger_plain_through_proxy: whether keys that are not encrypted may leave through a proxy, which can read them.
    """

    key: KeyPatternField | None = None
    encryption: Literal["optional", "required"] = "optional"
    shared_keys: Path | None = None
    recipients: Path | None = None
    escrow: Path | None = None
    danger_plain_through_proxy: bool = False


class CmcSigner(Strict):
    """The key that responses of fullcmc are signed with, where it is not that of the https listener.

    Attributes:
        certificate: PEM of its certificate, then those above it.
        key: PEM of the key, RSA or EC.
        passphrase_file: the passphrase of the key.
    """

    certificate: Path
    key: Path
    passphrase_file: Path | None = None


class FullCmc(Strict):
    """Full CMC (RFC 7030 section 4.3, RFC 5272).

    Attributes:
        signer: what responses are signed with; without it, the key of the https listener.
        sealing_key: 64 hexadecimal digits, under which shared secrets (``certwright credential new --cmc``) are
            encrypted in the database; without it there are none.
    """

    signer: CmcSigner | None = None
    sealing_key: SecretSource | None = None

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that nobody else may read."""
        key, passphrase = (self.signer.key, self.signer.passphrase_file) if self.signer is not None else (None, None)
        sealing = self.sealing_key.file if self.sealing_key is not None else None
        return tuple(file for file in (key, passphrase, sealing) if file is not None)


class EstEndpointConfig(Profiled):
    """An EST endpoint (RFC 7030).

    Attributes:
        authenticate: how requesters prove who they are.
        linking: whether requests are bound to their TLS connection (RFC 7030 section 3.5): ``off``, not looked at;
            ``optional``, right when it is there; ``required``.
        challenge_password: what that attribute is: the ``binding`` as RFC 7030 says, a ``one-time-password``, or
            ``automatic``: the binding when it is equal to it, else a one-time password.
        renewal_grace: how long after its end a certificate may still be renewed.
        reenroll_first: whether simplereenroll with a manufacturer's certificate, which renews nothing, is taken for a
            first enrollment, or refused. strongSwan sends simplereenroll whenever it has a certificate.
        csrattrs: in which form devices are told what to ask for: the list of RFC 7030 (``legacy``), the template of
            ``rfc9908``, ``both``, or ``none``. Passpoint clients read the list alone.
        aliases: other labels of the same service, like ``est/plant-renew``; some devices want one for each operation.
        legacy_status: whether refusals keep to the status codes that libest knows.
        lenient_content_type: whether a request is taken whatever its Content-Type says, or without one.
        include_chain: whether the CAs below the root come with the issued certificate.
        most_pending: how many requests may wait for a person at once.
        most_pending_of_address: how many of them may come from one address.
        keep_absent_names: whether a renewal that asks for no alternative names at all gets those of the certificate.
        other_root: while roots change: PEM of the other root, and of each of the two signed by the other, for cacerts.
        serverkeygen: whether and how keys are made for devices; absent: never.
        eecerts: profiles whose certificates in force anybody may fetch (RFC 8295 section 3): those of peers that
            devices talk to.
        fullcmc: whether and how full CMC requests are taken; absent: never.
        base64_layout: how base64 stands in replies: ``wrapped`` in lines, on a ``single`` line; ``auto``: on a single
            line for strongSwan alone, which reads nothing else before 5.9.11.
    """

    authenticate: Authenticate
    linking: Literal["off", "optional", "required"] = "optional"
    challenge_password: Literal["binding", "one-time-password", "automatic"] = "binding"  # noqa: S105 - a word
    renewal_grace: Duration = Field(default="0d", validate_default=True)
    reenroll_first: bool = False
    aliases: tuple[Endpoint, ...] = ()
    legacy_status: bool = False
    lenient_content_type: bool = False
    include_chain: bool = False
    keep_absent_names: bool = False
    most_pending: Annotated[int, Field(ge=1)] = 1000
    most_pending_of_address: Annotated[int, Field(ge=1)] = 1000
    csrattrs: Literal["none", "legacy", "rfc9908", "both"] = "both"
    other_root: Path | None = None
    serverkeygen: ServerKeys | None = None
    eecerts: tuple[str, ...] = ()
    fullcmc: FullCmc | None = None
    base64_layout: Literal["auto", "wrapped", "single"] = "auto"

    def key_of_server(self, usual: KeyShape) -> KeyShape:
        """Return kind and size of the keys that are made here, `usual` where the configuration does not say."""
        pattern = self.serverkeygen.key if self.serverkeygen is not None else None
        return usual if pattern is None else pattern.smallest()

    def weaknesses(self) -> tuple[str, ...]:
        """Return what is less safe than it could be, one sentence each."""
        plain = self.serverkeygen is not None and self.serverkeygen.danger_plain_through_proxy
        return ("DANGER: private keys leave through proxies that can read them",) if plain else ()

    @model_validator(mode="after")
    def _consistent(self) -> EstEndpointConfig:
        if any(alias.protocol is not Protocol.EST for alias in self.aliases):
            raise ValueError("aliases are labels of EST, like est/plant-renew")
        if self.challenge_password != "binding" and not self.authenticate.one_time_passwords:  # noqa: S105 - a word
            raise ValueError(f"challenge_password: {self.challenge_password} needs one_time_passwords: true")
        return self
