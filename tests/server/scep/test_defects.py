"""Security defects that other SCEP servers had, each with the test that keeps it out here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import der
from policies.request import EndpointName
from server.cms.algorithms import Cipher, Digest, KeyTransport
from server.cms.certificates import ENVELOPED_DATA, content_info
from server.cms.enveloped import read_envelope
from server.credentials import Authenticators
from server.outcome import Problem, Reason
from server.store.credentials import CredentialKind
from tests.server.scep.device import (
    CONTENT_TYPE,
    DATA,
    MESSAGE_DIGEST,
    SCEP,
    csr,
    enrollment,
    envelope,
    read_reply,
    rsa_key,
    self_signed,
)
from tests.server.scep.lab import ISSUING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tests.server.scep.lab import Lab

KEY = rsa_key()
MESSAGE_TYPES = [
    *(der.printable(str(number)) for number in range(31) if number not in {17, 19, 20}),
    *map(der.printable, ("019", "19 ", " 19", "+19", "1 9", "19.0", "-19", "")),
    der.integer(19),
    der.octet_string(b"19"),
    der.utf8("\uff11\uff19"),
    der.sequence(),
]


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=bytes.hex)
async def test_every_other_message_type_is_a_bad_request_and_never_a_certificate(lab: Lab, kind: bytes) -> None:
    """A server that parsed UpdateReq (18) like a request, but authorised only 17 and 19, let anyone in."""
    reply = await lab.ask(enrollment(lab.ra_der, kind=kind))
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert await lab.issued() == 0
    (request,) = await lab.requests()
    assert (request.reason, request.transaction) == (Reason.MALFORMED, "transaction-1")


async def test_an_absent_message_type_is_a_bad_request(lab: Lab) -> None:
    reply = await lab.ask(enrollment(lab.ra_der, omitted=frozenset({SCEP + "2"})))
    assert (reply.status, reply.fail_info) == ("2", "2")


@pytest.mark.parametrize("repeated", [SCEP + "2", SCEP + "5", SCEP + "7", CONTENT_TYPE, MESSAGE_DIGEST])
async def test_a_repeated_attribute_is_no_scep_message(lab: Lab, repeated: str) -> None:
    answer = await lab.send(enrollment(lab.ra_der, repeated=frozenset({repeated})))
    assert (answer.status, answer.content_type) == (400, "text/plain")
    assert await lab.issued() == 0


@pytest.mark.parametrize("signers", [0, 2])
async def test_none_or_two_signers_are_no_scep_message(lab: Lab, signers: int) -> None:
    answer = await lab.send(enrollment(lab.ra_der, signers=signers))
    assert answer.status == 400
    (request,) = await lab.requests()
    assert (request.reason, request.address) == (Reason.MALFORMED, "192.0.2.7")


@pytest.mark.parametrize("missing", [CONTENT_TYPE, MESSAGE_DIGEST])
async def test_a_missing_digest_or_content_type_fails_closed(lab: Lab, missing: str) -> None:
    reply = await lab.ask(enrollment(lab.ra_der, omitted=frozenset({missing})))
    assert (reply.status, reply.fail_info) == ("2", "1")


async def test_a_bad_signature_is_a_bad_message_check(lab: Lab) -> None:
    reply = await lab.ask(enrollment(lab.ra_der, spoil=True))
    assert (reply.status, reply.fail_info) == ("2", "1")


async def test_a_signature_is_verified_before_anything_is_opened(lab: Lab) -> None:
    good = await lab.send(enrollment(lab.ra_der, content=b"no envelope", spoil=True))
    bad = await lab.send(enrollment(lab.ra_der, spoil=True))
    assert good.body == bad.body


async def test_a_signer_that_is_not_in_the_message_is_a_bad_message_check(lab: Lab) -> None:
    others = tuple(self_signed(rsa_key(name), name) for name in ("one", "two"))
    message = enrollment(lab.ra_der, certificate=others[0], extra_certificates=others[1:], key_identifier=b"nobody")
    reply = await lab.ask(message)
    assert (reply.status, reply.fail_info) == ("2", "1")


@pytest.mark.parametrize("nonce", [der.octet_string(b""), der.octet_string(bytes(65)), der.printable("nonce")])
async def test_a_nonce_of_impossible_length_is_a_bad_request(lab: Lab, nonce: bytes) -> None:
    reply = await lab.ask(enrollment(lab.ra_der, nonce=nonce))
    assert (reply.status, reply.fail_info, reply.recipient_nonce) == ("2", "2", None)


async def test_a_short_nonce_of_an_old_client_is_taken(lab: Lab) -> None:
    reply = await lab.ask(enrollment(lab.ra_der, nonce=der.octet_string(b"8 octets")))
    assert (reply.status, reply.recipient_nonce) == ("0", b"8 octets")


@pytest.mark.parametrize(
    "transaction", [der.printable(""), der.printable("t" * 256), der.utf8("a\x00b"), der.utf8("a\nb"), der.integer(1)]
)
async def test_a_transaction_that_is_empty_too_long_or_not_printable_is_no_scep_message(
    lab: Lab, transaction: bytes
) -> None:
    assert (await lab.send(enrollment(lab.ra_der, transaction=transaction))).status == 400


async def test_an_absent_transaction_is_no_scep_message(lab: Lab) -> None:
    assert (await lab.send(enrollment(lab.ra_der, omitted=frozenset({SCEP + "7"})))).status == 400


async def test_a_content_that_is_not_data_is_no_scep_message(lab: Lab) -> None:
    assert (await lab.send(enrollment(lab.ra_der, content_type=ENVELOPED_DATA))).status == 400


def flip(octets: bytes, position: int) -> bytes:
    changed = bytearray(octets)
    changed[position] ^= 1
    return bytes(changed)


def rebuilt(good: bytes, **changes: Any) -> bytes:
    """Return an envelope with another wrapped key, initialisation vector, ciphertext or key transport."""
    inside = read_envelope(good)
    recipient = inside.recipients[0]
    wrapped, ciphertext = recipient.encrypted_key, inside.ciphertext
    if "wrapped" in changes:
        wrapped = changes["wrapped"](wrapped)
    if "ciphertext" in changes:
        ciphertext = changes["ciphertext"](ciphertext)
    info = der.sequence(
        der.integer(0),
        der.sequence(recipient.issuer or b"", recipient.serial or b""),
        changes.get("transport", KeyTransport()).identifier(),
        der.octet_string(wrapped),
    )
    algorithm = der.sequence(der.oid(Cipher.AES128.oid), der.octet_string(changes.get("vector", inside.vector)))
    encrypted = der.sequence(der.oid(DATA), algorithm, der.tlv(0x80, ciphertext))
    recipients = der.tlv(der.SET, *[info] * changes.get("recipients", 1))
    return content_info(ENVELOPED_DATA, der.sequence(der.integer(0), recipients, encrypted))


def wrapped_anew(octets: int) -> dict[str, Any]:
    return {"wrapped": lambda _: rsa_key("ra").public_key().encrypt(bytes(octets), padding.PKCS1v15())}


TAMPERED: dict[str, dict[str, Any]] = {
    "PKCS#1 padding": {"wrapped": lambda wrapped: flip(wrapped, -1)},
    "not a number below the modulus": {"wrapped": lambda wrapped: b"\xff" * len(wrapped)},
    "wrapped key too long": {"wrapped": lambda wrapped: wrapped + wrapped},
    "wrapped key missing": {"wrapped": lambda _: b""},
    "content key of 5 octets": wrapped_anew(5),
    "content key of 32 octets": wrapped_anew(32),
    "OAEP padding": {"transport": KeyTransport((Digest.SHA256, Digest.SHA256))},
    "CBC padding": {"ciphertext": lambda ciphertext: flip(ciphertext, -1)},
    "half a block": {"ciphertext": lambda ciphertext: ciphertext[:-8]},
    "no ciphertext": {"ciphertext": lambda _: b""},
    "CSR": {"ciphertext": lambda ciphertext: flip(ciphertext, 40)},
    "proof of possession": {"ciphertext": lambda ciphertext: flip(ciphertext, -64)},
}
"""Envelopes that are bad in a way that only the RA key can tell."""


async def test_all_that_only_the_ra_key_can_tell_gives_the_same_octets(lab: Lab) -> None:
    """Distinct answers would be an oracle for the content key (Bleichenbacher) or for the content (CBC padding)."""
    good = enrollment(lab.ra_der).content or b""
    assert (await lab.ask(enrollment(lab.ra_der, content=rebuilt(good)))).status == "0"
    bad = [rebuilt(good, **changes) for changes in TAMPERED.values()]
    bad += [envelope(content, lab.ra_der) for content in (b"garbage", b"", der.sequence(), csr(KEY)[:-1])]
    bodies = set()
    for content in bad:
        answer = await lab.send(enrollment(lab.ra_der, content=content))
        bodies.add((answer.status, answer.content_type, answer.body))
    assert len(bodies) == 1
    (body,) = (body for _, _, body in bodies)
    reply = read_reply(body, KEY)
    assert (reply.status, reply.fail_info) == ("2", "2")
    refused = [request for request in await lab.requests() if request.reason]
    assert {request.reason for request in refused} == {Reason.MALFORMED}
    assert len({request.detail for request in refused}) > 2, "administrators are told more"


def raw(block: bytes) -> dict[str, Any]:
    """Encrypt a block without padding it."""
    numbers = rsa_key("ra").public_key().public_numbers()
    wrapped = pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(256, "big")
    return {"wrapped": lambda _: wrapped}


BLEICHENBACHER: dict[str, dict[str, Any]] = {
    "conforming, 16 octets": raw(b"\x00\x02" + b"\x55" * 237 + b"\x00" + bytes(16)),
    "conforming, empty": raw(b"\x00\x02" + b"\x55" * 253 + b"\x00"),
    "conforming, 48 octets": raw(b"\x00\x02" + b"\x55" * 205 + b"\x00" + bytes(48)),
    "first octet not zero": raw(b"\x01\x02" + b"\x55" * 237 + b"\x00" + bytes(16)),
    "block type 1": raw(b"\x00\x01" + b"\x55" * 237 + b"\x00" + bytes(16)),
    "block type 0": raw(b"\x00\x00" + b"\x55" * 237 + b"\x00" + bytes(16)),
    "no separator": raw(b"\x00\x02" + b"\x55" * 254),
    "separator among the first eight": raw(b"\x00\x02" + b"\x55" * 4 + b"\x00" + b"\x55" * 249),
    "seven octets of padding": raw(b"\x00\x02" + b"\x55" * 7 + b"\x00" + bytes(246)),
    "zero": raw(bytes(256)),
    "one": raw(bytes(255) + b"\x01"),
}
"""What Bleichenbacher's attack and its successors send (ROBOT, Bardou et al.), on a 2048-bit key."""


