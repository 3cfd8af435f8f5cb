"""How the status of an issuer's certificates is published."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from server.config.hsm import HsmKeyConfig
from server.config.values import split_url


def _base(value: str) -> str:
    parts = split_url(value)
    if parts.scheme != "http" or not parts.netloc or parts.query or parts.fragment or not value.isascii():
        raise ValueError(
            "write the address of the http listener as clients see it, like http://pki.example.com; "
            "https would need the very status that is fetched there (RFC 5280 section 8)"
        )
    return value.rstrip("/")


class CrlConfig(Strict):
    """Revocation lists.

    Attributes:
        every: a new list is made so often.
        lifetime: a list says that the next one comes this long after it; the time between is for trouble.
        after_revocation: a list follows a revocation after this long, with all that were revoked meanwhile.
        shards: certificates are spread over so many lists; 0: each names the complete list.
        delta: whether what changes between complete lists stands in delta lists.
    """

    every: Duration = Field(default="1d", validate_default=True)
    lifetime: Duration = Field(default="7d", validate_default=True)
    after_revocation: Duration = Field(default="5s", validate_default=True)
    shards: Annotated[int, Field(ge=0, le=1024)] = 0
    delta: bool = False

    @model_validator(mode="after")
    def _in_time(self) -> CrlConfig:
        if not self.every:
            raise ValueError("every must be longer than nothing")
        if self.lifetime < 2 * self.every:
            raise ValueError("lifetime must be at least twice every: a list that can't be made once must not lapse")
        return self


class OcspConfig(Strict):
    """OCSP answers.

    Attributes:
        lifetime: an answer says that there is a newer one after this long.
        certificate: the lifetime of the responder's own certificates; each is renewed after half of it.
        hsm: the responder's key, when it is in an HSM; None: a new one in memory for each certificate.
    """

    lifetime: Duration = Field(default="1h", validate_default=True)
    certificate: Duration = Field(default="14d", validate_default=True)
    hsm: HsmKeyConfig | None = None

    @model_validator(mode="after")
    def _in_time(self) -> OcspConfig:
        if not self.lifetime or self.certificate < 4 * self.lifetime:
            raise ValueError("certificate must be at least four times lifetime, which is longer than nothing")
        return self


class StatusConfig(Strict):
    """The status of one issuer's certificates.

    Attributes:
        url: the http listener's address as relying parties reach it; every certificate then names its revocation list,
            the OCSP responder and the issuer's certificate below it. None: certificates name what their profile says.
        crl: revocation lists.
        ocsp: OCSP answers.
    """

    url: Annotated[str, AfterValidator(_base)] | None = None
    crl: CrlConfig = Field(default_factory=CrlConfig)
    ocsp: OcspConfig = Field(default_factory=OcspConfig)

    @model_validator(mode="after")
    def _addressed(self) -> StatusConfig:
        if self.url is None and (self.crl.shards or self.crl.delta):
            raise ValueError("shards and delta lists need url: their addresses stand in certificates and lists")
        return self
