"""http-01 on loopback sockets: what is followed, what is read, what is refused (RFC 8555 sections 8.3 and 10.4)."""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.ceremony import make_issuing_ca, make_root, make_tls_certificate
from ca.names import DistinguishedName, dns_name
from server.acme.challenges.connector import Connector
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.http01 import Http01, http01
from server.acme.challenges.networks import Networks
from server.acme.challenges.question import Question
from server.acme.challenges.resolver import LoopbackNames, Unresolvable
from server.config import Http01 as Http01Config
from tests.fakes.http import RawServer, raw_server
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from server.acme.challenges.networks import Address

LOOPBACK = Networks((ip_network("127.0.0.0/8"),))
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
KEY_AUTHORIZATION = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
GOOD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(KEY_AUTHORIZATION)}\r\n\r\n{KEY_AUTHORIZATION}".encode()


class Names:
    """A resolver with a table; each look-up takes the next answer of a name, the last one stays."""

    def __init__(self, **table: list[tuple[str, ...]]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def resolve(self, name: str) -> tuple[Address, ...]:
        self.asked.append(name)
        answers = self.table.get(name.replace(".", "_"))
        if not answers:
            raise Unresolvable(name)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return tuple(ip_address(text) for text in answer)


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def body(text: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *(headers or (f"Content-Length: {len(text)}",))]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


async def validate(
    server: RawServer, name: str = "www.localhost", names: Names | None = None, networks: Networks = LOOPBACK
) -> None:
    resolver = LoopbackNames(names or Names())
    await Http01(Connector(resolver, networks), server.port, 1.0).validate(Question(name, TOKEN, KEY_AUTHORIZATION))


async def failure(server: RawServer, name: str = "www.localhost", **options: Names | Networks) -> ValidationFailed:
    with pytest.raises(ValidationFailed) as failed:
        await validate(server, name, **options)  # type: ignore[arg-type] # two keywords, two types
    return failed.value


async def test_the_key_authorization_is_fetched_from_the_name() -> None:
    async with raw_server({PATH: GOOD}) as server:
        await validate(server)
    head = server.heads[0].decode()
    assert head.startswith(f"GET {PATH} HTTP/1.1\r\nHost: www.localhost:{server.port}\r\n")
    assert "Connection: close" in head


@pytest.mark.parametrize(
    "answer",
    [
        body(KEY_AUTHORIZATION.encode() + b"\n"),
        body(KEY_AUTHORIZATION.encode() + b"\r\n \t\r\n"),
        body(KEY_AUTHORIZATION.encode(), "Connection: close"),
        GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GOOD.replace(b"Content-Length", b"content-length"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + GOOD,
        body(
            b"5\r\n"
            + KEY_AUTHORIZATION[:5].encode()
            + b"\r\n52;x=y\r\n"
            + KEY_AUTHORIZATION[5:].encode()
            + b"\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked",
        ),
    ],
    ids=["newline", "white space", "until close", "HTTP/1.0", "lower case", "continue", "hints", "chunked"],
)
async def test_a_right_answer_is_taken_in_every_usual_form(answer: bytes) -> None:
    async with raw_server({PATH: answer}) as server:
        await validate(server)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (body(b"something else"), "incorrectResponse"),
        (body(b""), "incorrectResponse"),
        (body(b" " + KEY_AUTHORIZATION.encode()), "incorrectResponse"),
        (body(KEY_AUTHORIZATION.encode()[:-1]), "incorrectResponse"),
        (body(KEY_AUTHORIZATION.encode() + b"\0"), "incorrectResponse"),
        (body(KEY_AUTHORIZATION.encode() + b"\n" * 500), "incorrectResponse"),
        (body(KEY_AUTHORIZATION.encode(), status="404 Not Found"), "unauthorized"),
        (body(KEY_AUTHORIZATION.encode(), status="201 Created"), "unauthorized"),
        (body(KEY_AUTHORIZATION.encode(), status="500 Oops"), "unauthorized"),
        (redirect("/elsewhere", 303), "unauthorized"),
        (redirect("/elsewhere", 300), "unauthorized"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 87\r\n\r\nshort", "connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "connection"),
        (b"HTTP/2 200 OK\r\n\r\n", "connection"),
        (b"HTTP/1.1 abc\r\n\r\n", "connection"),
        (b"HTTP/1.1 \xb2\xb2\xb2\r\n\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", "connection"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + GOOD, "connection"),
        (body(b"zz\r\n", "Transfer-Encoding: chunked"), "connection"),
        (body(b"-5\r\n12345", "Transfer-Encoding: chunked"), "connection"),
        (body(b"ff\r\nshort", "Transfer-Encoding: chunked"), "connection"),
        (body(b"fffff\r\n" + b"x" * 1000, "Transfer-Encoding: chunked"), "incorrectResponse"),
        (b"", "connection"),
    ],
)
async def test_a_wrong_answer_fails_with_its_error_and_is_not_echoed(answer: bytes, error: str) -> None:
    async with raw_server({"*": answer}) as server:
        failed = await failure(server)
    assert (failed.error, failed.final) == (error, False)
    assert "www.localhost" in failed.detail or "redirects" in failed.detail
    assert "something else" not in failed.detail
    assert "OpenSSH" not in failed.detail


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH\x1b[31m\r\n", "ended in the header, 22 octets beginning 'SSH-2.0-OpenSSH.[31m..'"),
        (b"HTTP/2 200\r\n\r\n", "no response of HTTP/1.0 or HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20000 + b"\r\n\r\n", "a header of more than 16384 octets"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "a body that ended before its length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "header lines, a length or chunks that RFC 9112"),
        (b"HTTP/1.1 103 X\r\n\r\n" * 9, "interim responses without end"),
    ],
)
async def test_why_a_response_can_not_be_used_is_for_administrators_only(answer: bytes, said: str) -> None:
    question = Question("www.localhost", TOKEN, KEY_AUTHORIZATION)
    async with raw_server({"*": answer}) as server:
        validator = Http01(Connector(LoopbackNames(Names()), LOOPBACK), server.port, 1.0)
        with pytest.raises(ValidationFailed) as failed:
            await validator.validate(question)
    assert said in question.trail[-1]
    assert failed.value.detail == "no usable HTTP response from www.localhost"


