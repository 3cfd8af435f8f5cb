"""Alternate chains as the configuration names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import ceremony
from ca.names import DistinguishedName
from policies.document import DocumentErrors
from policies.request import EndpointName
from server.app.alternate_chains import load_alternate_chains
from server.app.secret_sources import Reader
from server.clock import system_clock
from server.config import load_config
from server.deployment.folder import Ports
from server.deployment.making import create

NAME = EndpointName.parse("acme/default")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "deployment"
    create(made, ports=Ports(0, 0, 0, 5002), clock=system_clock)
    file = made / "server.yaml"
    settings = "    profiles: [tls-server]\n    alternate_chains: [other.pem]\n"
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", settings))
    return made


def load(folder: Path, *certificates: x509.Certificate) -> Sequence[Sequence[x509.Certificate]]:
    (folder / "other.pem").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    config = load_config(folder / "server.yaml")
    issuing = x509.load_pem_x509_certificate((folder / "ca" / "issuing.pem").read_bytes())
    return load_alternate_chains(NAME, config, Reader(config), [issuing])


def test_a_chain_of_the_issuing_ca_is_loaded_and_others_are_refused(folder: Path) -> None:
    now = system_clock()
    issuing = x509.load_pem_x509_certificate((folder / "ca" / "issuing.pem").read_bytes())
    root = ceremony.make_root(DistinguishedName.from_text("CN=Other"), now=now)
    cross = ceremony.make_cross_certificate(issuing, root, now=now)
    assert load(folder, cross, root.certificate) == ((cross, root.certificate),)
    for chain, message in (
        ((), "no PEM certificates"),
        ((root.certificate,), "same name, same key"),
        ((cross, issuing), "is not certified by the one after it"),
    ):
        with pytest.raises(DocumentErrors, match=message):
            load(folder, *chain)
