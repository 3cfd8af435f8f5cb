"""ACME with acme-tiny: one Python script, a CSR of one's own, a web server's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import Device, device, dns_names, openssl
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.wire.acme_site import AcmeSite


@dataclass(frozen=True)
class AcmeTiny:
    """One machine with acme-tiny."""

    site: AcmeSite
    folder: Path
    tokens: Path

    def __call__(self, csr: Path, *options: str, check: bool = True) -> CompletedProcess[str]:
        return run(
            *(require_program("acme-tiny"), "--account-key", self.folder / "account.key"),
            *("--csr", csr, "--acme-dir", self.tokens, "--directory-url", self.site.server.acme_directory),
            *("--disable-check", *options),  # its own check asks the system's resolver for the name
            environment={"SSL_CERT_FILE": str(self.site.server.root_pem)},
            check=check,
        )


@pytest.fixture
def acme_tiny(site: AcmeSite, tmp_path: Path) -> Iterator[AcmeTiny]:
    openssl("genrsa", "-out", tmp_path / "account.key", "2048")
    with site.web(tmp_path / "web") as tokens:
        yield AcmeTiny(site, tmp_path, tokens)


@pytest.fixture
def host(site: AcmeSite, tmp_path: Path) -> Device:
    return device(tmp_path / "host", site.name("tiny"))


def test_acme_tiny_gets_a_certificate_for_the_names_of_a_request_and_another(acme_tiny: AcmeTiny, host: Device) -> None:
    names = (host.name, f"www.{host.name}")
    host.ask(*names)
    certificates = []
    for options in (("--contact", "mailto:pki@example.com"), ()):
        host.certificate.write_text(acme_tiny(host.csr, *options).stdout)
        certificates.append(acme_tiny.site.accepted(host.certificate))
    first, second = certificates
    assert set(dns_names(first)) == set(dns_names(second)) == set(names)
    assert first != second


def test_acme_tiny_is_told_which_name_is_forbidden_and_why(acme_tiny: AcmeTiny, host: Device) -> None:
    host.ask(host.name, "tiny.google.com")
    refused = acme_tiny(host.csr, check=False)
    assert refused.returncode != 0
    assert "tiny.google.com" in refused.stderr
    assert "not allowed" in refused.stderr


def test_acme_tiny_is_told_that_a_key_is_too_small(acme_tiny: AcmeTiny, host: Device) -> None:
    host.ask(key=("rsa:1024",))
    refused = acme_tiny(host.csr, check=False)
    assert refused.returncode != 0
    assert "badCSR" in refused.stderr
    assert "1024" in refused.stderr
