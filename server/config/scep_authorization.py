"""How first enrollments through SCEP are authorised."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from server.config.listeners import PositiveSeconds
from server.config.secret_sources import SecretSource
from server.config.values import split_url


def _service_url(text: str) -> str:
    parts = split_url(text)
    if parts.scheme == "https" and parts.hostname:
        return text.rstrip("/")
    try:
        loopback = parts.scheme == "http" and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError("write an https URL; http is for an address of this machine alone, like http://127.0.0.1:8000")
    return text.rstrip("/")


ServiceUrl = Annotated[str, AfterValidator(_service_url)]


class OtpPage(Strict):
    """A page like NDES' that makes a one-time challenge for whoever logs in; on the https listener alone.

    Attributes:
        users: a YAML file, user name to argon2 hash.
        expires: for how long a challenge is good.
    """

    users: Path
    expires: Duration = Field(default="60m", validate_default=True)


class Challenge(Strict):
    """What a SCEP client presents at its first enrollment.

    Attributes:
        static: a file that holds one argon2 hash of a challenge password which all devices share: whoever knows it can
            ask for every name that the profile allows.
        one_time: whether challenges that ``certwright credential new`` or the page makes are taken.
        page: the page that makes them.
    """

    static: Path | None = None
    one_time: bool = False
    page: OtpPage | None = None

    @model_validator(mode="after")
    def _is_any(self) -> Challenge:
        if self.static is None and not self.one_time:
            raise ValueError("nobody has a challenge here: give static: FILE or one_time: true")
        if self.page is not None and not self.one_time:
            raise ValueError("the page makes one-time challenges: set one_time: true")
        return self


class WebhookConfig(Strict):
    """A service that says yes or no, asked as step-ca asks its SCEPCHALLENGE webhooks.

    Attributes:
        url: where.
        secret: signs the requests (HMAC-SHA-256).
        timeout_seconds: how long it may take.
    """

    url: ServiceUrl
    secret: SecretSource
    timeout_seconds: PositiveSeconds = 10


class IntuneConfig(Strict):
    """Microsoft Intune, which validates the challenges that it makes.

    Attributes:
        tenant: the directory's name or identifier.
        client_id: the application that was registered for this.
        client_secret: its secret.
        login_url, graph_url, resource: Microsoft's, other ones for national clouds.
        timeout_seconds: how long one request may take.
    """

    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,255}$")]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretSource
    login_url: ServiceUrl = "https://login.microsoftonline.com"
    graph_url: ServiceUrl = "https://graph.microsoft.com"
    resource: str = "https://api.manage.microsoft.com/"
    timeout_seconds: PositiveSeconds = 20
