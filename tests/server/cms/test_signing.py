"""SignedData around contents of other types than data, verified by ourselves and by OpenSSL."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.asymmetric import ec

from ca import der
from server.cms.algorithms import Digest
from server.cms.certificates import SIGNED_DATA, content_info
from server.cms.key_package import KEY_PACKAGE, sign_key_package
from server.cms.signed import CONTENT_TYPE, MESSAGE_DIGEST, read_signed, verify
from server.cms.signing import attribute, octets_attribute, sign_content, signed_attributes
from tests.server.scep.device import bag, rsa_key, self_signed
from tests.wire.running import require_program

if TYPE_CHECKING:
    from pathlib import Path

KIND = "1.3.6.1.5.5.7.12.3"
CONTENT = der.sequence(der.null())
RSA, EC = rsa_key(), ec.generate_private_key(ec.SECP256R1())
OTHERS = self_signed(rsa_key("other"), "other"), self_signed(rsa_key("third"), "third")


@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
def test_a_content_of_another_type_is_signed_as_the_rfc_describes_it(key: Any, tmp_path: Path) -> None:
    certificate = self_signed(key)
    message = content_info(SIGNED_DATA, sign_content(KIND, CONTENT, key, [bag(certificate)]))
    signed = read_signed(message)
    verify(signed, key.public_key())
    assert (signed.content_type, signed.content) == (KIND, CONTENT)
    assert (signed.signer_certificate(), signed.signer.is_sorted) == (bag(certificate), True)
    parsed = cms.ContentInfo.load(message, strict=True)["content"]
    info = parsed["signer_infos"][0]
    assert (parsed["version"].native, info["version"].native) == ("v3", "v1")
    assert [each.native["algorithm"] for each in parsed["digest_algorithms"]] == ["sha256"]
    (tmp_path / "message").write_bytes(message)
    command = [require_program("openssl"), "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "message"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout == CONTENT


def test_the_bag_has_the_chain_and_what_else_is_to_go_along_each_once_and_in_the_order_of_der() -> None:
    chain = [bag(self_signed(EC)), bag(OTHERS[0])]
    lists = der.sequence(der.integer(2)), der.sequence(der.integer(1))
    encoded = sign_content(KIND, CONTENT, EC, chain, certificates=(*OTHERS, *OTHERS), crls=lists)
    fields = der.children(der.read(encoded))
    assert [each.tag for each in fields] == [der.INTEGER, der.SET, der.SEQUENCE, 0xA0, 0xA1, der.SET]
    bags = [[each.raw for each in der.children(field)] for field in fields[3:5]]
    assert bags == [sorted({chain[0].der, *OTHERS}), sorted(lists)]
    without = der.children(der.read(sign_content(KIND, CONTENT, EC, chain[:1])))
    assert [each.tag for each in without] == [der.INTEGER, der.SET, der.SEQUENCE, 0xA0, der.SET]


def test_a_key_package_holds_one_key() -> None:
    pkcs8 = der.sequence(der.integer(0), der.octet_string(b"a key"))
    signed = read_signed(content_info(SIGNED_DATA, sign_key_package(pkcs8, EC, [bag(self_signed(EC))])))
    verify(signed, EC.public_key())
    assert (signed.content_type, signed.content) == (KEY_PACKAGE, der.sequence(pkcs8))


@pytest.mark.parametrize("octets", [b"", b"x", bytes(127), bytes(128), bytes(300)])
def test_an_attribute_of_octets_is_written_as_any_other(octets: bytes) -> None:
    assert octets_attribute("1.2.3", octets) == attribute("1.2.3", der.octet_string(octets))
    assert octets_attribute("1.2.3", octets) == der.sequence(der.oid("1.2.3"), der.set_of(der.octet_string(octets)))


@pytest.mark.parametrize("content", [None, b"", b"hello"])
def test_what_is_signed_names_type_and_digest_of_the_content_in_the_order_of_der(content: bytes | None) -> None:
    others = [attribute("1.2.3.4", der.null()), attribute("1.2", der.null())]
    encoded = signed_attributes(others, content, Digest.SHA384)
    each = [one.raw for one in der.inside(der.read(encoded), der.SET)]
    assert each == sorted(each)
    digest = octets_attribute(MESSAGE_DIGEST, Digest.SHA384.digest(content or b""))
    assert set(each) == {*others, digest, attribute(CONTENT_TYPE, der.oid("1.2.840.113549.1.7.1"))}
