"""What the doctor says of manufacturers' CAs and of their CRLs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_crl

from policies.request import EndpointName
from server.app.material import load_material
from server.commands.checks import Level
from server.commands.doctor import examine
from server.config import load_config
from tests.fakes.manufacturer import YESTERDAY, make

if TYPE_CHECKING:
    from pathlib import Path

END = YESTERDAY + timedelta(days=1000)


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [
        (1, Level.OK, "acme.crl is in force until"),
        (6.5, Level.WARNING, "only"),
        (8, Level.ERROR, "its devices are refused"),
    ],
)
@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_a_crl_that_ends_is_told_before_devices_are_refused(
    folder: Path, days: float, level: Level, says: str, form: Encoding
) -> None:
    prepare(folder, form)
    found = examine(folder / "server.yaml", lambda: YESTERDAY + timedelta(days=days))
    (crl,) = [one for one in found if one.subject == "acme at est/default" and "acme.crl" in one.message]
    assert crl.level is level
    assert says in crl.message
    assert crl.way_out or level is Level.OK


@pytest.mark.parametrize(("days", "level"), [(0, Level.OK), (950, Level.WARNING), (1001, Level.ERROR)])
def test_an_anchor_that_ends_is_told(folder: Path, days: int, level: Level) -> None:
    prepare(folder, Encoding.PEM)
    found = examine(folder / "server.yaml", lambda: YESTERDAY + timedelta(days=days))
    (anchor,) = [one for one in found if one.subject == "acme at est/default" and "CN=Acme" in one.message]
    assert anchor.level is level


def test_an_alternate_ca_of_a_scep_endpoint_is_told_too(folder: Path) -> None:
    make("Former", ca=True, end=END).write(folder / "trust" / "former.pem")
    file = folder / "server.yaml"
    others = "    alternate_cas: {former: {anchors: trust/former.pem, revocation: none}}\n"
    file.write_text(file.read_text().replace("  scep/default:\n", f"  scep/default:\n{others}"))
    config = load_config(file)
    anchors = load_material(config).authenticators[EndpointName.parse("scep/default")].anchors
    assert [one.name for one in anchors] == ["former"]
    found = examine(file, lambda: YESTERDAY + timedelta(days=950))
    (anchor,) = [one for one in found if one.subject == "former at scep/default"]
    assert anchor.level is Level.WARNING


def prepare(folder: Path, form: Encoding) -> None:
    root = make("Acme", ca=True, end=END)
    root.write(folder / "trust" / "acme.pem")
    path = root.crl(folder / "trust" / "acme.crl")
    if form is Encoding.DER:
        path.write_bytes(load_pem_x509_crl(path.read_bytes()).public_bytes(form))
    file = folder / "server.yaml"
    party = "      manufacturers: {acme: {anchors: trust/acme.pem, crls: [trust/acme.crl]}}\n"
    file.write_text(file.read_text().replace("    authenticate:\n", f"    authenticate:\n{party}"))
