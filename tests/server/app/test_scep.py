"""SCEP's authorisation, wired as the configuration says."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ca.ceremony import make_root
from ca.names import DistinguishedName
from policies.document import DocumentErrors
from policies.request import EndpointName
from server.app.protocols import Services
from server.app.scep import authorizers, load_secrets
from server.app.secret_sources import Reader
from server.config import ScepEndpointConfig, load_config
from server.scep.authorization import ByHand, Challenges, DeviceList, Intune, Webhook

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HERE = EndpointName.parse("scep/default")
FILE = """\
version: 1
listeners:
  http: {address: 127.0.0.1, port: 8080}
issuers:
  issuing: {type: local, certificate: ca.pem, key: ca.key, passphrase_file: ca.passphrase, chain: chain.pem}
policies: policies
endpoints:
  scep/default:
    profiles: [network-device]
    ra: {certificate: ra.pem, key: ra.key}
    WAY
"""
DEVICES = "version: 1\ndevices: [{name: router-1}]\n"


def wired(folder: Path, way: str) -> list[type]:
    (folder / "secret").write_text("s3cret\n")
    (folder / "devices.yaml").write_text(DEVICES)
    (folder / "server.yaml").write_text(FILE.replace("WAY", way))
    config = load_config(folder / "server.yaml")
    endpoint = config.endpoints.scep[HERE]
    secrets = load_secrets(HERE, endpoint, Reader(config))
    assert "s3cret" not in repr(secrets)
    assert {secrets.webhook, secrets.intune} <= {b"", b"s3cret"}
    return [
        type(one) for one in authorizers(endpoint, secrets, cast("Any", None), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    ]


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("challenge: {one_time: true}", [Challenges]),
        ("{challenge: {one_time: true}, devices: devices.yaml}", [DeviceList, Challenges]),
        ('webhook: {url: "https://ra.example/hook", secret: {file: secret}}', [Webhook]),
        ("intune: {tenant: t.example, client_id: c, client_secret: {file: secret}}", [Intune]),
        ("by_hand: true", [ByHand]),
        ("challenge: {one_time: true}\n    by_hand: true", [Challenges, ByHand]),
        ("renewal: true", []),
    ],
    ids=str,
)
def test_the_configuration_says_who_authorises(tmp_path: Path, way: str, expected: list[type]) -> None:
    if way.startswith("{"):
        way = "challenge: {one_time: true}\n    devices: devices.yaml"
    assert wired(tmp_path, way) == expected


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("devices: nowhere.yaml", "can't be read"),
        ('webhook: {url: "https://ra.example/hook", secret: {file: nowhere}}', "can't be read"),
        ("challenge: {one_time: true, page: {users: users.yaml}}", "https"),
        ("https: true\n    challenge: {one_time: true}", "nothing here has TLS"),
        ("rollover: {issuer: isuing, profile: p, ra: {certificate: c, key: k}}", "isuing"),
        ("ra_renewal: {folder: f}", "profile"),
    ],
    ids=str,
)
def test_what_is_missing_is_told_with_its_place(tmp_path: Path, way: str, why: str) -> None:
    with pytest.raises(DocumentErrors, match=why) as caught:
        wired(tmp_path, way)
    assert "server.yaml:" in str(caught.value)


def test_an_endpoint_that_has_https_needs_no_plain_http(tmp_path: Path) -> None:
    https = "https: {port: 8443, certificate: tls.pem, key: tls.key}"
    (tmp_path / "server.yaml").write_text(
        FILE.replace("http: {address: 127.0.0.1, port: 8080}", https).replace("WAY", "https: true")
    )
    assert load_config(tmp_path / "server.yaml").endpoints.scep[HERE].https
    (tmp_path / "server.yaml").write_text(
        FILE.replace("http: {address: 127.0.0.1, port: 8080}", https).replace("WAY", "")
    )
    with pytest.raises(DocumentErrors, match='"http" is missing'):
        load_config(tmp_path / "server.yaml")


def test_a_revocation_list_is_found_by_its_issuers_name_and_of_two_with_one_name_the_endpoints_own() -> None:
    """After a change of CAs devices still ask about certificates of the one before."""
    named = {"old": "CN=One", "new": "CN=Other", "rekeyed": "CN=Other"}
    made = {name: make_root(DistinguishedName.from_text(text), now=NOW).certificate for name, text in named.items()}
    issuers = {name: SimpleNamespace(chain=lambda one=one: (one,)) for name, one in made.items()}
    parts = {
        "material": SimpleNamespace(issuers=issuers),
        "status": SimpleNamespace(shelf=SimpleNamespace(current_crl={"old": b"1", "new": b"2", "rekeyed": b"3"}.get)),
    }
    services = Services(**{field.name: cast("Any", parts.get(field.name)) for field in fields(Services)})
    one, other = (made[name].subject.public_bytes() for name in ("old", "new"))
    assert [services.current_crl("rekeyed")(name) for name in (one, other, b"")] == [b"1", b"3", None]
    assert services.current_crl("new")(other) == b"2"
    assert services.current_crl(None)(one) == b"1"


def test_the_files_of_authorisation_are_known_to_the_doctor() -> None:
    ra = {"certificate": "c", "key": "k"}
    intune = {"tenant": "t.example", "client_id": "c", "client_secret": {"file": "f"}}
    settings: list[dict[str, Any]] = [
        {"challenge": {"static": "s", "one_time": True, "page": {"users": "u"}}},
        {"webhook": {"url": "https://ra.example", "secret": {"file": "w"}}},
        {"intune": intune},
    ]
    found = [ScepEndpointConfig.model_validate({"profiles": ("p",), "ra": ra, **one}) for one in settings]
    assert [[str(path) for path in one.authorization_files()] for one in found] == [["s", "u"], ["w"], ["f"]]
