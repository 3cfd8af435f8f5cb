"""tls-alpn-01: right certificates, and those that are wrong in one thing (RFC 8737)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import warnings
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from server.acme.challenges.alpn_certificate import fault
from server.acme.challenges.connector import Connector
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.networks import Networks
from server.acme.challenges.proxy import Proxy
from server.acme.challenges.question import Question
from server.acme.challenges.resolver import LoopbackNames, SystemResolver
from server.acme.challenges.tls_alpn01 import TlsAlpn01
from tests.fakes.acme import new_key
from tests.fakes.issuer import NOW
from tests.fakes.proxy import http_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = "token.thumbprint"
DIGEST = sha256(KEY.encode()).digest()
IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
HOST = "a.localhost"


@dataclass(frozen=True)
class Recipe:
    """A certificate to be made; the default is right for `HOST`."""

    names: tuple[x509.GeneralName, ...] = (x509.DNSName(HOST),)
    oid: x509.ObjectIdentifier = IDENTIFIER
    value: bytes = der.octet_string(DIGEST)
    critical: bool = True
    issuer: str = "acme"
    foreign: bool = False
    extended: bool = True

    def make(self) -> tuple[x509.Certificate, Any]:
        key = new_key()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "acme")])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.issuer)])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
        if self.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(self.names), critical=False)
        if self.extended:
            builder = builder.add_extension(x509.UnrecognizedExtension(self.oid, self.value), critical=self.critical)
        return builder.sign(new_key() if self.foreign else key, SHA256()), key

    def der(self) -> bytes:
        return self.make()[0].public_bytes(Encoding.DER)


GOOD = Recipe()
WRONG = {
    "another name": (replace(GOOD, names=(x509.DNSName("b.localhost"),)), "exactly"),
    "two names": (replace(GOOD, names=(x509.DNSName(HOST), x509.DNSName("b.localhost"))), "exactly"),
    "an address beside": (replace(GOOD, names=(x509.DNSName(HOST), x509.IPAddress(ip_address("::1")))), "exactly"),
    "a wildcard": (replace(GOOD, names=(x509.DNSName("*.localhost"),)), "exactly"),
    "no name": (replace(GOOD, names=()), "exactly"),
    "a mail address": (replace(GOOD, names=(x509.RFC822Name("a@localhost"),)), "exactly"),
    "not critical": (replace(GOOD, critical=False), "not critical"),
    "no extension": (replace(GOOD, extended=False), "no acmeIdentifier"),
    "the OID of a draft": (replace(GOOD, oid=x509.ObjectIdentifier("1.3.6.1.5.5.7.1.30.1")), "no acmeIdentifier"),
    "another digest": (replace(GOOD, value=der.octet_string(bytes(32))), "not the digest"),
    "a short digest": (replace(GOOD, value=der.octet_string(DIGEST[:16])), "not the digest"),
    "a bare digest": (replace(GOOD, value=DIGEST), "not the digest"),
    "octets behind the digest": (replace(GOOD, value=der.octet_string(DIGEST) + b"x"), "not the digest"),
    "another issuer": (replace(GOOD, issuer="somebody"), "issued by itself"),
    "signed by another key": (replace(GOOD, foreign=True), "issued by itself"),
}


@pytest.mark.parametrize(("recipe", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_certificate_that_is_wrong_in_one_thing_shows_nothing(recipe: Recipe, said: str) -> None:
    assert said in fault(recipe.der(), HOST, DIGEST)


def test_a_right_certificate_shows_control() -> None:
    assert not fault(GOOD.der(), HOST, DIGEST)
    assert not fault(replace(GOOD, names=(x509.DNSName(HOST.upper()),)).der(), HOST, DIGEST)
    for address in ("127.0.0.1", "2001:db8::1"):
        named = replace(GOOD, names=(x509.IPAddress(ip_address(address)),))
        assert not fault(named.der(), address, DIGEST)
        assert fault(named.der(), HOST, DIGEST)


def test_two_addresses_are_not_the_same_for_being_letters() -> None:
    named = replace(GOOD, names=(x509.IPAddress(ip_address("65.66.67.68")),))
    assert not fault(named.der(), "65.66.67.68", DIGEST)
    assert "exactly" in fault(named.der(), "97.98.99.100", DIGEST)


def test_an_extension_that_stands_there_twice_is_refused() -> None:
    certificate = der.read(GOOD.der())
    tbs, *rest = der.children(certificate)
    fields = der.children(tbs)
    extensions = der.children(der.children(fields[-1])[0])
    doubled = der.tlv(0xA3, der.sequence(*(each.raw for each in (*extensions, extensions[0]))))
    made = der.sequence(der.sequence(*(each.raw for each in fields[:-1]), doubled), *(each.raw for each in rest))
    assert "twice" in fault(made, HOST, DIGEST)


def test_a_version_that_there_is_not_is_refused() -> None:
    right, absurd = (der.tlv(0xA0, der.integer(version)) for version in (2, 76))
    octets = GOOD.der()
    assert octets.count(right) == 1
    assert "issued by itself" in fault(octets.replace(right, absurd), HOST, DIGEST)


@given(st.one_of(st.binary(max_size=300), st.integers(0, 330).map(lambda n: GOOD.der()[:n])))
def test_no_octets_but_a_right_certificate_pass(octets: bytes) -> None:
    assert fault(octets, HOST, DIGEST)


@asynccontextmanager
async def serving(
    folder: Path,
    protocol: str = "acme-tls/1",
    *,
    recipe: Recipe = GOOD,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    asked: list[str] | None = None,
) -> AsyncIterator[int]:
    """A server with the certificate of the recipe; ``asked`` gets the names of the TLS extension."""
    certificate, key = recipe.make()
    file = folder / "both.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_alpn_protocols([protocol])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is old is what is wanted
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    if asked is not None:
        context.sni_callback = lambda _, name, __: asked.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the listener has been shut down
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)  # until the client leaves

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        await asyncio.to_thread(thread.join)  # the loop has to run for the client to close its end


def validator(port: int, network: str = "127.0.0.0/8") -> TlsAlpn01:
    return TlsAlpn01(Connector(LoopbackNames(SystemResolver()), Networks((ip_network(network),))), port, 1)


async def test_a_server_that_speaks_the_protocol_shows_control(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        await validator(port).validate(Question(HOST, "token", KEY))
        with pytest.raises(ValidationFailed) as failed:
            await validator(port).validate(Question(HOST, "token", "token.another"))
    assert failed.value.error == "unauthorized"


async def test_an_address_is_asked_for_by_its_name_in_the_reverse_tree(tmp_path: Path) -> None:
    asked: list[str] = []
    recipe = replace(GOOD, names=(x509.IPAddress(ip_address("127.0.0.1")),))
    async with serving(tmp_path, recipe=recipe, asked=asked) as port:
        await validator(port).validate(Question("127.0.0.1", "token", KEY))
    assert asked == ["1.0.0.127.in-addr.arpa"]


@pytest.mark.parametrize(("newest", "error"), [(ssl.TLSVersion.TLSv1_2, ""), (ssl.TLSVersion.TLSv1_1, "tls")])
async def test_an_old_version_of_tls_shows_nothing(tmp_path: Path, newest: ssl.TLSVersion, error: str) -> None:
    found = ""
    async with serving(tmp_path, newest=newest) as port:
        try:
            await validator(port).validate(Question(HOST, "token", KEY))
        except ValidationFailed as failed:
            found = failed.error
    assert found == error


async def test_control_is_shown_through_a_proxy_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as port, http_proxy(port) as proxy:
        connector = Connector(
            LoopbackNames(SystemResolver()), Networks((ip_network("127.0.0.0/8"),)), Proxy("127.0.0.1", proxy.port)
        )
        await TlsAlpn01(connector, 443, 5).validate(Question(HOST, "token", KEY))
    assert proxy.asked == ["CONNECT 127.0.0.1:443 HTTP/1.1"]
    async with serving(tmp_path, "http/1.1") as port, http_proxy(port) as proxy:
        through = Connector(
            LoopbackNames(SystemResolver()), Networks(None), Proxy("127.0.0.1", proxy.port, resolves=True)
        )
        with pytest.raises(ValidationFailed) as failed:
            await TlsAlpn01(through, 443, 5).validate(Question(HOST, "token", KEY))
    assert (failed.value.error, proxy.asked) == ("tls", [f"CONNECT {HOST}:443 HTTP/1.1"])


async def test_a_server_that_does_not_speak_the_protocol_shows_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, "http/1.1") as port:
        with pytest.raises(ValidationFailed) as failed:
            await validator(port).validate(Question(HOST, "token", KEY))
    assert failed.value.error == "tls"


async def test_where_nothing_listens_or_nothing_is_said_the_connection_failed(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        pass
    with pytest.raises(ValidationFailed) as failed:
        await validator(port).validate(Question(HOST, "token", KEY))
    assert failed.value.error == "connection"

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ValidationFailed) as failed:
        await validator(silent.getsockname()[1]).validate(Question(HOST, "token", KEY))
    assert failed.value.error == "connection"


async def test_an_address_that_is_not_permitted_is_not_connected_to() -> None:
    with pytest.raises(ValidationFailed) as failed:
        await validator(1, "192.0.2.0/24").validate(Question(HOST, "token", KEY))
    assert failed.value.final
