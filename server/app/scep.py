"""Authorisation of SCEP endpoints, wired as the configuration says."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from policies.document import DocumentErrors
from server.scep.authorization import (
    ByHand,
    Challenges,
    DeviceList,
    Intune,
    IntuneAccount,
    MalformedDeviceList,
    Outside,
    Webhook,
    read_devices,
)

if TYPE_CHECKING:
    from policies.request import EndpointName
    from server.app.secret_sources import Reader
    from server.clock import Clock
    from server.config import ScepEndpointConfig
    from server.credentials import Credentials
    from server.scep.authorization import Authorizer
    from server.scep.authorization.devices import Device


@dataclass(frozen=True, slots=True)
class ScepSecrets:
    """What the authorisation of an endpoint needs besides its configuration.

    Attributes:
        devices: the list, None when there is none.
        webhook: signs requests to the webhook.
        intune: the client secret.
    """

    devices: tuple[Device, ...] | None = None
    webhook: bytes = field(default=b"", repr=False)
    intune: bytes = field(default=b"", repr=False)


def load_secrets(name: EndpointName, config: ScepEndpointConfig, reader: Reader) -> ScepSecrets:
    """Load it. Raises DocumentErrors."""
    here, devices, webhook, intune = ("endpoints", str(name)), None, b"", b""
    if config.devices is not None:
        try:
            devices = read_devices(config.devices)
        except MalformedDeviceList as error:
            raise DocumentErrors([reader.problem((*here, "devices"), str(error))]) from error
    if config.webhook is not None:
        webhook = reader.secret((*here, "webhook", "secret"), config.webhook.secret)
    if config.intune is not None:
        intune = reader.secret((*here, "intune", "client_secret"), config.intune.client_secret)
    return ScepSecrets(devices, webhook, intune)


def authorizers(
    config: ScepEndpointConfig, secrets: ScepSecrets, credentials: Credentials, clock: Clock
) -> tuple[Authorizer, ...]:
    """Return who authorises first enrollments through an endpoint, in the order in which they are asked."""
    found: list[Authorizer] = []
    if secrets.devices is not None:
        found.append(DeviceList(secrets.devices))
    if config.challenge is not None:
        found.append(Challenges(credentials))
    if config.by_hand:
        found.append(ByHand())
    if config.webhook is not None:
        webhook, outside = config.webhook, Outside(config.webhook.timeout_seconds)
        found.append(
            Webhook(url=webhook.url, identifier="certwright", secret=secrets.webhook, outside=outside, clock=clock)
        )
    if config.intune is not None:
        intune = config.intune
        account = IntuneAccount(
            tenant=intune.tenant,
            client_id=intune.client_id,
            client_secret=secrets.intune.decode("utf-8", "replace"),
            login=intune.login_url,
            graph=intune.graph_url,
            resource=intune.resource,
        )
        found.append(Intune(account, Outside(intune.timeout_seconds), monotonic))
    return tuple(found)
