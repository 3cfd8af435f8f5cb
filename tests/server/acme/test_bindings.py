"""External account binding: good ones, and those that are wrong in any way (RFC 8555 section 7.3.4)."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from policies.request import EndpointName
from server.acme.challenges.device_attest01 import DeviceAttest01
from server.acme.service import AcmeProfile, ExternalAccounts
from server.acme.service.bindings import check_pattern
from server.audit import Action, AuditEvent
from server.credentials import Sealer
from server.store import credentials
from server.store.credentials import CredentialKind, StoredCredential
from tests.fakes.acme import Signer, b64, json_bytes
from tests.fakes.issuer import NOW
from tests.server.acme.lab import Client

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Lab

KEY = b"k" * 32
SEALER = Sealer(b"s" * 32)
GOOD = StoredCredential(
    id="kid-1",
    kind=CredentialKind.ACME_EAB,
    endpoint=EndpointName.parse("acme/default"),
    created_by="admin:eve",
    created_at=NOW,
    username="kid-1",
    sealed=SEALER.seal(KEY, "kid-1"),
)
EVENT = AuditEvent(NOW, Action.CREDENTIAL_MADE, "admin:eve").row()


async def keep(lab: Lab, credential: StoredCredential = GOOD) -> None:
    await lab.store.write(lambda c: credentials.add(c, credential, EVENT))


async def serve(lab: Lab, *, required: bool = True, **changes: Any) -> None:
    await lab.serve(lab.endpoint(external_accounts=ExternalAccounts(required, SEALER), **changes))


@dataclass
class Bound:
    """A binding of a client's key, to be spoilt."""

    client: Client
    kid: str = "kid-1"
    key: bytes = KEY
    alg: str = "HS256"

    def sign(self, payload: object = None, **header: Any) -> dict[str, str]:
        members = {"alg": self.alg, "kid": self.kid, "url": self.client.url("/new-account"), **header}
        protected = b64(json_bytes({name: value for name, value in members.items() if value is not None}))
        body = b64(payload if isinstance(payload, bytes) else json_bytes(payload or self.client.signer.jwk))
        digest = {"HS384": "sha384", "HS512": "sha512"}.get(self.alg, "sha256")
        mac = hmac.digest(self.key, f"{protected}.{body}".encode(), digest)
        return {"protected": protected, "payload": body, "signature": b64(mac)}


async def register(client: Client, binding: object) -> Answer:
    return await client.register(externalAccountBinding=binding)


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
async def test_a_good_binding_makes_an_account_and_is_reflected(lab: Lab, alg: str) -> None:
    await serve(lab)
    await keep(lab)
    client = Client(lab)
    assert (await lab.request("GET", "/acme/directory")).body["meta"]["externalAccountRequired"] is True
    binding = Bound(client, alg=alg).sign()
    made = await register(client, binding)
    assert (made.status, made.body["externalAccountBinding"]) == (201, binding)
    assert (await client.post(client.kid or "")).body["externalAccountBinding"] == binding
    client.kid = None
    again = await register(client, "not looked at")
    assert again.status == 200
    ((request_id, _),) = await lab.store.read(lambda c: credentials.uses_of(c, "kid-1"))
    assert request_id == f"account:{again.location.rpartition('/')[2]}"


async def test_without_a_binding_there_is_no_account_where_one_is_required(lab: Lab) -> None:
    await serve(lab)
    refused = await Client(lab).register()
    assert (refused.status, refused.error) == (403, "externalAccountRequired")


async def test_where_it_is_optional_there_may_be_none_but_not_a_wrong_one(lab: Lab) -> None:
    await serve(lab, required=False)
    assert "meta" not in (await lab.request("GET", "/acme/directory")).body
    assert (await Client(lab).register()).status == 201
    other = Client(lab)
    assert (await register(other, Bound(other).sign())).status == 403


OTHER = Signer()
WRONG = {
    "unknown key identifier": lambda b: replace(b, kid="kid-2").sign(),
    "wrong key": lambda b: replace(b, key=b"x" * 32).sign(),
    "another url": lambda b: b.sign(url="https://acme.test:8443/acme/new-order"),
    "another directory's url": lambda b: b.sign(url="https://other.test/acme/new-account"),
    "another account key": lambda b: b.sign(OTHER.jwk),
    "payload changed after signing": lambda b: {**b.sign(), "payload": b64(json_bytes(OTHER.jwk))},
    "empty MAC": lambda b: {**b.sign(), "signature": ""},
    "MAC cut short": lambda b: {**b.sign(), "signature": b.sign()["signature"][:22] + "A"},
    "another algorithm's MAC": lambda b: {**b.sign(), "signature": replace(b, alg="HS512").sign()["signature"]},
}
MALFORMED = {
    "no JWS": lambda _: "text",
    "algorithm none": lambda b: b.sign(alg="none"),
    "a signature algorithm": lambda b: b.sign(alg="ES256"),
    "a nonce": lambda b: b.sign(nonce="AAAA"),
    "a jwk in the header": lambda b: b.sign(jwk=OTHER.jwk),
    "no key identifier": lambda b: b.sign(kid=None),
    "no url": lambda b: b.sign(url=None),
    "crit": lambda b: b.sign(crit=["b64"]),
    "an unprotected header": lambda b: {**b.sign(), "header": {"kid": "kid-1"}},
    "no payload": lambda b: {name: value for name, value in b.sign().items() if name != "payload"},
    "padding": lambda b: {**b.sign(), "signature": b.sign()["signature"] + "="},
    "a payload that is no key": lambda b: b.sign(b"[]"),
    "half of a surrogate pair": lambda b: replace(b, kid="\ud800").sign(),
    "too long": lambda b: b.sign(b"{" + b" " * 20000 + b"}"),
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG.keys())
async def test_wrong_bindings_all_look_alike_and_spend_nothing(lab: Lab, spoil: Any) -> None:
    await serve(lab)
    await keep(lab)
    client = Client(lab)
    refused = await register(client, spoil(Bound(client)))
    assert refused.status == 403
    assert refused.body == {
        "type": "urn:ietf:params:acme:error:unauthorized",
        "detail": "the external account binding is not good",
        "status": 403,
    }
    assert not await lab.store.read(lambda c: credentials.uses_of(c, "kid-1"))
    assert (await register(client, Bound(client).sign())).status == 201


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_binding_is_malformed(lab: Lab, spoil: Any) -> None:
    await serve(lab)
    await keep(lab)
    client = Client(lab)
    refused = await register(client, spoil(Bound(client)))
    assert (refused.status, refused.error) == (400, "malformed")