@pytest.mark.parametrize("kind", ["17", "19", "21", "22"], ids=["RenewalReq", "PKCSReq", "GetCert", "GetCRL"])
async def test_no_operation_is_an_oracle_for_the_padding_of_rsa_or_cbc(lab: Lab, kind: str) -> None:
    """Each operation that opens envelopes answers all of these with the same octets."""
    lab.current_crl = lambda _: None
    endpoint = lab.endpoint(get_cert=True)
    good = enrollment(lab.ra_der).content or b""
    bad = [rebuilt(good, **changes) for changes in (*BLEICHENBACHER.values(), *TAMPERED.values())]
    answers = set()
    for content in bad:
        answer = await lab.send(enrollment(lab.ra_der, content=content, kind=der.printable(kind)), endpoint)
        answers.add((answer.status, answer.content_type, answer.body, answer.retry_after))
    assert len(answers) == 1
    assert await lab.issued() == 0


async def counted(lab: Lab, content: bytes, kind: str, counts: Callable[[FrameType, str, object], bool]) -> int:
    """Answer a message and return how many of the interpreter's calls were such as are counted."""
    found, endpoint = 0, lab.endpoint(get_cert=True)
    message = enrollment(lab.ra_der, content=content, kind=der.printable(kind)).encode()

    def count(frame: FrameType, event: str, what: object) -> None:
        nonlocal found
        found += counts(frame, event, what)

    sys.setprofile(count)
    try:
        await endpoint.pki_operation(message, "192.0.2.7")
    finally:
        sys.setprofile(None)
    return found