async def test_a_body_without_end_is_not_read() -> None:
    async with raw_server({"*": body(b"x" * 10_000_000, "Content-Length: 1000000000")}) as server:
        assert (await failure(server)).error == "incorrectResponse"


async def test_a_peer_that_says_nothing_runs_into_the_time_limit() -> None:
    async with raw_server({"*": None}) as server:
        failed = await failure(server)
    assert (failed.error, failed.detail) == ("connection", "www.localhost did not answer in time")


async def test_a_peer_that_drips_runs_into_the_time_limit() -> None:
    async with raw_server({"*": GOOD}, drip=0.05) as server:
        assert "in time" in (await failure(server)).detail


async def test_nobody_listens() -> None:
    async with raw_server({}) as server:
        pass
    assert (await failure(server)).error == "connection"


async def test_a_name_without_address_fails_with_dns() -> None:
    async with raw_server({"*": GOOD}) as server:
        failed = await failure(server, "nowhere.test")
    assert (failed.error, failed.final, server.heads) == ("dns", False, [])


async def test_a_name_with_a_forbidden_address_is_never_connected_to_and_not_tried_again() -> None:
    async with raw_server({"*": GOOD}) as server:
        failed = await failure(server, "www.localhost", networks=Networks(None))
    assert (failed.error, failed.final, server.heads) == ("unauthorized", True, [])


async def test_of_several_addresses_only_the_permitted_are_tried() -> None:
    names = Names(mixed_test=[("169.254.169.254", "10.0.0.1", "127.0.0.1")])
    async with raw_server({"*": GOOD}) as server:
        await validate(server, "mixed.test", names)


