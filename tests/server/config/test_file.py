"""The configuration file: what is taken, and what is said about everything else."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from policies.cases import PolicyTest
from policies.document import DocumentErrors, read_document
from policies.request import ENDPOINT_PROTOCOLS, EndpointName, Protocol
from policies.sections import Sections
from server.config import Config, LocalIssuerConfig, load_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Write = Callable[..., Path]

GOOD = """\
version: 1
listeners:
  https:
    certificate: tls/server.pem
    key: tls/server.key
    external_urls: ["https://localhost:8443/"]
  http: {address: "::1", port: 0}
issuers:
  issuing: {type: local, certificate: ca/i.pem, key: ca/i.key, passphrase_file: ca/i.pass, chain: chain.pem}
policies: policies
endpoints:
  est/default:
    profiles: [iot-device]
    authenticate: {passwords: secrets/est, certificates: true, certificates_from: [scep/default]}
    renewal_grace: 7d
  scep/default:
    profiles: [network-device]
    ra: {certificate: ra/ra.pem, key: ra/ra.key}
    challenge: {static: secrets/scep}
  acme/default:
    profiles: [tls-server]
    http01: {port: 5002, networks: [127.0.0.0/8], resolver: 127.0.0.53, loopback_names: true}
"""

OTHER_ISSUER = """\
  other: {type: local, certificate: a, key: b, passphrase_file: c, chain: d}
policies: policies"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*replacements: tuple[str, str]) -> Path:
        text = GOOD
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "server.yaml"
        path.write_text(text)
        return path

    return write


def test_paths_start_at_the_folder_of_the_file(write: Write, tmp_path: Path) -> None:
    config = load_config(write())
    assert config.policies == tmp_path / "policies"
    issuing = config.issuers["issuing"]
    assert isinstance(issuing, LocalIssuerConfig)
    assert issuing.key == tmp_path / "ca/i.key"
    assert config.file == tmp_path / "server.yaml"
    scep = config.endpoints.scep[EndpointName(Protocol.SCEP, "default")]
    assert scep.ra.key == tmp_path / "ra/ra.key"
    assert scep.ra.passphrase_file is None


def test_values_are_typed(write: Write) -> None:
    config = load_config(write())
    est = config.endpoints.est[EndpointName(Protocol.EST, "default")]
    acme = config.endpoints.acme[EndpointName(Protocol.ACME, "default")]
    assert est.renewal_grace == timedelta(days=7)
    assert est.authenticate.certificates_from == (EndpointName(Protocol.SCEP, "default"),)
    assert acme.http01.networks == (ip_network("127.0.0.0/8"),)
    assert config.ceilings.max_validity == timedelta(days=825)
    assert set(config.endpoints.all()) == {EndpointName(each, "default") for each in ENDPOINT_PROTOCOLS}


def test_the_origin_follows_from_address_and_port_when_there_is_no_external_url(write: Write) -> None:
    config = load_config(write(('    external_urls: ["https://localhost:8443/"]\n', '    address: "::1"\n')))
    assert config.listeners.https is not None
    assert config.listeners.https.origins() == ("https://[::1]:8443",)
    https = load_config(write()).listeners.https
    assert https is not None
    assert https.origins() == ("https://localhost:8443",)


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ("certs.db", "sqlite+aiosqlite:///{folder}/certs.db"),
        ("/var/lib/certs.db", "sqlite+aiosqlite:////var/lib/certs.db"),
        ("sqlite+aiosqlite:///certs.db", "sqlite+aiosqlite:///{folder}/certs.db"),
        ("sqlite:////var/lib/certs.db", "sqlite+aiosqlite:////var/lib/certs.db"),
    ],
)
def test_the_database_is_a_file_or_the_url_of_one(write: Write, tmp_path: Path, database: str, expected: str) -> None:
    config = load_config(write(("version: 1\n", f"version: 1\ndatabase: {database}\n")))
    assert config.database_url == expected.format(folder=tmp_path)


