"""What becomes of a certificate that was renewed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from policies.request import EndpointName
from server.scep.superseded import Superseded
from server.store.certificates import find_by_serial
from tests.server.scep.device import Message, csr, envelope, rsa_key

if TYPE_CHECKING:
    from cryptography import x509

    from tests.server.scep.lab import Lab


def round_of(lab: Lab) -> Superseded:
    return Superseded(
        endpoint=EndpointName.parse("scep/default"),
        after=timedelta(days=7),
        store=lab.store,
        enrollment=lab.enrollment,
        clock=lambda: lab.now[0],
    )


async def renewed(lab: Lab) -> tuple[x509.Certificate, Message]:
    old = await lab.enroll()
    content = envelope(csr(rsa_key("new"), "device-1.test", None), lab.ra_der)
    renewal = Message(content, rsa_key(), old.public_bytes(Encoding.DER), kind=der.printable("17"))
    assert (await lab.ask(renewal)).status == "0"
    return old, renewal


async def reason(lab: Lab, certificate: x509.Certificate) -> str | None:
    stored = await lab.store.read(lambda connection: find_by_serial(connection, certificate.serial_number))
    assert stored is not None
    return stored.revocation_reason


async def test_the_old_certificate_is_revoked_a_while_after_its_renewal(lab: Lab) -> None:
    old, _ = await renewed(lab)
    lab.pass_time(timedelta(days=8))
    await round_of(lab).check()
    assert await reason(lab, old) == "superseded"


async def test_until_then_a_device_that_lost_the_reply_may_ask_again(lab: Lab) -> None:
    old, renewal = await renewed(lab)
    lab.pass_time(timedelta(hours=2))
    await round_of(lab).check()
    assert await reason(lab, old) is None
    assert (await lab.ask(renewal)).status == "0"


async def test_a_certificate_that_was_not_renewed_stays_as_it_is(lab: Lab) -> None:
    certificate = await lab.enroll()
    lab.pass_time(timedelta(days=8))
    await round_of(lab).check()
    assert await reason(lab, certificate) is None


async def test_a_record_that_does_not_answer_is_survived(lab: Lab) -> None:
    with closing(sqlite3.connect(lab.database)) as database, database:
        database.execute("ALTER TABLE certificates RENAME TO elsewhere")
    await round_of(lab).check()
