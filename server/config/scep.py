"""SCEP endpoints in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from server.config.est import AnchorName, Manufacturer
from server.config.hsm import HsmKeyConfig
from server.config.profiled import Profiled
from server.config.scep_authorization import Challenge, IntuneConfig, WebhookConfig
from server.config.values import Endpoint


class RaConfig(Strict):
    """The certificate of a SCEP RA, PEM, with its private key: in a file, or in an HSM.

    Attributes:
        certificate: the certificate.
        key: the private key, PEM.
        passphrase_file: holds the key's passphrase.
        hsm: the key in an HSM, instead of a file.
    """

    certificate: Path
    key: Path | None = None
    passphrase_file: Path | None = None
    hsm: HsmKeyConfig | None = None

    @model_validator(mode="after")
    def _one_key(self) -> RaConfig:
        if (self.key is None) is (self.hsm is None) or (self.hsm is not None and self.passphrase_file is not None):
            raise ValueError("give either key: FILE (with passphrase_file: FILE) or hsm: {…}")
        return self

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        if self.hsm is not None:
            return self.hsm.secret_files()
        return tuple(file for file in (self.key, self.passphrase_file) if file is not None)


class Rollover(Strict):
    """The CA to come, which GetNextCACert announces (RFC 8894 section 4.7).

    Attributes:
        issuer: its name among the issuers.
        profile: the profile that judges requests which are enveloped for its RA.
        ra: its RA.
    """

    issuer: str
    profile: str
    ra: RaConfig


class RaRenewal(Strict):
    """How the server renews its own RA: with a new key, or with the same one where that is in an HSM.

    Attributes:
        profile: the profile that judges it.
        before: how long before the end of the certificate.
        folder: where the server keeps the new keys and certificates; of a key in an HSM the certificates alone.
    """

    profile: str
    before: Duration = Field(default="60d", validate_default=True)
    folder: Path


class Switches(Strict):
    """Single deviations from what ``compatibility`` says, each for a client that needs it.

    Attributes:
        sha1: signatures with SHA-1 (micromdm, iOS before 10, printers made for NDES).
        des3: 3DES (Juniper SRX, Windows and printers made for NDES).
        danger_md5: signatures with MD5 (Cisco IOS 12 and 15 as they come).
        danger_des: single DES (micromdm's scepclient, Cisco IOS 12).
        hresult: refusals carry Microsoft's error code too, as NDES writes it (Windows shows it).
        ca_in_reply: the CA's certificate follows the issued one (Cisco IOS; Juniper forbids it, Apple ignores it).
        ec_requesters: requesters may have EC keys: the challenge password encrypts the reply. As it is: where all
            challenges are one-time ones, because whoever records a reply can try passwords on it.
        ec_key_agreement: replies to EC keys that come without a challenge, such as those to polls, are encrypted by key
            agreement (RFC 5753) with the signer's key, which RFC 8894 does not know.
    """

    sha1: bool | None = None
    des3: bool | None = None
    danger_md5: bool | None = None
    danger_des: bool | None = None
    ca_in_reply: bool = False
    hresult: bool = False
    ec_requesters: bool | None = None
    ec_key_agreement: bool = False


class ScepEndpointConfig(Profiled):
    """A SCEP endpoint (RFC 8894).

    Attributes:
        https: whether the listeners that have TLS, ``https`` and ``proxied``, serve it besides ``http``.
        ra: the certificate and RSA key to which clients encrypt and which signs replies.
        previous_ra: earlier ones that clients may still have: they open requests, and sign the replies to these.
        ra_renewal: how the server renews the RA itself; None: a person does it in time.
        rollover: the CA to come, None when none is announced.
        get_cert: whether GetCert shows what was issued here to anyone who knows a serial number.
        challenge: by what challenge passwords a first enrollment is authenticated.
        webhook: asks a service instead.
        intune: asks Microsoft Intune instead. Without any of these there are only renewals.
        by_hand: whether requests without any challenge may wait for a person: their profile says `approval: manual`.
        most_pending: how many requests may wait for a person at once.
        most_pending_of_address: how many of them may come from one address.
        most_per_minute_of_address: how many messages may come from one address to each process; None: any number.
        devices: a YAML file with the only devices that may enroll first.
        renewal: whether a certificate that this endpoint issued may sign a renewal.
        renewal_grace: how long after its end a certificate may still be renewed.
        revoke_renewed: how long after a renewal the old certificate is revoked as superseded; None: it stays good.
        certificates_from: other endpoints whose certificates may be renewed here.
        alternate_cas: other parties' CAs by name, whose certificates may sign requests instead of a challenge.
        compatibility: ``modern`` takes SHA-2 and AES; ``compatible`` takes SHA-1 and 3DES as well, for old devices;
            ``legacy-des`` takes even MD5 and single DES, which protect nothing.
        switches: single deviations from that.
        proxies: certificates, PEM, whose holders may ask for keys of others, such as an MDM's.
        ca_certificates: what GetCACert hands out, in this order; a single certificate goes out by itself.
        status_content: how a reply without certificate is written: ``omit`` its content, as RFC 8894 section 3.2
            says; write it ``empty``, as certmonger needs it; ``auto``: empty for requesters like certmonger.
        signing_time: how far the signingTime of a message may be from the present; None: it is not looked at, as many
            devices have no clock.
    """

    https: bool = False
    ra: RaConfig
    previous_ra: tuple[RaConfig, ...] = ()
    ra_renewal: RaRenewal | None = None
    rollover: Rollover | None = None
    get_cert: bool = False
    challenge: Challenge | None = None
    webhook: WebhookConfig | None = None
    intune: IntuneConfig | None = None
    by_hand: bool = False
    most_pending: Annotated[int, Field(ge=1)] = 1000
    most_pending_of_address: Annotated[int, Field(ge=1)] = 100
    most_per_minute_of_address: Annotated[int, Field(ge=1)] | None = None
    devices: Path | None = None
    renewal: bool = True
    renewal_grace: Duration = Field(default="0d", validate_default=True)
    revoke_renewed: Duration | None = Field(default=None)
    certificates_from: tuple[Endpoint, ...] = ()
    alternate_cas: Mapping[AnchorName, Manufacturer] = Field(default_factory=dict)
    compatibility: Literal["modern", "compatible", "legacy-des"] = "modern"
    switches: Switches = Switches()
    proxies: tuple[Path, ...] = ()
    ca_certificates: Literal["ra+chain", "ra+ca", "ra-only", "chain", "ca-only"] = "ra+chain"
    status_content: Literal["auto", "omit", "empty"] = "auto"
    signing_time: Duration | None = Field(default=None)

    @model_validator(mode="after")
    def _fails_closed(self) -> ScepEndpointConfig:
        ways = [way for way in (self.challenge, self.webhook, self.intune) if way is not None]
        if len(ways) > 1:
            raise ValueError("one challenge can't be judged in several ways: give one of challenge, webhook and intune")
        if self.by_hand and (self.webhook is not None or self.intune is not None):
            raise ValueError("a webhook or Intune answers for requests without challenge too: leave by_hand out")
        if "own" in self.alternate_cas:
            raise ValueError("own is what our certificates are called; give the other party another name")
        if self.switches.ec_key_agreement and not self.takes_ec_requesters():
            raise ValueError("ec_key_agreement is for EC requesters: say ec_requesters: true too")
        others = self.by_hand or self.devices is not None or self.alternate_cas
        if not ways and not others and not self.renewal:
            raise ValueError(
                "nobody could enroll here: give a challenge (challenge: {one_time: true} or {static: FILE}), webhook, "
                "intune, devices or by_hand: true, or allow renewal"
            )
        return self

    def every_profile(self) -> tuple[str, ...]:
        """Return the profiles that may judge here, those of the RA and of the CA to come included."""
        own = () if self.ra_renewal is None else (self.ra_renewal.profile,)
        coming = () if self.rollover is None else (self.rollover.profile,)
        return (*self.profiles, *own, *coming)

    def every_ra(self) -> tuple[RaConfig, ...]:
        """Return all RAs, the current one first."""
        return (self.ra, *self.previous_ra, *(() if self.rollover is None else (self.rollover.ra,)))

    def takes_ec_requesters(self) -> bool:
        """Return whether requesters may have EC keys, whose replies the challenge password encrypts."""
        if self.switches.ec_requesters is not None:
            return self.switches.ec_requesters
        return self.challenge is not None and self.challenge.one_time and self.challenge.static is None

    def weaknesses(self) -> tuple[str, ...]:
        """Return what is less safe than it could be, one sentence each."""
        switches = self.switches
        old, dangerous = self.compatibility != "modern", self.compatibility == "legacy-des"
        found = {
            "one static challenge password admits every device": (
                self.challenge is not None and self.challenge.static is not None
            ),
            "DANGER: replies to EC keys let whoever records one try passwords until the static challenge is found": (
                self.takes_ec_requesters() and self.challenge is not None and self.challenge.static is not None
            ),
            "SHA-1 is accepted for old devices": old if switches.sha1 is None else switches.sha1,
            "3DES is accepted for old devices": old if switches.des3 is None else switches.des3,
            "DANGER: MD5 is accepted, whose signatures can be forged": (
                dangerous if switches.danger_md5 is None else switches.danger_md5
            ),
            "DANGER: single DES is accepted: whoever records a request can read it and its challenge password": (
                dangerous if switches.danger_des is None else switches.danger_des
            ),
        }
        return tuple(sentence for sentence, true in found.items() if true)

    def authorization_files(self) -> tuple[Path, ...]:
        """Return the files of authorisation that only the server may read."""
        found: list[Path | None] = []
        if self.challenge is not None:
            found += [self.challenge.static, self.challenge.page.users if self.challenge.page is not None else None]
        found.append(self.webhook.secret.file if self.webhook is not None else None)
        found.append(self.intune.client_secret.file if self.intune is not None else None)
        return tuple(file for file in found if file is not None)
