"""EST through the proxies that people put in front: a real nginx and a real HAProxy end TLS."""

from __future__ import annotations

import asyncio
import shutil
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.fakes.credential import credential, keep
from tests.fakes.manufacturer import make
from tests.server.est.lab import CHALLENGE_PASSWORD, Device, Holder, csr, lab
from tests.wire.running import require_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cryptography import x509

    from tests.server.est.lab import Answer, Lab

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  linking: {linking}
  authenticate: {{one_time_passwords: true, certificates: true{more}}}
"""
MAKERS = ", manufacturers: {acme: {anchors: acme.pem, revocation: none}}"
NGINX = """
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/tls/server.pem;
    ssl_certificate_key {folder}/tls/server.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_verify_client optional_no_ca;
    location /.well-known/est/ {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
HAPROXY = """
global
  log stderr local0
  tune.ssl.cachesize 0
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend est
  bind 127.0.0.1:{port} ssl crt {folder}/haproxy.pem verify optional ca-file {folder}/root.pem crt-ignore-err all ca-ignore-err all no-tls-tickets ssl-min-ver TLSv1.2
{headers}
  http-request set-header X-Forwarded-For %[src]
  default_backend certwright
backend certwright
  server certwright 127.0.0.1:{behind}
"""  # noqa: E501 - HAProxy has no way to continue a line
OWN_HEADERS = """
  http-request del-header X-SSL- -m beg
  http-request set-header X-SSL-Protocol %[ssl_fc_protocol]
  http-request set-header X-SSL-Unique-ID %[ssl_fc_unique_id,base64]
  http-request set-header X-SSL-Client-DER %[ssl_c_der,base64] if { ssl_c_used }
  http-request set-header X-SSL-Client-Chain-DER %[ssl_c_chain_der,base64] if { ssl_c_used }
"""
STANDARD_HEADERS = """
  http-request del-header Client-Cert
  http-request del-header Client-Cert-Chain
  http-request set-header Client-Cert :%[ssl_c_der,base64]: if { ssl_c_used }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "deployment"
    create(folder, ports=Ports(0, 0, 0, 5002), clock=system_clock)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "deployment")


@asynccontextmanager
async def proxied(
    folder: Path, headers: str, start: Callable[[int, int], list[str]], *, linking: str = "optional", more: str = ""
) -> AsyncIterator[tuple[Lab, int]]:
    """Run the application with a proxy in front; yield it with the proxy's port."""
    (port,) = free_ports(1)
    listener = f'{{port: 0, proxies: [127.0.0.1/32], {headers}, external_urls: ["https://localhost:{port}"]}}'
    async with lab(folder, ENDPOINTS.format(linking=linking, more=more), listener) as running:
        line = start(port, running.ports["proxied"])
        process = await asyncio.create_subprocess_exec(*line, stderr=asyncio.subprocess.DEVNULL)
        try:
            await _answers(port)
            yield running, port
        finally:
            process.terminate()
            await process.wait()


async def _answers(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    pytest.fail("the proxy does not answer")


def nginx(folder: Path) -> Callable[[int, int], list[str]]:
    program = require_program("nginx", "apt-get install nginx-light")

    def start(port: int, behind: int) -> list[str]:
        file = folder / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, port=port, behind=behind))
        return [str(program), "-c", str(file), "-e", str(folder / "nginx.log")]

    return start


def haproxy(folder: Path, headers: str) -> Callable[[int, int], list[str]]:
    program = require_program("haproxy")

    def start(port: int, behind: int) -> list[str]:
        pair = [(folder / "tls" / name).read_text() for name in ("server.pem", "server.key")]
        (folder / "haproxy.pem").write_text("".join(pair))
        file = folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(folder=folder, port=port, behind=behind, headers=headers))
        return [str(program), "-f", str(file)]

    return start


async def renews(running: Lab, port: int) -> tuple[Holder, Answer]:
    """Enroll by password and renew by certificate, both through the proxy; return what was renewed and the answer."""
    await keep(running.application.services.store, credential("otp", username="pump", uses_left=5))
    key = ec.generate_private_key(ec.SECP256R1())
    first = await running.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"), port=port)
    holder = Holder(key, (first.certificate,))
    return holder, await running.post("simplereenroll", csr("pump"), holder=holder, port=port)


