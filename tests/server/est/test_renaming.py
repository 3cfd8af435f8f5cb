"""ChangeSubjectName: a renewal that asks for other names (RFC 7030 section 4.2.2, RFC 6402 section 2.8)."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1_alt_modules import rfc5280, rfc6402

from ca import der
from ca.csr import Csr, RequestedAttribute, parse_csr
from server.clock import system_clock
from server.est import codec
from server.est.messages import Malformed
from server.outcome import Issued
from server.store.certificates import list_certificates
from server.store.requests import list_requests
from tests.fakes.credential import credential, keep, kept
from tests.server.est.lab import Holder, csr, lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.est.lab import Lab

CHANGE = "1.3.6.1.5.5.7.7.36"
ENDPOINTS = """
est/default:
  profiles: [iot-device]
  renewal_grace: 1d
  authenticate: {one_time_passwords: true, certificates: true}
"""


def change(subject: str | None, *names: str) -> bytes:
    """Return ChangeSubjectName as an encoder writes it that knows the RFC's module and nothing of ours."""
    value = rfc6402.ChangeSubjectName()
    if subject is not None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        value["subject"], _ = _decode(name.public_bytes(), rfc5280.Name())
    for number, dns in enumerate(names):
        value["subjectAlt"][number]["dNSName"] = dns
    return bytes(encode(value))


def _decode(octets: bytes, spec: object) -> tuple[object, bytes]:
    found: tuple[object, bytes] = decode(octets, asn1Spec=spec)
    return found


