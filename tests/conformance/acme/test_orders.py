"""1.6: orders, finalize, certificates (RFC 8555 section 7.4)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.conformance.acme.client import NotOffered, b64, make_csr

if TYPE_CHECKING:
    from tests.conformance.acme.client import Client, Issued
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks


@checks("NO-O1")
def test_an_order_is_honoured_exactly_or_refused(target: Target, client: Client, name: str) -> None:
    order = client.order(name)
    assert order.status == 201
    assert order.location
    answer = client.order(name, notAfter="2031-01-01T00:00:00Z")
    assert answer.status >= 400 or answer.json["notAfter"] == "2031-01-01T00:00:00Z"
    if target.forbidden:
        assert client.order(name, target.forbidden).refused("rejectedIdentifier", 400, 403)


@checks("NO-O2")
def test_the_same_order_again_can_be_finalized_by_itself(client: Client, name: str) -> None:
    first, second = client.ready(name), client.ready(name)
    for order in {first.location: first, second.location: second}.values():
        assert client.finalize(order, make_csr(name)).status == 200


@checks("FI-1")
def test_finalize_is_for_ready_orders_and_can_be_repeated(client: Client, issued: Issued, name: str) -> None:
    order = client.order(name)
    assert client.finalize(order, make_csr(name)).refused("orderNotReady", 403)
    client.authorize(order)
    csr = make_csr(name)
    assert client.finalize(order, csr).status == 200
    again = client.finalize(order, csr)
    assert (again.status, again.json["status"] in {"processing", "valid"}) == (200, True)
    client.until(order.location, "valid")
    assert client.finalize(order, make_csr(name)).refused("orderNotReady", 403)


@checks("FI-2")
def test_a_csr_is_der_with_a_good_signature_by_a_key_of_no_account(client: Client, fresh: Client, name: str) -> None:
    order, good = client.ready(name), make_csr(name)
    assert client.post(order.json["finalize"], {"csr": b64(good) + "="}).error in {"malformed", "badCSR"}
    pem = x509.load_der_x509_csr(good).public_bytes(Encoding.PEM).decode()
    assert client.post(order.json["finalize"], {"csr": pem}).error in {"malformed", "badCSR"}
    forged = bytearray(good)
    forged[-1] ^= 1
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    for csr in (good + b"\0", bytes(forged), b"", good[:-4], make_csr(name, key=weak)):
        assert client.finalize(order, csr).error in {"badCSR", "malformed", "badPublicKey"}
    for account in (client, fresh):
        assert client.finalize(order, make_csr(name, key=account.key.private)).refused("badCSR", 400)


@checks("FI-3")
def test_the_names_of_a_csr_are_those_of_the_order(client: Client, name: str) -> None:
    order = client.ready(name)
    for csr in (
        make_csr(f"other.{name}"),
        make_csr(name, f"other.{name}"),
        make_csr(),
        make_csr(name, common_names=[f"other.{name}"]),
        make_csr(name, common_names=[name, f"other.{name}"]),
        make_csr(name, extra=[x509.RFC822Name("a@example.com")]),
        make_csr(name, extra=[x509.UniformResourceIdentifier("https://example.com/")]),
        make_csr(name, extra=[x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")]),
    ):
        assert client.finalize(order, csr).refused("badCSR", 400)
    assert client.finalize(order, make_csr(name, common_names=[name])).status == 200


@checks("FI-4")
def test_a_bad_csr_leaves_the_order_ready_and_its_extensions_are_not_copied(client: Client, name: str) -> None:
    order = client.ready(name)
    assert client.finalize(order, make_csr(f"other.{name}")).error == "badCSR"
    assert client.post(order.location).json["status"] == "ready"
    wanted = (
        x509.BasicConstraints(ca=True, path_length=3),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
    )
    if client.finalize(order, make_csr(name, extensions=wanted)).error == "badCSR":
        return
    done = client.until(order.location, "valid").json
    certificate = x509.load_pem_x509_certificates(client.post(done["certificate"]).body)[0]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert ExtendedKeyUsageOID.CODE_SIGNING not in usage.value


@checks("FI-5")
def test_finalize_answers_with_the_order(client: Client, name: str) -> None:
    order = client.ready(name)
    answer = client.finalize(order, make_csr(name))
    assert answer.status == 200
    assert answer.location == order.location
    assert answer.json["status"] in {"processing", "valid"}
    if answer.json["status"] == "processing":
        assert re.fullmatch("[0-9]+", answer.headers["Retry-After"])


@checks("FI-6")
def test_one_order_makes_one_certificate(client: Client, name: str) -> None:
    order, csr = client.ready(name), make_csr(name)
    for _ in range(3):
        assert client.finalize(order, csr).status == 200
    url = client.until(order.location, "valid").json["certificate"]
    assert client.post(url).body == client.post(url).body


@checks("PA-1")
def test_a_name_can_be_authorized_before_an_order(fresh: Client, name: str) -> None:
    url = fresh.url("newAuthz")
    made = fresh.post(url, {"identifier": {"type": "dns", "value": name}})
    assert made.status == 201
    assert made.json["status"] in {"pending", "valid"}
    wildcard = fresh.post(url, {"identifier": {"type": "dns", "value": f"*.{name}"}})
    assert wildcard.error in {"malformed", "rejectedIdentifier"}
    fresh.answer(fresh.challenge(made.location))
    assert fresh.until(made.location, "valid", "invalid").json["status"] == "valid"
    order = fresh.order(name)
    assert order.json["status"] == "ready"
    assert order.json["authorizations"] == [made.location]


@checks("CE-1")
def test_a_chain_is_pem_with_the_certificate_first(issued: Issued) -> None:
    answer = issued.answer
    assert answer.status == 200
    assert answer.headers.get_content_type() == "application/pem-certificate-chain"
    lines = answer.body.decode("ascii").splitlines()
    assert re.sub(r"[A-Za-z0-9+/=]", "", "".join(lines)).replace("-", "").strip() == ""
    assert "" not in lines
    for lower, upper in zip(issued.chain, issued.chain[1:], strict=False):
        lower.verify_directly_issued_by(upper)
    assert issued.certificate.public_key() == issued.key.public_key()
    assert all(each.issuer != each.subject for each in issued.chain)


@checks("CE-2")
def test_other_chains_are_linked_from_each(client: Client, issued: Issued) -> None:
    others = issued.answer.links("alternate")
    if not others:
        raise NotOffered("one chain only")
    for url in others:
        answer = client.post(url)
        assert answer.status == 200
        chain = x509.load_pem_x509_certificates(answer.body)
        assert chain[0] == issued.certificate
        assert answer.links("alternate")
        assert answer.body != issued.answer.body


@checks("CE-3")
def test_a_certificate_is_answered_whatever_is_accepted(client: Client, issued: Issued) -> None:
    url = issued.order["certificate"]
    for accept in ("text/html", "application/pkix-cert", "application/pem-certificate-chain;q=0.1", "*/*"):
        answer = client.send(url, client.jws(url), Accept=accept)
        assert answer.status == 200, accept
        if answer.headers.get_content_type() == "application/pkix-cert":
            assert answer.body == issued.der
            assert answer.links("up")


@checks("CE-4")
def test_a_certificate_is_for_its_account_at_an_address_nobody_guesses(
    client: Client, fresh: Client, issued: Issued
) -> None:
    url = issued.order["certificate"]
    assert fresh.post(url).status in {401, 403, 404}
    assert any(len(part) >= 16 for part in url.split("/")[3:])
    assert client.post(url).body == issued.answer.body


@checks("RV-1")
def test_a_certificate_is_revoked_by_all_its_octets(client: Client, name: str) -> None:
    done, url = client.issue(name), client.url("revokeCert")
    edited = bytearray(done.der)
    edited[-1] ^= 1
    assert client.post(url, {"certificate": b64(bytes(edited))}).status >= 400
    own = x509.CertificateBuilder().subject_name(done.certificate.subject).issuer_name(done.certificate.issuer)
    own = own.serial_number(done.certificate.serial_number).public_key(done.key.public_key())
    same_serial = own.not_valid_before(done.certificate.not_valid_before_utc).not_valid_after(
        done.certificate.not_valid_after_utc
    )
    made = same_serial.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.DER)
    assert client.post(url, {"certificate": b64(made)}).status >= 400
    answer = client.post(url, {"certificate": b64(done.der), "reason": 4})
    assert (answer.status, answer.body) == (200, b"")


@checks("RV-2")
def test_three_may_revoke_and_nobody_else(client: Client, fresh: Client, name: str) -> None:
    done, url = client.issue(name), client.url("revokeCert")
    request = {"certificate": b64(done.der)}
    stranger = fresh.other()
    assert stranger.post(url, request).status in {401, 403}
    assert fresh.post(url, request).refused("unauthorized", 403)
    fresh.ready(name)  # it has shown control of every name now
    assert fresh.post(url, request).status == 200
    own = client.issue(f"k.{name}")
    by_key = client.other(replace(client.key, private=own.key))
    assert by_key.post(url, {"certificate": b64(own.der), "reason": 1}).status == 200


@checks("RV-3")
def test_a_reason_is_one_that_a_subscriber_may_give(client: Client, name: str) -> None:
    done = client.issue(name)
    for reason in (2, 6, 7, 8, 9, 10, 11, -1):
        answer = client.post(client.url("revokeCert"), {"certificate": b64(done.der), "reason": reason})
        assert answer.refused("badRevocationReason"), reason


@checks("RV-4")
def test_a_certificate_is_revoked_once_and_a_foreign_one_never(client: Client, name: str) -> None:
    done, url = client.issue(name), client.url("revokeCert")
    assert client.post(url, {"certificate": b64(done.der)}).status == 200
    assert client.post(url, {"certificate": b64(done.der)}).refused("alreadyRevoked")
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    own = (
        x509.CertificateBuilder().subject_name(nobody).issuer_name(nobody).serial_number(5).public_key(key.public_key())
    )
    foreign = own.not_valid_before(done.certificate.not_valid_before_utc).not_valid_after(
        done.certificate.not_valid_after_utc
    )
    answer = client.post(url, {"certificate": b64(foreign.sign(key, SHA256()).public_bytes(Encoding.DER))})
    assert answer.error in {"malformed", "unauthorized"}