@pytest.mark.parametrize("database", ["postgresql://pki:hidden@db/pki", "sqlite://", '"sqlite:///:memory:"', '""'])
def test_another_database_is_refused_where_it_stands_and_its_password_not_repeated(write: Write, database: str) -> None:
    with pytest.raises(DocumentErrors) as caught:
        load_config(write(("version: 1\n", f"version: 1\ndatabase: {database}\n")))
    assert ":2:11: database: the database is an SQLite file: write its path" in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("policies: policies", "policy: policies", "10:1", 'unknown key "policy"; did you mean "policies"?'),
        ("renewal_grace: 7d", "renewal_grace: 7", "15:20", "90d"),
        ("est/default:", "ext/default:", "12:3", "est/default"),
        ("est/default:", "est/cacerts:", "12:3", "operation of EST"),
        ("est/default:", "acme/new-order:", "12:3", "resource of the endpoint acme/default"),
        ("est/default:", "est/a/b:", "12:3", "label"),
        ("authenticate: {passwords: secrets/est, certificates: true, certificates_from: [scep/default]}",
         "authenticate: {}", "14:5", "nobody could authenticate"),
        ("certificates: true, certificates_from", "certificates_from", "14:5", "certificates_from needs certificates"),
        ("    challenge: {static: secrets/scep}", "    renewal: false", "16:3", "nobody could enroll"),
        ("resolver: 127.0.0.53", "resolver: google", "22:61", "DNS resolver"),
        ("networks: [127.0.0.0/8]", "networks: [127.0.0.1/8]", "22:37", "host bits"),
        ('address: "::1"', "address: localhost", "7:19", "an IP address"),
        ("port: 0", "port: 70000", "7:32", "65535"),
        ('"https://localhost:8443/"', '"http://localhost:8443"', "6:21", "write the origin alone"),
        ("profiles: [tls-server]", "profiles: []", "21:5", "at least 1"),
        ("profiles: [tls-server]", "profiles: [tls-server]\n    issuer: isuing", "22:5", 'did you mean "issuing"?'),
        ("version: 1", "version: 2", "1:10", "1"),
        ("type: local", "type: remote", "9:3", "local"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_place(write: Write, old: str, new: str, place: str, message: str) -> None:
    path = write((old, new))
    with pytest.raises(DocumentErrors) as caught:
        load_config(path)
    assert any(str(p).startswith(f"{path}:{place}: ") and message in str(p) for p in caught.value.problems), (
        caught.value
    )


@pytest.mark.parametrize("address", ["127.0.0.1", '"::"'])
def test_two_listeners_on_one_port_are_refused(write: Write, address: str) -> None:
    admin = f"admin: {{address: 127.0.0.1, port: 8080}}\n  http: {{address: {address}, port: 8080}}"
    with pytest.raises(DocumentErrors, match="http and admin have the same port, 8080: give each its own"):
        load_config(write(('http: {address: "::1", port: 0}', admin)))


def test_two_listeners_on_one_port_of_two_addresses_are_not_refused(write: Write) -> None:
    admin = 'admin: {address: 127.0.0.1, port: 8080}\n  http: {address: "::1", port: 8080}'
    load_config(write(('http: {address: "::1", port: 0}', admin)))


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    path = write(("port: 0", "prt: 0"), ("version: 1", "version: one"), ("type: local", "type: remote"))
    with pytest.raises(DocumentErrors) as caught:
        load_config(path)
    assert [problem.location.line for problem in caught.value.problems] == [1, 7, 9]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD[GOOD.index("  https:") : GOOD.index("  http:")], "", 'need TLS: "https" is missing'),
        ('  http: {address: "::1", port: 0}\n', "", '"http" is missing'),
        ("policies: policies", OTHER_ISSUER, '"issuer" is missing; there are several: issuing, other'),
    ],
)  # fmt: skip
def test_parts_that_contradict_each_other_are_refused(write: Write, old: str, new: str, message: str) -> None:
    with pytest.raises(DocumentErrors, match=message):
        load_config(write((old, new)))


def test_a_file_without_endpoints_is_refused(write: Write) -> None:
    path = write()
    path.write_text(GOOD.partition("endpoints:")[0] + "endpoints: {}\n")
    with pytest.raises(DocumentErrors, match="there is no endpoint"):
        load_config(path)


@pytest.mark.parametrize("endpoints", ["[]", "none", "{1: {}}", "{est/default: 5}"])
def test_endpoints_of_another_kind_are_refused(write: Write, endpoints: str) -> None:
    path = write()
    path.write_text(GOOD.partition("endpoints:")[0] + f"endpoints: {endpoints}\n")
    with pytest.raises(DocumentErrors):
        load_config(path)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 - refused
def test_the_admin_listener_is_refused_on_other_addresses_than_loopback(write: Write, address: str) -> None:
    with pytest.raises(DocumentErrors, match="no login"):
        load_config(write(("issuers:", f'  admin: {{address: "{address}"}}\nissuers:')))
    assert load_config(write(("issuers:", "  admin: {}\nissuers:"))).listeners.admin is not None


def numbers_within(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield every field that holds a number, of a model and of all that stand in it."""
    seen.add(model)

    def parts(annotation: object) -> Iterator[object]:
        yield annotation
        for part in get_args(annotation):
            yield from parts(part)

    for name, about in model.model_fields.items():
        for part in parts(about.annotation):
            if part in {int, float}:
                yield model, name
            elif isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
                yield from numbers_within(part, seen)


NUMBERS = [*numbers_within(Config, set()), *numbers_within(Sections, set()), *numbers_within(PolicyTest, set())]


def test_the_numbers_of_all_files_are_known_here() -> None:
    names = {f"{model.__name__}.{name}" for model, name in NUMBERS}
    assert {"HttpsListener.port", "Http01.timeout_seconds", "Quota.active", "Given.active"} <= names


@pytest.mark.parametrize(("model", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("value", [True, False, "1", "8443"])
def test_true_and_what_stands_in_quotes_is_nowhere_a_number(model: type[BaseModel], name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({name: value})
    assert name in {error["loc"][0] for error in caught.value.errors()}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("port: 0", "port: true", ":7:32: listeners.http.port: must be a whole number, not true"),
        ("port: 0", 'port: "8080"', ':7:32: listeners.http.port: must be a whole number, not "8080"'),
        ("version: 1", "version: true", ":1:10: version: must be the number 1, not true"),
    ],
)
def test_a_port_and_a_version_are_numbers(write: Write, old: str, new: str, message: str) -> None:
    with pytest.raises(DocumentErrors) as caught:
        load_config(write((old, new)))
    assert str(caught.value).endswith(message)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DocumentErrors, match=r"server.yaml:1:1: can't be read: No such file.*certwright init"):
        load_config(tmp_path / "server.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentErrors, match="not UTF-8"):
        load_config(path)


@given(st.recursive(st.text(max_size=5) | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)
       | st.dictionaries(st.sampled_from(["version", "listeners", "https", "endpoints", "est/default", "limits", "a"]),
                         inner, max_size=4)))  # fmt: skip
def test_any_tree_is_a_configuration_or_document_errors(tree: object) -> None:
    try:
        read_document(json.dumps(tree), "server.yaml", Config)
    except DocumentErrors as errors:
        problems = errors.problems
    else:
        problems = ()
    assert all(problem.message for problem in problems)
