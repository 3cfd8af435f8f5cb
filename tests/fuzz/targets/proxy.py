"""What proxies say of the peer."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote_from_bytes

from cryptography.hazmat.primitives.serialization import Encoding

from server.proxy import Form, MalformedHeader, read_identity
from tests.fuzz.target import Target, tolerant
from tests.fuzz.targets.pkix import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Callable

_DER = [b64encode(each.public_bytes(Encoding.DER)) for each in CERTIFICATES]
_PEM = [quote_from_bytes(each.public_bytes(Encoding.PEM)).encode() for each in CERTIFICATES]
_FIELDS: dict[Form, tuple[str, ...]] = {
    "rfc9440": ("Client-Cert", "Client-Cert-Chain"),
    "nginx": ("X-SSL-Client-Cert",),
    "haproxy": ("X-SSL-Client-DER", "X-SSL-Client-Chain-DER", "X-SSL-Unique-ID", "X-SSL-Protocol"),
    "envoy": ("X-Forwarded-Client-Cert",),
}
_SEEDS: dict[Form, tuple[bytes, ...]] = {
    "rfc9440": (b":" + _DER[0] + b":\n:" + _DER[1] + b":",),
    "nginx": (_PEM[0],),
    "haproxy": (b"\n".join((_DER[0], _DER[1], b64encode(b"unique"), b"TLSv1.2")),),
    "envoy": (b'By=spiffe://x;Hash=ab;Cert="' + _PEM[0] + b'";Chain="' + b"".join(_PEM) + b'";Subject="CN=a\\",b;c"',),
}


def _reader(form: Form) -> Callable[[bytes], object]:
    """Return what takes the lines of the octets for the values of the fields."""

    def read(octets: bytes) -> object:
        lines = octets.decode("latin-1").split("\n")
        values = dict(zip(_FIELDS[form], lines, strict=False))
        return read_identity(form, lambda name: [values[name]] if name in values else [], channel_binding=True)

    return tolerant(read, MalformedHeader)


TARGETS = tuple(Target(f"proxy.{form}", _reader(form), _SEEDS[form]) for form in get_args(Form))