def is_of_the_reader(frame: FrameType, event: str, _: object) -> bool:
    """Whether a function of the reader, of CMS or of SCEP is called."""
    return event == "call" and frame.f_globals.get("__name__", "").startswith(("ca.", "server.cms.", "server.scep."))


def is_verification(_: FrameType, event: str, what: object) -> bool:
    return event == "c_call" and getattr(what, "__name__", "") == "verify"


@pytest.mark.parametrize("kind", ["19", "21", "22"], ids=["PKCSReq", "GetCert", "GetCRL"])
async def test_whatever_is_wrong_with_key_or_content_takes_as_many_calls(lab: Lab, kind: str) -> None:
    """What is called for bad padding of the key, a key of another length, bad padding of the content, and nonsense."""
    lab.current_crl = lambda _: None
    nonsense = envelope(b"\xff" * 64, lab.ra_der)
    bad = [BLEICHENBACHER["block type 1"], BLEICHENBACHER["conforming, 48 octets"], TAMPERED["CBC padding"]]
    contents = [nonsense, *(rebuilt(nonsense, **changes) for changes in bad)]
    if kind != "19":
        contents.append(envelope(der.sequence(ISSUING.certificate.subject.public_bytes(), der.integer(7)), lab.ra_der))
    await counted(lab, nonsense, kind, is_of_the_reader)  # so that what is remembered of a client is remembered
    counts = [await counted(lab, content, kind, is_of_the_reader) for content in contents]
    assert max(counts) - min(counts) <= 4, counts


