"""What ``certwright doctor`` looks at where devices attest: the roots that are pinned, and endpoints in test mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.document import DocumentErrors
from server.app.acme import roots_of
from server.commands.checks import Diagnosis, Level

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from policies.request import EndpointName
    from server.config import AcmeEndpointConfig, Config

_PIN = "put the manufacturer's current roots into the file, in PEM"


def check_attestations(config: Config, now: datetime) -> Iterator[Diagnosis]:
    """Look whether roots can be read and are valid, for each endpoint and each profile with its own."""
    for name, endpoint in config.endpoints.acme.items():
        yield from _endpoint(name, endpoint, config, now)
        if endpoint.danger_test_mode is not None:
            message = "it is in test mode: it refuses good nonces and is slow on purpose"
            yield Diagnosis(Level.WARNING, f"endpoint {name}", message, "take danger_test_mode out when tests are over")


def _endpoint(name: EndpointName, endpoint: AcmeEndpointConfig, config: Config, now: datetime) -> Iterator[Diagnosis]:
    sections = {str(name): endpoint.device_attest}
    sections |= {f"{name}, profile {profile}": own.device_attest for profile, own in endpoint.by_profile.items()}
    read = roots_of(name, config)
    for where, section in sections.items():
        for word, file in section.roots().items() if section is not None else ():
            subject = f"{word} roots of {where}"
            try:
                roots = read(file)
            except DocumentErrors as errors:
                yield Diagnosis(Level.ERROR, subject, str(errors), _PIN)
                continue
            over = [each.subject.rfc4514_string() for each in roots if each.not_valid_after_utc <= now]
            if over:
                yield Diagnosis(Level.ERROR, subject, f"not valid any more: {'; '.join(over)}", _PIN)
            else:
                yield Diagnosis(Level.OK, subject, f"{len(roots)} pinned")
