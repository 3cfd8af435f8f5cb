"""The text of a new ``server.yaml``, with the comments that an administrator reads first."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.deployment.folder import Ports

_TEMPLATE = Template("""\
# Certwright's configuration. Paths are relative to this file; an unknown key is an error, with a suggestion.
# After a change: `certwright doctor` says what is wrong with it and what to do, then start the server anew.
version: 1

# An SQLite file, made at the first start; `certwright db backup FILE` copies it while the server runs.
database: certwright.db

log:
  format: readable              # readable | json: one event for each request
  level: info

listeners:
  https:                        # EST and ACME
    address: 127.0.0.1          # 0.0.0.0 or "::" for all interfaces
    port: $https
    certificate: tls/server.pem # the server's certificate, then those above it
    key: tls/server.key
    renewal: {issuer: issuing, folder: tls/renewed}   # the server gets the next certificates by itself
    external_urls:              # as clients write it; ACME signatures are made over these
$external_urls
  http:                         # SCEP, which protects its messages itself
    address: 127.0.0.1
    port: $http
  admin:                        # health in detail; loopback only
    address: 127.0.0.1
    port: $admin

# The CA that signs. The key file is encrypted; keep the passphrase file where only the server can read it.
issuers:
  issuing:
    type: local
    certificate: ca/issuing.pem
    key: ca/issuing.key
    passphrase_file: ca/issuing.passphrase
    chain: chain.pem
    status:
      url: http://$status:$http  # stands in every certificate: the http listener as relying parties reach it

# The folder of profiles: what may be asked for, and what will be issued. `certwright policy check` reads them all.
policies: policies

# No profile goes beyond these, whatever it says.
ceilings:
  max_validity: 825d
  min_rsa_bits: 2048

# An endpoint is one protocol under one label. The label `default` is also served without a label.
endpoints:
  est/default:
    profiles: [iot-device]
    authenticate:
      passwords: secrets/est-passwords.yaml   # user name: argon2 hash of the password
      certificates: true                      # or by a certificate that was issued here
  scep/default:
    profiles: [network-device]
    ra:                                       # clients encrypt for this certificate; RSA, because SCEP needs it
      certificate: ra/ra.pem
      key: ra/ra.key
      passphrase_file: ra/ra.passphrase
    challenge:
      static: secrets/scep-challenge          # argon2 hash of one challenge password for all devices
  acme/default:
    profiles: [tls-server]
    http01:
      port: $http01                              # RFC 8555 says 80; another port is for development
      networks: [127.0.0.0/8, "::1/128"]      # where answers may be fetched from
      loopback_names: true                    # names under .localhost are this machine (RFC 6761), without DNS
""")


def server_yaml(ports: Ports, hosts: Sequence[str]) -> str:
    """Return the configuration for these ports; `hosts` are the names and addresses in the TLS certificate.

    The first is also where certificates say that their status is published.
    """
    written = [f"[{host}]" if ":" in host else host for host in hosts]
    urls = (f'      - "https://{host}:{ports.https}"' for host in written)
    return _TEMPLATE.substitute(
        https=ports.https,
        http=ports.http,
        admin=ports.admin,
        http01=ports.http01,
        status=written[0],
        external_urls="\n".join(urls),
    )
