"""What proxies write about the peer, read; anything else is malformed."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from server.config import Limits, ProxiedListener
from server.http import address, create_app, peer
from server.peer import NO_PEER, PeerIdentity
from server.proxy import Form, MalformedHeader, client_address, read_identity
from tests.fakes.manufacturer import make

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = make("Root", ca=True)
SUB = make("Sub", ROOT, ca=True)
LEAF = make("pump", SUB)
CHAIN = tuple(one.certificate for one in (LEAF, SUB, ROOT))
DER = [one.public_bytes(Encoding.DER) for one in CHAIN]
PEM = [quote(one.public_bytes(Encoding.PEM).decode(), safe="") for one in CHAIN]
B64 = [b64encode(one).decode() for one in DER]
NO_CERTIFICATE = quote("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
VERSION_3, VERSION_6 = b"\xa0\3\2\1\2", b"\xa0\3\2\1\5"
FORMS = get_args(Form)


def fields(**given: str | list[str]) -> Callable[[str], Sequence[str]]:
    found = {name.replace("_", "-").lower(): value for name, value in given.items()}

    def look_up(name: str) -> Sequence[str]:
        value = found.get(name.lower(), [])
        return [value] if isinstance(value, str) else value

    return look_up


def read(form: Form, *, channel_binding: bool = False, **given: Any) -> PeerIdentity:
    return read_identity(form, fields(**given), channel_binding=channel_binding)


HAPROXY: dict[str, Any] = {"X_SSL_Client_DER": B64[0], "X_SSL_Client_Chain_DER": b64encode(DER[1] + DER[2]).decode()}


@pytest.mark.parametrize(
    ("form", "given", "count"),
    [
        ("rfc9440", {"Client_Cert": f":{B64[0]}:"}, 1),
        ("rfc9440", {"Client_Cert": f" :{B64[0]}: ", "Client_Cert_Chain": f":{B64[1]}: , :{B64[2]}:"}, 3),
        ("rfc9440", {"Client_Cert": f":{B64[0]}:", "Client_Cert_Chain": ",".join([f":{B64[0]}:"] * 9)}, 1),
        ("nginx", {"X_SSL_Client_Cert": PEM[0]}, 1),
        ("nginx", {"X_SSL_Client_Cert": PEM[0].replace("%2B", "+")}, 1),
        ("haproxy", {"X_SSL_Client_DER": B64[0]}, 1),
        ("haproxy", HAPROXY, 3),
        ("envoy", {"X_Forwarded_Client_Cert": f'By=spiffe://x;Hash=ab;Cert="{PEM[0]}";Subject="CN=a\\",b;c"'}, 1),
        ("envoy", {"X_Forwarded_Client_Cert": f'URI=spiffe://x;URI=spiffe://y;Cert="{PEM[0]}";DNS=a;DNS=b'}, 1),
        ("envoy", {"X_Forwarded_Client_Cert": f'Cert="{PEM[0]}";Chain="{"".join(PEM)}"'}, 3),
    ],
)
def test_each_form_gives_the_certificates_as_they_were_presented(form: Form, given: dict[str, Any], count: int) -> None:
    found = read(form, **given)
    assert found.presented == CHAIN[:count]
    assert (found.leaf, found.source, found.unreadable, found.binding) == (CHAIN[0], form, False, None)


@pytest.mark.parametrize("form", FORMS)
def test_without_a_field_there_is_no_certificate_and_fields_of_another_form_do_not_count(form: Form) -> None:
    assert (read(form).leaf, read(form).unreadable) == (None, False)
    every: dict[str, dict[str, Any]] = {
        "rfc9440": {"Client_Cert": f":{B64[0]}:"},
        "nginx": {"X_SSL_Client_Cert": PEM[0]},
        "haproxy": {"X_SSL_Client_DER": B64[0]},
        "envoy": {"X_Forwarded_Client_Cert": f'Cert="{PEM[0]}"'},
    }
    others = {name: value for other, given in every.items() if other != form for name, value in given.items()}
    assert (read(form, **others).leaf, read(form, **others).unreadable) == (None, False)
    assert read(form, **every[form]).leaf == CHAIN[0]


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ("rfc9440", {"Client_Cert": [f":{B64[0]}:", f":{B64[0]}:"]}),
        ("rfc9440", {"Client_Cert": f":{B64[0]}:, :{B64[1]}:"}),
        ("rfc9440", {"Client_Cert": B64[0]}),
        ("rfc9440", {"Client_Cert": ":A:"}),
        ("rfc9440", {"Client_Cert_Chain": f":{B64[1]}:"}),
        ("rfc9440", {"Client_Cert": f":{B64[0]}:", "Client_Cert_Chain": ",".join([f":{B64[1]}:"] * 10)}),
        ("nginx", {"X_SSL_Client_Cert": "garbage"}),
        ("nginx", {"X_SSL_Client_Cert": "%20"}),
        ("nginx", {"X_SSL_Client_Cert": PEM[0] + "x"}),
        ("nginx", {"X_SSL_Client_Cert": [PEM[0], PEM[0]]}),
        ("haproxy", {"X_SSL_Client_Chain_DER": B64[1]}),
        ("haproxy", {"X_SSL_Client_DER": "?"}),
        ("haproxy", {"X_SSL_Client_DER": B64[0], "X_SSL_Client_Chain_DER": b64encode(b"0\x82\xff\xff0").decode()}),
        *(
            ("haproxy", {"X_SSL_Client_DER": B64[0], "X_SSL_Client_Chain_DER": b64encode(octets).decode()})
            for octets in (b"12345", b"1\x82\0\1x", b"0\x7e1234", b"0\x81\0", b"0")
        ),
        ("envoy", {"X_Forwarded_Client_Cert": f'Cert="{PEM[0]}",Cert="{PEM[1]}"'}),
        ("envoy", {"X_Forwarded_Client_Cert": f'Cert="{PEM[0]}";Cert="{PEM[1]}"'}),
        ("envoy", {"X_Forwarded_Client_Cert": f'Cert="{PEM[0]}";Chain="{PEM[1]}";chain="{PEM[2]}"'}),
        ("envoy", {"X_Forwarded_Client_Cert": f'Cert="{PEM[0]}{PEM[1]}"'}),
    ],
)
def test_what_the_proxy_can_not_have_written_is_malformed(form: Form, given: dict[str, Any]) -> None:
    with pytest.raises(MalformedHeader):
        read(form, **given)


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ("rfc9440", {"Client_Cert": f":{b64encode(b'no certificate').decode()}:"}),
        ("nginx", {"X_SSL_Client_Cert": NO_CERTIFICATE}),
        ("envoy", {"X_Forwarded_Client_Cert": f'Cert="{NO_CERTIFICATE}"'}),
        ("envoy", {"X_Forwarded_Client_Cert": f'Cert="{PEM[0]}";Chain="{PEM[0]}{NO_CERTIFICATE}"'}),
        ("haproxy", {"X_SSL_Client_DER": b64encode(b"no certificate").decode()}),
        ("rfc9440", {"Client_Cert": f":{b64encode(DER[0].replace(VERSION_3, VERSION_6, 1)).decode()}:"}),
        ("haproxy", {"X_SSL_Client_DER": B64[0], "X_SSL_Client_Chain_DER": b64encode(b"0\x81\x01x").decode()}),
    ],
)
def test_a_certificate_that_can_not_be_read_is_not_overlooked(form: Form, given: dict[str, Any]) -> None:
    assert read(form, **given) == PeerIdentity(source=form, unreadable=True)


@given(st.sampled_from(FORMS), st.dictionaries(st.sampled_from(sorted(HAPROXY)), st.text()), st.text())
def test_any_fields_are_read_or_malformed(form: Form, given: dict[str, Any], text: str) -> None:
    given |= {"Client_Cert": text, "X_SSL_Client_Cert": text, "X_Forwarded_Client_Cert": text, "X_SSL_Unique_ID": text}
    with suppress(MalformedHeader):
        read(form, channel_binding=True, **given)


@pytest.mark.parametrize(
    ("taken", "version", "binding"),
    [(True, "TLSv1.2", b"unique"), (False, "TLSv1.2", None), (True, "TLSv1.3", None), (True, "", None)],
)
def test_tls_unique_is_taken_from_haproxy_where_it_is_defined_and_wanted(
    version: str, binding: bytes | None, *, taken: bool
) -> None:
    more: dict[str, Any] = {"X_SSL_Protocol": version, "X_SSL_Unique_ID": b64encode(b"unique").decode()}
    found = read("haproxy", channel_binding=taken, X_SSL_Client_DER=B64[0], **more)
    assert (found.binding, found.binding_type) == (binding, "tls-unique" if binding else None)
    assert (found.leaf, found.tls_version) == (CHAIN[0], version or None)


def test_a_tls_unique_of_no_octets_is_none_and_a_version_that_is_not_known_is_none() -> None:
    found = read("haproxy", channel_binding=True, X_SSL_Client_DER=B64[0], X_SSL_Protocol="TLSv1.2")
    assert (found.binding, found.binding_type) == (None, None)
    assert read("haproxy", X_SSL_Client_DER=B64[0], X_SSL_Protocol="TLSv1.1").tls_version is None


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([], "192.0.2.1"),
        (["198.51.100.7"], "198.51.100.7"),
        (["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        (["203.0.113.9", "2001:db8::1"], "2001:db8::1"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["unknown"], "192.0.2.1"),
    ],
)
def test_the_proxys_own_word_alone_is_the_clients_address(forwarded: list[str], address: str) -> None:
    assert client_address(fields(X_Forwarded_For=forwarded), "192.0.2.1") == address


# --- on a listener -----------------------------------------------------------------------------------------------


async def ask(proxied: ProxiedListener | None, **headers: str) -> tuple[int, str]:
    async def readiness() -> Mapping[str, str]:
        return {}

    async def who(request: web.Request) -> web.Response:
        found = peer(request)
        name = found.leaf.subject.rfc4514_string() if found.leaf else "nobody"
        return web.Response(text=f"{name} {address(request)} {found == NO_PEER}")

    app = create_app("proxied", Limits(), readiness, lambda: "1", proxied=proxied)
    app.router.add_get("/who", who)
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/who", headers={name.replace("_", "-"): value for name, value in headers.items()})
        return response.status, await response.text()


def listener(*proxies: str) -> ProxiedListener:
    return ProxiedListener.model_validate(
        {"proxies": proxies, "headers": "rfc9440", "external_urls": ["https://est.example"]}
    )


async def test_a_listed_proxy_is_believed() -> None:
    spoken: dict[str, Any] = {"Client_Cert": f":{B64[0]}:", "X_Forwarded_For": "10.0.0.1, 198.51.100.7"}
    assert await ask(listener("127.0.0.0/8", "::1/128"), **spoken) == (200, "CN=pump 198.51.100.7 False")


async def test_whoever_is_not_listed_is_turned_away() -> None:
    status, text = await ask(listener("192.0.2.0/24"), Client_Cert=f":{B64[0]}:")
    assert (status, text) == (403, "this address is for this server's proxies alone\n")


async def test_on_any_other_listener_the_same_fields_change_nothing() -> None:
    spoken: dict[str, Any] = {"Client_Cert": f":{B64[0]}:", "X_Forwarded_For": "198.51.100.7"}
    assert await ask(None, **spoken) == (200, "nobody 127.0.0.1 True")


async def test_a_malformed_field_is_a_400() -> None:
    status, text = await ask(listener("127.0.0.1/32"), Client_Cert="x")
    assert (status, text) == (400, "a certificate is not written :base64: (RFC 9440 section 2.1)\n")


@pytest.mark.parametrize(
    "change", [{"proxies": ["0.0.0.0/0"]}, {"proxies": []}, {"channel_binding": True}, {"external_urls": []}]
)
def test_a_listener_that_would_believe_anybody_is_a_configuration_error(change: dict[str, Any]) -> None:
    good = {"proxies": ["192.0.2.1/32"], "headers": "nginx", "external_urls": ["https://est.example"]}
    assert ProxiedListener.model_validate(good).headers == "nginx"
    with pytest.raises(ValueError, match=r"proxies|channel_binding|external_urls"):
        ProxiedListener.model_validate(good | change)