async def test_a_signature_is_verified_whether_or_not_a_request_is_found_that_it_should_be_of(lab: Lab) -> None:
    """Else the time would tell nonsense from a request that somebody else's envelope was made into."""
    request = csr(KEY)
    parsed, unparsed = bytearray(request), bytearray(request)
    parsed[-1] ^= 1  # the signature
    unparsed[unparsed.index(b"sesame") - 1] ^= 0x40  # the length of the challenge, at the end of what is signed
    contents = [envelope(bytes(each), lab.ra_der) for each in (parsed, unparsed, b"\xff" * 64)]
    await counted(lab, contents[0], "19", is_verification)
    counts = [await counted(lab, content, "19", is_verification) for content in contents]
    assert counts == [2, 2, 2]
    assert len({request.detail for request in await lab.requests()}) == 3, "administrators are told more"


@pytest.mark.parametrize("cipher", Cipher)
async def test_no_cipher_is_an_oracle_for_its_padding(lab: Lab, cipher: Cipher) -> None:
    """Every last octet of the block before the last (Vaudenay): one of them makes the padding right."""
    endpoint = lab.endpoint(compatibility="legacy-des")
    good = envelope(csr(KEY), lab.ra_der, cipher)
    ciphertext = read_envelope(good).ciphertext
    bodies = set()
    for octet in range(1, 256, 5):
        place = -cipher.block_octets - 1
        changed = bytearray(ciphertext)
        changed[place] ^= octet
        body = (await lab.send(enrollment(lab.ra_der, content=good.replace(ciphertext, bytes(changed))), endpoint)).body
        bodies.add(body)
    assert len(bodies) == 1
    assert await lab.issued() == 0


async def test_an_envelope_that_is_malformed_or_for_others_says_no_more_than_that(lab: Lab) -> None:
    for_others = rebuilt(envelope(csr(KEY), self_signed(rsa_key("stranger"), "stranger")), recipients=2)
    answers = [
        (await lab.send(enrollment(lab.ra_der, content=content))).body
        for content in (for_others, b"garbage", b"", None, envelope(b"garbage", lab.ra_der))
    ]
    assert len(set(answers)) == 1


async def test_a_challenge_in_the_clear_outside_of_the_envelope_authorises_nothing(lab: Lab) -> None:
    reply = await lab.ask(enrollment(lab.ra_der, content=csr(KEY)))
    assert reply.status == "2"
    assert await lab.issued() == 0


async def test_a_challenge_is_good_for_nothing_but_scep_at_its_endpoint(lab: Lab) -> None:
    """Secrets of one protocol opened another one elsewhere (CVE-2025-44005)."""
    await lab.make_challenge("k7qxm-29fzt")
    here, other = (EndpointName.parse(f"scep/{label}") for label in ("default", "other"))
    lab.credentials._endpoints = {name: Authenticators({}, None, frozenset(), stored=True) for name in (here, other)}
    for kind in CredentialKind:
        for name in (here, other):
            judged = await lab.credentials.redeem(kind, name, "k7qxm-29fzt")
            good = (kind, name) == (CredentialKind.SCEP_CHALLENGE, here)
            assert isinstance(judged, Problem) is not good
    assert isinstance(await lab.credentials.password(here, "", "k7qxm-29fzt"), Problem)


async def test_a_victims_envelope_signed_anew_by_another_key_is_refused(lab: Lab) -> None:
    thief = rsa_key("thief")
    stolen = enrollment(lab.ra_der).content
    reply = await lab.ask(enrollment(lab.ra_der, content=stolen, key=thief, certificate=self_signed(thief)))
    assert (reply.status, reply.fail_info) == ("2", "1")
    assert await lab.issued() == 0


async def test_octets_nested_without_end_are_refused(lab: Lab) -> None:
    assert (await lab.send(b"\x30\x80" * 30000)).status == 400
    deep = b""
    for _ in range(2000):
        deep = der.sequence(deep)
    assert (await lab.send(deep)).status == 400


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_changed_message_never_gets_a_certificate(lab: Lab, data: st.DataObject) -> None:
    good = enrollment(lab.ra_der).encode()
    position = data.draw(st.integers(0, len(good) - 1))
    octet = data.draw(st.integers(0, 255).filter(lambda value: value != good[position]))
    answer = await lab.send(good[:position] + bytes((octet,)) + good[position + 1 :])
    assert answer.status in {200, 400}
    if answer.notes["outcome"] == "issued":  # a change of what nobody reads: versions, the bag's order, our own name
        assert read_reply(answer.body, KEY).status == "0"
    assert await lab.issued() <= 1


@given(st.binary(max_size=200))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_octets_get_an_answer(lab: Lab, data: bytes) -> None:
    assert (await lab.send(data)).status == 400
