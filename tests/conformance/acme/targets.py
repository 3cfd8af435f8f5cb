"""The servers that the suite runs against, and what it has to know of each."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from ca import ceremony
from ca.names import DistinguishedName
from server.bench.process import free_ports
from server.clock import system_clock
from server.commands import eab
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.fakes.attestation import Maker
from tests.fakes.dns_server import DnsServer
from tests.wire.pebble import pebble
from tests.wire.running import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from server.deployment.folder import Deployment

CERTWRIGHT, PEBBLE, OTHER = "certwright", "pebble", "other"
_FORBIDDEN = "www.forbidden.invalid"
_EXTERNAL_KEY = "7v2Zr6oZVqf8Tg1Y3mK4xW5pQ0bL9cJd2nHsUaRtEiE"


@dataclass(frozen=True)
class External:
    """External account binding at a server: where, by which keys, in base64url, and whether it is required."""

    directory: str
    kid: str
    key: str
    required: bool
    once: tuple[str, str] | None = None


@dataclass(frozen=True)
class Target:
    """A server.

    Attributes:
        name: by which its differences are listed.
        directory: the URL of its directory.
        trust: the PEM file of the CA behind its TLS certificate.
        domain: every name below it leads to this machine.
        http01_port, tls_port: where it looks for answers; 0 where nobody can answer.
        forbidden: a name that it issues nothing for; empty when that is not known.
        txt: sets the TXT records at a name; None where nobody can.
        external: external account binding.
        elsewhere: the directory of another endpoint of the same server.
        limited: the directory of an endpoint where an account may make two orders in an hour.
        maker: makes devices that the server believes.
    """

    name: str
    directory: str
    trust: Path
    domain: str
    http01_port: int
    tls_port: int = 0
    forbidden: str = ""
    txt: Callable[[str, list[str]], None] | None = None
    external: External | None = None
    elsewhere: str = ""
    limited: str = ""
    maker: Maker | None = None


@dataclass
class _Records:
    """TXT records of our own DNS server; everything else does not exist."""

    texts: dict[str, list[str]] = field(default_factory=dict)

    def look(self, name: str) -> list[str] | int:
        found = self.texts.get(name, [])
        return [text if text.startswith(("-> ", "CAA ")) else f'"{text}"' for text in found] or 3

    def put(self, name: str, texts: list[str]) -> None:
        self.texts[f"{name}."] = texts


_SETTINGS = """\
    profiles: [tls-server, short]
    challenges: [http-01, dns-01, dns-account-01, dns-persist-01, tls-alpn-01, device-attest-01]
    dns01: {resolver: 127.0.0.1, port: DNS}
    dns_persist01: {identities: [ca.example], resolver: 127.0.0.1, port: DNS}
    tls_alpn01: {port: TLS, networks: [127.0.0.0/8], loopback_names: true}
    device_attest: {identifiers: ["permanent-identifier:*"], step: maker.pem}
    caa: {identities: [ca.example], resolver: 127.0.0.1, port: DNS}
    alternate_chains: [crossed.pem]
    pre_authorization: true
    subdomains: true
    terms_of_service: https://ca.example/terms
"""
_MORE = """\
  acme/bound:
    profiles: [tls-server]
    external_accounts: {required: true, sealing_key: {file: secrets/eab.key}}
  acme/limited:
    profiles: [tls-server]
    rate_limits: {orders_per_account: 2/1h}
"""


def _prepare(deployment: Deployment, dns_port: int, tls_port: int, maker: Maker) -> None:
    """Switch everything on that the checklist is about, in a deployment as `certwright init` makes it."""
    folder, config = deployment.folder, deployment.config
    settings = _SETTINGS.replace("DNS", str(dns_port)).replace("TLS", str(tls_port))
    config.write_text(config.read_text().replace("    profiles: [tls-server]\n", settings) + _MORE)
    (folder / "secrets" / "eab.key").write_text("0f" * 32)
    (folder / "maker.pem").write_bytes(maker.root.public_bytes(Encoding.PEM))
    issuing = x509.load_pem_x509_certificate((folder / "ca" / "issuing.pem").read_bytes())
    other = ceremony.make_root(DistinguishedName.from_text("CN=Other Root"), now=system_clock())
    crossed = ceremony.make_cross_certificate(issuing, other, now=system_clock())
    (folder / "crossed.pem").write_bytes(crossed.public_bytes(Encoding.PEM) + other.certificate_pem())
    policy = folder / "policies" / "tls-server.yaml"
    rules = policy.read_text().partition("\ntests:")[0].replace("wildcards: forbidden", "wildcards: allowed")
    policy.write_text(rules)
    short = rules.replace("default: 90d, max: 91d", "default: 7d, max: 8d").replace("  tls-server:", "  short:")
    (policy.parent / "short.yaml").write_text(short)


def _external_key(config: Path, uses: str) -> tuple[str, str]:
    """What `certwright eab new` makes: the key's identifier and the key."""
    options = ["acme/bound", "--uses", uses, "--json", "--config", str(config)]
    made = json.loads(CliRunner().invoke(eab.app, ["new", *options], catch_exceptions=False).stdout)
    return made["kid"], made["hmac_key"]


@contextmanager
def certwright(folder: Path) -> Iterator[Target]:
    """Our own server, with two workers, as `certwright init` makes it and with more switched on."""
    records = _Records()
    tls_port = free_ports(1)[0]
    with ExitStack() as stack:
        dns = DnsServer(records.look)
        stack.callback(dns.close)
        deployment = create(folder, ports=Ports(*free_ports(4)), clock=system_clock)
        maker = Maker(system_clock())
        _prepare(deployment, dns.port, tls_port, maker)
        running = serve(deployment, workers=2)
        stack.callback(running.process.stop)
        many, once = (_external_key(deployment.config, uses) for uses in ("0", "1"))
        bound = f"{running.https_url}/acme/bound/directory"
        yield Target(
            CERTWRIGHT,
            running.acme_directory,
            running.root_pem,
            "localhost",
            running.http01_port,
            tls_port,
            _FORBIDDEN,
            records.put,
            External(bound, *many, required=True, once=once),
            elsewhere=bound,
            limited=f"{running.https_url}/acme/limited/directory",
            maker=maker,
        )


@contextmanager
def reference(folder: Path) -> Iterator[Target]:
    """Pebble, with the DNS server that comes with it."""
    more = {"externalAccountBindingRequired": False, "externalAccountMACKeys": {"kid-1": _EXTERNAL_KEY}}
    quiet = {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_ALTERNATE_ROOTS": "1"}
    with pebble(folder, settings=more, environment=quiet) as running:

        def put(name: str, texts: list[str]) -> None:
            _call(f"{running.records}/clear-txt", {"host": f"{name}."})
            _call(f"{running.records}/clear-cname", {"host": f"{name}."})
            for text in texts:
                if text.startswith("-> "):
                    _call(f"{running.records}/set-cname", {"host": f"{name}.", "target": text.removeprefix("-> ")})
                else:
                    _call(f"{running.records}/set-txt", {"host": f"{name}.", "value": text})

        yield Target(
            PEBBLE,
            running.directory,
            folder / "trust.pem",
            "example.com",
            running.http01_port,
            running.tls_port,
            "blocked.example",
            put,
            External(running.directory, "kid-1", _EXTERNAL_KEY, required=False),
        )


def _call(url: str, values: Mapping[str, str]) -> None:
    with urlopen(Request(url, json.dumps(values).encode()), timeout=10) as answer:  # noqa: S310 - our own address
        answer.read()