async def test_the_address_that_was_judged_is_the_one_connected_to() -> None:
    # The name moves between two look-ups (DNS rebinding): there is only one look-up.
    names = Names(rebinding_test=[("127.0.0.1",), ("169.254.169.254",)])
    async with raw_server({"*": GOOD}) as server:
        await validate(server, "rebinding.test", names)
    assert names.asked == ["rebinding.test"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_followed(status: int) -> None:
    async with raw_server({PATH: redirect("/moved?a=b#fragment", status), "/moved?a=b": GOOD}) as server:
        await validate(server)
    assert len(server.heads) == 2


async def test_a_redirect_leads_to_another_name_which_is_looked_up_and_judged_anew() -> None:
    names = Names(other_test=[("127.0.0.1",)])

    def answers(port: int) -> dict[str, bytes | None]:
        return {PATH: redirect(f"http://OTHER.test.:{port}/x"), "/x": GOOD}

    async with raw_server(answers) as server:
        await validate(server, names=names)
    assert names.asked == ["other.test"]
    assert f"Host: other.test:{server.port}".encode() in server.heads[1]


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[fe80::1]/",
        "http://10.0.0.1/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::7f00:1]/",
        "http://inside.test/",
    ],
)
async def test_a_redirect_to_a_forbidden_address_ends_the_validation(target: str) -> None:
    names = Names(inside_test=[("192.168.7.7",)])
    async with raw_server({PATH: redirect(target)}) as server:
        failed = await failure(server, names=names)
    assert (failed.error, failed.final) == ("unauthorized", True)
    assert "networks" in failed.detail


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("ftp://www.localhost/x", "other than http"),
        ("file:///etc/passwd", "other than http"),
        ("gopher://www.localhost:70/", "other than http"),
        ("http://user:secret@www.localhost/", "user information"),
        ("http://user@www.localhost/", "user information"),
        ("http://www.localhost:22/", "port"),
        ("http://www.localhost:8081/", "port"),
        ("http://www.localhost:99999/", "not a URL"),
        ("http://www.localhost:x/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("https://a..localhost/", "not a host name"),
        (f"https://{'a' * 64}.localhost/", "not a host name"),
        ("http://a%0d%0ahost.localhost/", "not a host name"),
        ("http://[::1%25lo]/", "not a host name"),
        ("", "not a URL"),
        ("/with space", "not a URL"),
        ("/\u00e4", "not a URL"),
        ("/" + "x" * 3000, "not a URL"),
        (PATH, "loop"),
    ],
)
async def test_a_redirect_that_leads_astray_is_refused(target: str, why: str) -> None:
    async with raw_server({PATH: redirect(target).replace(b"\xc3", b"")}) as server:
        failed = await failure(server)
    assert failed.error == "unauthorized"
    assert why in failed.detail
    assert len(server.heads) == 1


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "017700000001"])
async def test_numbers_that_look_like_host_names_are_judged_as_what_they_resolve_to(host: str) -> None:
    names = Names()
    names.table[host.replace(".", "_")] = [("10.0.0.9",)]
    async with raw_server({PATH: redirect(f"http://{host}/")}) as server:
        failed = await failure(server, names=names)
    assert (failed.error, failed.final) == ("unauthorized", True)


async def test_redirects_come_to_an_end() -> None:
    answers: dict[str, bytes | None] = {PATH: redirect("/0")}
    answers |= {f"/{n}": redirect(f"/{n + 1}") for n in range(20)}
    async with raw_server(answers) as server:
        failed = await failure(server)
    assert "too often" in failed.detail
    assert len(server.heads) == 10


async def test_a_redirect_to_https_is_followed_whatever_the_certificate(tmp_path: Path) -> None:
    context = _tls(tmp_path)
    async with raw_server({"/x": GOOD}, context) as secure, raw_server({}) as plain:
        plain.answers = {PATH: redirect(f"https://www.localhost:{secure.port}/x")}
        connector = Connector(LoopbackNames(Names()), LOOPBACK)
        validator = Http01(connector, plain.port, 2.0)
        validator._ports.add(secure.port)
        await validator.validate(Question("www.localhost", TOKEN, KEY_AUTHORIZATION))


async def test_a_redirect_to_https_where_no_tls_is_spoken_fails_with_tls() -> None:
    async with raw_server(lambda port: {PATH: redirect(f"https://www.localhost:{port}/x")}) as plain:
        listening = await asyncio.start_server(_banner, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        plain.answers = {PATH: redirect(f"https://www.localhost:{port}/x")}
        validator = Http01(Connector(LoopbackNames(Names()), LOOPBACK), plain.port, 2.0)
        validator._ports.add(port)
        with pytest.raises(ValidationFailed) as failed:
            await validator.validate(Question("www.localhost", TOKEN, KEY_AUTHORIZATION))
        listening.close()
    assert failed.value.error == "tls"


async def _banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    await reader.read()
    writer.close()


def _tls(folder: Path) -> ssl.SSLContext:
    nobody = DistinguishedName.from_text("CN=Nobody")
    issuing = make_issuing_ca(make_root(nobody, now=NOW), nobody, now=NOW)
    made = make_tls_certificate(issuing, nobody, [dns_name("other.test")], now=NOW)
    pem = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tls.pem").write_bytes(pem + made.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


async def test_the_configuration_of_an_endpoint_describes_its_validator() -> None:
    async with raw_server({"*": GOOD}) as server:
        config = Http01Config.model_validate(
            {"port": server.port, "networks": ["127.0.0.0/8"], "loopback_names": True, "timeout_seconds": 2}
        )
        await http01(config).validate(Question("deep.down.localhost", TOKEN, KEY_AUTHORIZATION))
        await http01(config).validate(Question("localhost", TOKEN, KEY_AUTHORIZATION))
        closed = http01(Http01Config.model_validate({"port": server.port, "loopback_names": True}))
        with pytest.raises(ValidationFailed):
            await closed.validate(Question("localhost", TOKEN, KEY_AUTHORIZATION))