@pytest.mark.parametrize(
    "state",
    [
        {"expires_at": NOW},
        {"revoked_at": NOW},
        {"uses_left": 0},
        {"kind": CredentialKind.SCEP_CHALLENGE},
        {"endpoint": EndpointName.parse("acme/plant")},
        {"sealed": Sealer(b"t" * 32).seal(KEY, "kid-1")},
        {"sealed": SEALER.seal(KEY, "kid-2")},
        {"sealed": None, "digest": b"x" * 32},
    ],
)
async def test_a_key_that_is_not_good_now_and_here_looks_like_an_unknown_one(lab: Lab, state: Any) -> None:
    await serve(lab)
    await keep(lab, replace(GOOD, **state))
    client = Client(lab)
    refused = await register(client, Bound(client).sign())
    assert (refused.status, refused.body["detail"]) == (403, "the external account binding is not good")


async def test_a_key_makes_as_many_accounts_as_it_has_uses_however_many_come_at_once(lab: Lab) -> None:
    await serve(lab)
    await keep(lab, replace(GOOD, uses_left=2))
    clients = [Client(lab) for _ in range(6)]
    answers = await asyncio.gather(*(register(each, Bound(each).sign()) for each in clients))
    assert sorted(each.status for each in answers) == [201, 201, 403, 403, 403, 403]


async def test_an_account_gets_what_its_key_is_for(lab: Lab) -> None:
    await serve(lab, profiles={"tls-server": AcmeProfile(""), "other": AcmeProfile("")})
    await keep(lab, replace(GOOD, names=("dns:**.plant.localhost", "dns:pump.test"), profile="tls-server"))
    client = Client(lab)
    await register(client, Bound(client).sign())
    assert (await client.order("a.b.plant.localhost", "pump.test")).body["profile"] == "tls-server"
    refused = await client.order("pump.test", "valve.test", "plant.localhost")
    assert refused.error == "rejectedIdentifier"
    assert [each["identifier"]["value"] for each in refused.body["subproblems"]] == ["valve.test", "plant.localhost"]
    payload = {"identifiers": [{"type": "dns", "value": "pump.test"}], "profile": "other"}
    assert (await client.post(client.url("/new-order"), payload)).error == "invalidProfile"
    lab.now[0] += timedelta(days=30)
    assert (await client.issue("x.plant.localhost")).serial_number


async def test_a_key_may_be_for_several_profiles(lab: Lab) -> None:
    names = ("tls-server", "other", "third")
    await serve(lab, profiles={name: AcmeProfile("") for name in names})
    await keep(lab, replace(GOOD, profile="third other"))
    client = Client(lab)
    await register(client, Bound(client).sign())
    assert (await profile_of(client)) == "other"
    assert [await profile_of(client, name) for name in names] == ["invalidProfile", "other", "third"]
    await serve(lab, profiles={"tls-server": AcmeProfile("")})
    assert (await profile_of(client)) == "invalidProfile"  # the endpoint has none of them any more


async def profile_of(client: Client, profile: str | None = None) -> str:
    payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": "a.localhost"}]}
    answer = await client.post(client.url("/new-order"), payload | ({"profile": profile} if profile else {}))
    return str(answer.body["profile"]) if answer.status == 201 else answer.error


async def test_an_account_gets_what_its_key_is_for_of_devices(lab: Lab) -> None:
    await serve(lab, challenges=(DeviceAttest01({}, ["*:*"]),))
    await keep(lab, replace(GOOD, names=("permanent-identifier:C02*", "dns:**.test")))
    client = Client(lab)
    await register(client, Bound(client).sign())
    for value, status in (("C02-1", 201), ("D03-1", 400), ("x.test", 400)):
        identifiers = [{"type": "permanent-identifier", "value": value}]
        answer = await client.post(client.url("/new-order"), {"identifiers": identifiers})
        assert answer.status == status, answer.body


@pytest.mark.parametrize(
    "text", ["permanent-identifier:C02*", "hardware-module:*/1.2.3", "dns:**.a.b", "ip:10.0.0.0/8"]
)
def test_a_pattern_is_for_names_addresses_or_devices(text: str) -> None:
    check_pattern(text)


@pytest.mark.parametrize(
    "text",
    ["a.b", "dns:", "dns:*", "ip:10.0.0.1/8", "ip:x", "email:a@b", "permanent-identifier:", "permanent-identifier"],
)
def test_a_pattern_must_be_understood(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_pattern(text)
