from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ca.ceremony import generate_key
from ca.names import DistinguishedName
from server.outcome import Outcome, Problem, Reason, Refused
from server.status.own import NoResponder, OwnCertificates
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from policies.request import EnrollmentRequest


async def test_a_responder_stands_under_the_name_that_its_ca_may_certify() -> None:
    asked: list[EnrollmentRequest] = []

    async def submit(request: EnrollmentRequest) -> Outcome:
        asked.append(request)
        return Refused(Problem(Reason.POLICY, "no"))

    bases = {"issuing": DistinguishedName.from_text("O=Test,C=DE")}
    own = OwnCertificates(submit, lambda: NOW, generate_key, bases=bases)
    for issuer, subject in (
        ("issuing", "CN=OCSP responder of issuing,O=Test,C=DE"),
        ("other", "CN=OCSP responder of other"),
    ):
        with pytest.raises(NoResponder, match=issuer):
            await own.responder(issuer, "P-256")
        assert str(asked[-1].csr.subject) == subject
