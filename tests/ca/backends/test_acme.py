"""Another ACME server as the CA: what a real one rarely does. tests/wire/test_issuers_acme.py has Pebble."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.backends.acme import AcmeUpstream, Dns01
from ca.backends.acme_account import AcmeRefused
from ca.backends.http_client import Answer, HttpClient
from ca.backends.upstream import issuer_of
from ca.issuer import AnswerUnusable, IssuerRefused, NothingSigned
from tests.contract.issuer import accept, issue
from tests.fakes.issuer import csr_of, make_issuer, make_plan
from tests.fakes.remote_ca import sign_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CA = make_issuer()
ORDER = "https://ca.test/order/1"


class Account:
    """An account at a CA that finds an order valid, or else, and has anything to say of its authorization."""

    def __init__(self, authorization: Exception | bytes, *, status: str = "valid", gives: bool = True) -> None:
        self.client = HttpClient()
        self.plan = make_plan()
        self._csr = x509.load_der_x509_csr(csr_of(self.plan))
        self._authorization = authorization
        self._status = status
        self._gives = gives

    async def place(self, resource: str, payload: Mapping[str, Any]) -> Answer:
        assert resource == "newOrder"
        assert len(payload["identifiers"]) == len(self.plan.names)
        return Answer(201, {"Location": ORDER}, b"{}")

    async def post(self, url: str, payload: Mapping[str, Any] | None = None) -> Answer:
        assert payload is None
        if url == ORDER:
            state = {
                "status": self._status,
                "certificate": f"{ORDER}/certificate",
                "authorizations": [f"{ORDER}/authz"],
            }
            return Answer(200, {}, json.dumps(state).encode())
        if url.endswith("/certificate"):
            if not self._gives:
                raise AcmeRefused("404: it is gone", "")
            return Answer(200, {}, (await sign_for(CA, self._csr)).public_bytes(Encoding.PEM))
        if isinstance(self._authorization, Exception):
            raise self._authorization
        return Answer(200, {}, self._authorization)

    def key_authorization(self, token: str) -> str:
        return f"{token}.key"


@pytest.mark.parametrize(
    "authorization", [IssuerRefused("404: it is gone"), b"no JSON", b"{}", b"[]", b'{"challenges": [{}]}']
)
async def test_a_certificate_is_not_lost_over_what_was_to_be_cleaned_up(
    authorization: Exception | bytes, tmp_path: Path
) -> None:
    account = Account(authorization)
    issuer = issuer_of(AcmeUpstream(account, Dns01(("true",), tmp_path), 5), CA.chain())  # type: ignore[arg-type]
    accept(issuer, account.plan, await issue(issuer, account.plan))
    await issuer.close()


@pytest.mark.parametrize(
    ("account", "failure"),
    [
        pytest.param(Account(b"{}", status="invalid"), NothingSigned, id="an order that is invalid has no certificate"),
        pytest.param(Account(b"{}", gives=False), AnswerUnusable, id="one that is valid has, whoever gets it"),
    ],
)
async def test_what_the_ca_may_have_signed_is_told_from_what_it_has_not(
    account: Account, failure: type[IssuerRefused]
) -> None:
    issuer = issuer_of(AcmeUpstream(account, None, 5), CA.chain())  # type: ignore[arg-type]
    with pytest.raises(failure):
        await issue(issuer, account.plan)
    await issuer.close()
