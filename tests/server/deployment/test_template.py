from __future__ import annotations

from typing import TYPE_CHECKING

from policies.request import EndpointName
from server.config import LocalIssuerConfig, load_config
from server.deployment.folder import Ports
from server.deployment.template import server_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config


def loaded(folder: Path, *hosts: str, ports: Ports | None = None) -> Config:
    path = folder / "server.yaml"
    path.write_text(server_yaml(ports or Ports(), hosts or ("localhost",)))
    return load_config(path)


def test_it_is_a_configuration_with_one_endpoint_for_each_protocol(tmp_path: Path) -> None:
    endpoints = loaded(tmp_path).endpoints.all()
    assert set(map(str, endpoints)) == {"est/default", "scep/default", "acme/default"}


def test_the_ports_are_where_they_belong(tmp_path: Path) -> None:
    config = loaded(tmp_path, ports=Ports(1001, 1002, 1003, 1004))
    https, http, admin = config.listeners.https, config.listeners.http, config.listeners.admin
    assert https
    assert http
    assert admin
    http01 = config.endpoints.acme[EndpointName.parse("acme/default")].http01
    assert (https.port, http.port, admin.port, http01.port) == (1001, 1002, 1003, 1004)


def test_clients_reach_it_by_every_host(tmp_path: Path) -> None:
    https = loaded(tmp_path, "ca.example.com", "127.0.0.1", "::1").listeners.https
    assert https
    assert https.origins() == ("https://ca.example.com:8443", "https://127.0.0.1:8443", "https://[::1]:8443")


def test_every_listener_is_on_loopback(tmp_path: Path) -> None:
    listeners = loaded(tmp_path).listeners
    for listener in (listeners.https, listeners.http, listeners.admin):
        assert listener
        assert listener.address == "127.0.0.1"


def test_certificates_point_to_the_first_name_of_the_server(tmp_path: Path) -> None:
    for first, host in (("ca.example.com", "ca.example.com"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        issuer = loaded(tmp_path, first, "localhost").issuers["issuing"]
        assert isinstance(issuer, LocalIssuerConfig)
        assert issuer.status.url == f"http://{host}:8080"