def renaming(name: str, value: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Return a request for a name that carries ChangeSubjectName."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    info, algorithm, _ = der.children(der.read(csr(name, key=key)))
    *fields, _ = der.children(info)
    attributes = der.tlv(der.context(0), der.sequence(der.oid(CHANGE), der.set_of(value)))
    octets = der.sequence(*(field.raw for field in fields), attributes)
    signature = key.sign(octets, ec.ECDSA(hashes.SHA256()))
    return der.sequence(octets, algorithm.raw, der.bit_string(signature))


async def enrolled(running: Lab, name: str) -> Holder:
    await keep(running.application.services.store, credential(f"otp {name}", username=name))
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await running.post("simpleenroll", csr(name, key=key), basic=(name, f"otp {name}"))
    return Holder(key, (answer.certificate,))


def rename(folder: Path, *, approval: str = "none", more: str = "") -> None:
    """Let renewals change names."""
    file = folder / "policies" / "iot-device.yaml"
    head, _, tests = file.read_text().partition("\ntests:")
    text = head.replace("subject: same", "subject: any").replace("names: same", "names: any")
    file.write_text(f"{text}\n    approval: {approval}\n{more}")
    assert tests


async def test_a_renewal_gets_the_new_names_where_the_profile_lets_it(folder: Path) -> None:
    rename(folder)
    async with lab(folder, ENDPOINTS) as running:
        holder = await enrolled(running, "pump")
        asked = renaming("PUMP", change("valve", "valve.example"))
        renewed = (await running.post("simplereenroll", asked, holder=holder)).certificate
        assert renewed.subject.rfc4514_string() == "CN=valve"
        names = renewed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["valve.example"]
        newest = (await running.application.services.store.read(list_certificates))[0]
        assert newest.renews == holder.chain[0].serial_number


async def test_where_the_profile_keeps_names_it_is_refused(folder: Path) -> None:
    async with lab(folder, ENDPOINTS) as running:
        holder = await enrolled(running, "pump")
        answer = await running.post("simplereenroll", renaming("pump", change("valve")), holder=holder)
        assert (answer.status, b"renewal.subject" in answer.body) == (403, True)


async def test_the_names_beside_it_must_be_those_of_the_certificate(folder: Path) -> None:
    rename(folder)
    async with lab(folder, ENDPOINTS) as running:
        holder = await enrolled(running, "pump")
        answer = await running.post("simplereenroll", renaming("valve", change("valve")), holder=holder)
        assert (answer.status, answer.body[:25]) == (403, b"Beside ChangeSubjectName,")
        refused = (await running.application.services.store.read(list_requests))[0]
        assert refused.csr is not None


async def test_a_password_for_a_device_is_good_for_no_name_that_the_request_changes_to(folder: Path) -> None:
    """What is judged is what would be issued: the password's device is in the subject, another one in the change."""
    rename(folder)
    async with lab(folder, ENDPOINTS) as running:
        store = running.application.services.store
        await keep(store, credential("otp", id="bound", username="pump", device="pump"))
        answer = await running.post("simpleenroll", renaming("pump", change("valve")), basic=("pump", "otp"))
        assert (answer.status, answer.body[:34]) == (403, b"The credentials are for another de")
        assert (await kept(store, "bound")).uses_left == 1
        assert await store.read(list_certificates) == ()


async def test_who_changes_the_same_name_to_two_others_gets_a_certificate_for_each(folder: Path) -> None:
    """The request beside the change is the same, and must not bring the certificate of before."""
    rename(folder)
    async with lab(folder, ENDPOINTS) as running:
        holder = await enrolled(running, "pump")
        answers = [
            await running.post("simplereenroll", renaming("pump", change(name), key=holder.key), holder=holder)
            for name in ("valve", "valve", "motor")
        ]
        valve, again, motor = (answer.certificate for answer in answers)
    assert valve == again
    assert [each.subject.rfc4514_string() for each in (valve, motor)] == ["CN=valve", "CN=motor"]


async def test_a_person_who_approves_approves_the_new_names(folder: Path) -> None:
    async with lab(folder, ENDPOINTS) as running:
        holder = await enrolled(running, "pump")
    rename(folder, approval="manual", more="    unused: {attributes: refuse}\n")
    async with lab(folder, ENDPOINTS) as running:
        services, asked = running.application.services, renaming("pump", change("valve"))
        assert (await running.post("simplereenroll", asked, holder=holder)).status == 202
        waiting = (await services.store.read(list_requests))[0]
        outcome = await services.enrollment.approve(waiting.id, "admin:eve")
        assert isinstance(outcome, Issued)
        renewed = x509.load_der_x509_certificate(outcome.certificate)
        assert renewed.subject.rfc4514_string() == "CN=valve"
        assert (await running.post("simplereenroll", asked, holder=holder)).certificate == renewed


@pytest.mark.parametrize(
    ("value", "subject", "names"),
    [
        (change("valve"), "CN=valve", ["dns:old.example"]),
        (change(None, "a.example", "b.example"), "CN=pump", ["dns:a.example", "dns:b.example"]),
        (change("valve", "a.example"), "CN=valve", ["dns:a.example"]),
    ],
)
def test_what_it_does_not_hold_stays(value: bytes, subject: str, names: list[str]) -> None:
    changed = codec.with_changed_names(carrying((value,)))
    assert (str(changed.subject), list(map(str, changed.names))) == (subject, names)
    assert changed.renamed
    assert changed.attributes == ()


def carrying(*attributes: tuple[bytes, ...]) -> Csr:
    found = parse_csr(csr("pump", dns=("old.example",)))
    carried = tuple(RequestedAttribute(CHANGE, values) for values in attributes)
    return Csr(**{name: getattr(found, name) for name in Csr.__slots__} | {"attributes": carried})


def test_without_it_the_request_stays_as_it_is() -> None:
    plain = carrying()
    assert codec.with_changed_names(plain) is plain


@pytest.mark.parametrize(
    "attributes",
    [
        ((),),
        ((change("a"), change("b")),),
        ((change("a"),), (change("b"),)),
        ((der.sequence(),),),
        ((der.sequence(der.sequence(), der.sequence()),),),
        ((der.sequence(der.sequence(), der.tlv(der.context(1)), der.sequence()),),),
        ((change(None, "a.example") + b"\x00",),),
    ],
)
def test_what_it_can_not_be_is_malformed(attributes: tuple[tuple[bytes, ...], ...]) -> None:
    with pytest.raises(Malformed, match="ChangeSubjectName"):
        codec.with_changed_names(carrying(*attributes))


@given(st.binary(max_size=200) | st.builds(der.sequence, st.binary(max_size=200)))
def test_any_octets_are_read_or_malformed(octets: bytes) -> None:
    with suppress(Malformed):
        codec.with_changed_names(carrying((octets,)))


# --- the grace after the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "status"), [(364, 200), (365.5, 200), (367, 403)])
async def test_an_expired_certificate_is_renewed_within_the_grace_and_proves_nothing_else(
    folder: Path, days: float, status: int
) -> None:
    async with lab(folder, ENDPOINTS) as running:
        holder = await enrolled(running, "pump")
    later = system_clock() + timedelta(days=days)
    async with lab(folder, ENDPOINTS, clock=lambda: later) as running:
        answer = await running.post("simplereenroll", csr("pump"), holder=holder)
        assert answer.status == status, answer
        assert (status == 200) or b"has expired" in answer.body
        assert (await running.post("simpleenroll", csr("valve"), holder=holder)).status in {401, 403}


async def test_an_expired_certificate_is_none_of_two_that_must_be_there(folder: Path) -> None:
    """Within the grace it is for its own renewal; another name needs a password and a certificate that is in force."""
    both = ENDPOINTS.replace("certificates: true", "certificates: true, require: both")
    async with lab(folder, ENDPOINTS) as running:
        holder = await enrolled(running, "pump")
        await keep(running.application.services.store, credential("more", username="pump", uses_left=9))
    passed = [timedelta(0)]
    for days, statuses in ((364, [200, 200]), (365.5, [401, 200])):
        passed[0] = timedelta(days=days)
        async with lab(folder, both, clock=lambda: system_clock() + passed[0]) as running:
            answers = [
                await running.post(path, csr(name), holder=holder, basic=("pump", "more"))
                for path, name in (("simpleenroll", "valve"), ("simplereenroll", "pump"))
            ]
            assert [answer.status for answer in answers] == statuses, answers