def spoofs(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    """Return every field that any form knows, with a certificate that the sender does not have the key of."""
    octets, pem = certificate.public_bytes(Encoding.DER), certificate.public_bytes(Encoding.PEM).decode()
    encoded, escaped = b64encode(octets).decode(), pem.replace("\n", "%0A").replace("+", "%2B")
    return (
        ("Client-Cert", f":{encoded}:"),
        ("X-SSL-Client-Cert", escaped),
        ("X-SSL-Client-DER", encoded),
        ("X-Forwarded-Client-Cert", f'Cert="{escaped}"'),
        ("X-Forwarded-For", "203.0.113.66"),
    )


@pytest.mark.parametrize("form", ["nginx", "haproxy", "rfc9440"])
async def test_a_certificate_is_renewed_through_a_proxy_and_a_spoofed_one_is_not(
    folder: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = OWN_HEADERS if form == "haproxy" else STANDARD_HEADERS
    start = nginx(folder) if form == "nginx" else haproxy(folder, own)
    async with proxied(folder, f"headers: {form}", start) as (running, port):
        holder, renewed = await renews(running, port)
        assert renewed.status == 200, renewed
        stolen = spoofs(renewed.certificate)
        for where in (port, running.ports["https"]):
            answer = await running.post("simplereenroll", csr("pump"), fields=stolen, port=where)
            assert (answer.status, b"client certificate" in answer.body) == (403, True), answer
        other = await running.post("simplereenroll", csr("pump"), holder=holder, fields=stolen, port=port)
        assert other.status == 200
    assert "client=127.0.0.1" in "".join(capsys.readouterr())


@pytest.mark.parametrize("tls", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
async def test_haproxy_passes_the_channel_binding_of_tls_1_2_on(folder: Path, tls: int) -> None:
    headers = "headers: haproxy, channel_binding: true"
    async with proxied(folder, headers, haproxy(folder, OWN_HEADERS), linking="required") as (running, port):
        await keep(running.application.services.store, credential("otp", username="pump", uses_left=5))

        def work(value: str | None) -> Answer:
            with Device(port, tls=tls) as device:
                bound = csr("pump", attributes={CHALLENGE_PASSWORD: value or device.binding})
                spoof = (("X-SSL-Unique-ID", b64encode(b"mine").decode()), ("X-SSL-Protocol", "TLSv1.2"))
                return device.post("simpleenroll", bound, basic=("pump", "otp"), fields=spoof)

        assert (await asyncio.to_thread(work, None)).status == (200 if tls == SSL.TLS1_2_VERSION else 400)
        assert (await asyncio.to_thread(work, b64encode(b"mine").decode())).status == 400


async def test_without_being_told_so_the_binding_is_not_taken_from_haproxy(folder: Path) -> None:
    async with proxied(folder, "headers: haproxy", haproxy(folder, OWN_HEADERS), linking="required") as (running, port):
        await keep(running.application.services.store, credential("otp", username="pump"))

        def work() -> Answer:
            with Device(port, tls=SSL.TLS1_2_VERSION) as device:
                bound = csr("pump", attributes={CHALLENGE_PASSWORD: device.binding})
                return device.post("simpleenroll", bound, basic=("pump", "otp"))

        assert (await asyncio.to_thread(work)).status == 400


@pytest.mark.parametrize("tls", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
async def test_haproxy_has_the_chain_of_who_would_resume_a_session_too(folder: Path, tls: int) -> None:
    """libest resumes the session of its first request, which had no password, for the second, which has it."""
    root = make("Acme Root", ca=True)
    root.write(folder / "acme.pem")
    sub = make("Acme Sub CA", root, ca=True)
    leaf = make("pump", sub)
    holder = Holder(leaf.key, (leaf.certificate, sub.certificate))
    start = haproxy(folder, OWN_HEADERS)
    async with proxied(folder, "headers: haproxy", start, more=MAKERS) as (_, port):

        def work() -> tuple[Answer, Answer]:
            with Device(port, holder, tls=tls) as first:
                enrolled = first.post("simpleenroll", csr("pump"))
            with Device(port, holder, tls=tls, resumes=first) as second:
                return enrolled, second.post("simpleenroll", csr("pump"))

        assert [answer.status for answer in await asyncio.to_thread(work)] == [200, 200]
