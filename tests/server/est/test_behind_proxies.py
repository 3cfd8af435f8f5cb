"""What proxies write, octet by octet on plain sockets: each form renews, and a forged field changes nothing."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.credential import credential, keep
from tests.server.est.lab import BASE, CHALLENGE_PASSWORD, Answer, Holder, csr, lab

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from tests.server.est.lab import Lab

Field = tuple[str, str]

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  linking: {linking}
  authenticate: {{one_time_passwords: true, certificates: true}}
"""
LISTENER = '{{address: 127.0.0.1, port: 0, proxies: [{proxy}], headers: {form}, external_urls: ["https://e.test"]}}'
FORMS = ("rfc9440", "nginx", "haproxy", "envoy")


def fields(form: str, chain: tuple[x509.Certificate, ...]) -> tuple[Field, ...]:
    """Return what a proxy of this kind writes of who presented these certificates."""
    octets = [each.public_bytes(Encoding.DER) for each in chain]
    pem = [quote(each.public_bytes(Encoding.PEM).decode(), safe="") for each in chain]
    leaf, *above = (b64encode(each).decode() for each in octets)
    match form:
        case "rfc9440":
            return ("Client-Cert", f":{leaf}:"), ("Client-Cert-Chain", ", ".join(f":{each}:" for each in above))
        case "nginx":
            return (("X-SSL-Client-Cert", pem[0]),)
        case "haproxy":
            joined = b64encode(b"".join(octets[1:])).decode()
            return (
                ("X-SSL-Protocol", "TLSv1.3"),
                ("X-SSL-Client-DER", leaf),
                ("X-SSL-Client-Chain-DER", joined),
            )
        case _:
            said = f'By=spiffe://e.test/est;Hash={"ab" * 32};Subject="CN=pump,O=\\"x\\"";URI=;DNS=a;'
            return (("X-Forwarded-Client-Cert", f'{said}Cert="{pem[0]}";Chain="{"".join(pem)}"'),)


async def send(running: Lab, path: str, body: bytes, *more: Field, basic: str | None = None) -> Answer:
    """Post on a plain connection of its own, as a proxy does."""

    def work() -> Answer:
        text = b64encode(body)
        lines = [f"POST {BASE}{path} HTTP/1.1", "Host: e.test", "User-Agent: lab", "Content-Type: application/pkcs10"]
        lines += [] if basic is None else [f"Authorization: Basic {b64encode(basic.encode()).decode()}"]
        lines += [f"{name}: {value}" for name, value in more] + [f"Content-Length: {len(text)}", "Connection: close"]
        with socket.create_connection(("127.0.0.1", running.ports["proxied"])) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + text)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *named = head.decode().split("\r\n")
        return Answer(int(status.split()[1]), dict(line.split(": ", 1) for line in named), rest)

    return await asyncio.to_thread(work)


async def enrolled(running: Lab) -> Holder:
    """Enroll by a password: the proxy says nothing of a certificate."""
    await keep(running.application.services.store, credential("otp", username="pump"))
    key = ec.generate_private_key(ec.SECP256R1())
    first = await send(running, "simpleenroll", csr("pump", key=key), basic="pump:otp")
    return Holder(key, (first.certificate, *running.application.services.chain(None)()[:1]))


@pytest.mark.parametrize("form", FORMS)
async def test_a_certificate_is_renewed_by_what_the_proxy_writes_and_by_nothing_else(folder: Path, form: str) -> None:
    listener = LISTENER.format(proxy="127.0.0.1/32", form=form)
    async with lab(folder, ENDPOINTS.format(linking="optional"), listener) as running:
        holder = await enrolled(running)
        mine = fields(form, holder.chain)
        renewed = await send(running, "simplereenroll", csr("pump"), *mine)
        assert renewed.certificate.subject.rfc4514_string() == "CN=pump"

        twice = await send(running, "simplereenroll", csr("pump"), *mine, mine[-1])
        assert (twice.status, b"more than one" in twice.body) == (400, True)
        for other in FORMS:
            if other != form:
                assert (await send(running, "simplereenroll", csr("pump"), *fields(other, holder.chain))).status == 403

        # Where the peers come themselves, fields say nothing: neither alone nor beside another certificate.
        forged = await running.post("simplereenroll", csr("pump"), fields=mine)
        assert forged.status == 403
        nobody = Holder(holder.key)
        assert (await running.post("simplereenroll", csr("pump"), holder=nobody, fields=mine)).status == 403


async def test_who_is_not_a_listed_proxy_is_not_even_heard(folder: Path) -> None:
    listener = LISTENER.format(proxy="192.0.2.1/32", form="envoy")
    async with lab(folder, ENDPOINTS.format(linking="optional"), listener) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        answer = await send(running, "simpleenroll", csr("pump"), basic="pump:otp")
    assert (answer.status, answer.body) == (403, b"this address is for this server's proxies alone\n")


@pytest.mark.parametrize(
    ("version", "said", "status"),
    [("TLSv1.2", b"unique", 200), ("TLSv1.2", b"other", 400), ("TLSv1.3", b"unique", 400)],
)
async def test_haproxy_carries_the_binding_of_tls_1_2(folder: Path, version: str, said: bytes, status: int) -> None:
    listener = LISTENER.format(proxy="127.0.0.1/32", form="haproxy, channel_binding: true")
    async with lab(folder, ENDPOINTS.format(linking="required"), listener) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        asked = csr("pump", attributes={CHALLENGE_PASSWORD: b64encode(said).decode()})
        unique = ("X-SSL-Unique-ID", b64encode(b"unique").decode())
        answer = await send(running, "simpleenroll", asked, ("X-SSL-Protocol", version), unique, basic="pump:otp")
    assert answer.status == status
