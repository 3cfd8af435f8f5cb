"""1.5: accounts (RFC 8555 section 7.3)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.acme.client import Key, NotOffered, b64, make_csr, to_json

if TYPE_CHECKING:
    from tests.conformance.acme.client import Answer, Client
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks


@checks("NA-1")
def test_a_key_has_one_account_whatever_is_asked_later(stranger: Client) -> None:
    client = stranger.other()
    made = client.register(contact=["mailto:first@example.com"])
    assert made.status == 201
    again = client.register(contact=["mailto:other@example.com"])
    assert (again.status, again.location) == (200, made.location)
    assert again.json["contact"] == ["mailto:first@example.com"]
    wrong = client.register(contact=["tel:+12"])
    assert (wrong.status, wrong.location) == (200, made.location)


@checks("NA-2")
def test_only_an_existing_account_of_this_directory_is_returned(target: Target, fresh: Client) -> None:
    missing = fresh.other().register(onlyReturnExisting=True)
    assert missing.refused("accountDoesNotExist")
    found = fresh.register(onlyReturnExisting=True)
    assert (found.status, found.location) == (200, fresh.kid)
    assert "onlyReturnExisting" not in found.json
    if target.elsewhere:
        other = fresh.other(fresh.key, target.elsewhere)
        assert other.register(onlyReturnExisting=True).refused("accountDoesNotExist")


@checks("NA-3")
def test_unknown_members_are_neither_taken_nor_shown(stranger: Client) -> None:
    account = stranger.other().register(orders="https://elsewhere.example/", status="revoked", shoe=44).json
    assert account["status"] == "valid"
    assert account.get("orders") != "https://elsewhere.example/"
    assert "shoe" not in account


@checks("NA-4")
def test_contacts_are_mail_addresses(stranger: Client) -> None:
    for contact, error in (
        ("mailto:a@example.com?subject=x", "invalidContact"),
        ("mailto:a@example.com,b@example.com", "invalidContact"),
        ("mailto:", "invalidContact"),
        ("tel:+12", "unsupportedContact"),
    ):
        assert stranger.other().register(contact=[contact]).refused(error), contact


@checks("NA-5")
def test_terms_of_service_must_be_agreed_to_where_there_are_some(stranger: Client) -> None:
    if not stranger.directory.get("meta", {}).get("termsOfService"):
        raise NotOffered("no terms of service")
    answer = stranger.other().register(termsOfServiceAgreed=False)
    assert answer.error in {"malformed", "userActionRequired"}


@checks("NA-6")
def test_two_requests_make_one_account(stranger: Client) -> None:
    client = stranger.other()
    assert [client.register().status for _ in range(3)] == [201, 200, 200]


@checks("AU-1")
def test_contacts_can_be_changed_and_nothing_else_and_by_the_owner_only(fresh: Client, client: Client) -> None:
    url = str(fresh.kid)
    changed = fresh.post(url, {"contact": ["mailto:new@example.com"], "orders": "x", "status": "valid"})
    assert changed.status == 200
    assert changed.json["contact"] == ["mailto:new@example.com"]
    assert fresh.post(url).json == changed.json
    assert client.post(url, {"contact": []}).status in {401, 403, 404}
    assert fresh.post(url).json == changed.json


@checks("TS-1")
def test_changed_terms_are_told(stranger: Client) -> None:
    raise NotOffered("terms of service do not change while a suite runs")


def bind(client: Client, kid: str, key: str, **changes: Any) -> dict[str, str]:
    """An external account binding, with members of the header (``header_``...) changed, or payload or secret."""
    payload = changes.pop("payload", client.key.jwk)
    secret = changes.pop("secret", urlsafe_b64decode(key + "=" * (-len(key) % 4)))
    hash_ = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(changes.get("header_alg", ""), hashlib.sha256)
    header: dict[str, Any] = {"alg": "HS256", "kid": kid, "url": client.url("newAccount")}
    header |= {name.removeprefix("header_"): value for name, value in changes.items()}
    protected = b64(to_json({name: value for name, value in header.items() if value is not None}))
    text = b64(to_json(payload))
    mac = hmac.digest(secret, f"{protected}.{text}".encode(), hash_)
    return {"protected": protected, "payload": text, "signature": b64(mac)}


class Bound:
    """newAccount at a directory that knows external accounts."""

    def __init__(self, target: Target, stranger: Client) -> None:
        if target.external is None:
            raise NotOffered("no key for external account binding")
        self.external = target.external
        self._stranger = stranger

    def client(self) -> Client:
        return self._stranger.other(directory_url=self.external.directory)

    def register(self, **changes: Any) -> Answer:
        client = self.client()
        binding = bind(client, self.external.kid, self.external.key, **changes)
        return client.register(externalAccountBinding=binding)


@checks("EAB-1")
def test_a_binding_is_a_well_formed_jws(target: Target, stranger: Client) -> None:
    bound = Bound(target, stranger)
    client = bound.client()
    good = bind(client, bound.external.kid, bound.external.key)
    for wrong in ("text", {}, {**good, "header": {}}, {**good, "signature": good["signature"] + "="}, [good]):
        assert client.register(externalAccountBinding=wrong).status in {400, 403}, wrong
    unsigned = {name: good[name] for name in ("protected", "payload")}
    assert client.register(externalAccountBinding=unsigned).status in {400, 403}


@checks("EAB-2")
def test_the_header_of_a_binding_has_a_mac_kid_and_url_and_no_nonce(target: Target, stranger: Client) -> None:
    bound = Bound(target, stranger)
    for member, value in (
        *(("alg", "none"), ("alg", "ES256"), ("alg", None), ("kid", None), ("url", None), ("nonce", "AAAA")),
        ("url", "https://elsewhere.example/new-account"),
    ):
        answer = bound.register(**{f"header_{member}": value})
        assert answer.status in {400, 401, 403}, (member, value)
        assert answer.error, (member, value)


@checks("EAB-3")
def test_a_binding_by_an_unknown_key_is_refused(target: Target, stranger: Client) -> None:
    assert Bound(target, stranger).register(header_kid="nobody").status in {400, 401, 403}


@checks("EAB-4")
def test_a_binding_with_a_wrong_mac_is_refused(target: Target, stranger: Client) -> None:
    bound = Bound(target, stranger)
    assert bound.register(secret=bytes(32)).status in {400, 401, 403}
    assert bound.register(secret=b"").status in {400, 401, 403}


@checks("EAB-5")
def test_a_binding_of_another_key_is_refused_and_one_is_compared_by_meaning(target: Target, stranger: Client) -> None:
    bound = Bound(target, stranger)
    assert bound.register(payload=Key().jwk).status in {400, 401, 403}
    client = bound.client()
    turned = dict(reversed(client.key.jwk.items()))
    binding = bind(client, bound.external.kid, bound.external.key, payload=turned)
    assert client.register(externalAccountBinding=binding).status == 201


@checks("EAB-6")
def test_a_good_binding_is_shown_and_a_required_one_is_asked_for(target: Target, stranger: Client) -> None:
    bound = Bound(target, stranger)
    client = bound.client()
    binding = bind(client, bound.external.kid, bound.external.key)
    made = client.register(externalAccountBinding=binding)
    assert made.status == 201, made.body
    assert made.json["externalAccountBinding"] == binding
    assert client.directory["meta"]["externalAccountRequired"] is True
    assert bound.client().register().refused("externalAccountRequired", 403)


@checks("EAB-7")
def test_a_key_for_one_account_is_for_one_and_wrong_bindings_look_alike(target: Target, stranger: Client) -> None:
    bound = Bound(target, stranger)
    if bound.external.once is None:
        raise NotOffered("no key for one account")

    def register(**changes: Any) -> Answer:
        client = bound.client()
        return client.register(externalAccountBinding=bind(client, *once, **changes))

    once = bound.external.once
    assert register().status == 201
    used, unknown, wrong = register(), register(header_kid="nobody"), register(secret=bytes(32))
    assert used.status in {401, 403}
    assert (used.status, used.body) == (unknown.status, unknown.body) == (wrong.status, wrong.body)


def change(client: Client, new: Key, *, signer: Key | None = None, **changes: Any) -> Answer:
    """keyChange, with members of the inner payload or header (``header_``...) changed."""
    url = client.url("keyChange")
    header = {"alg": new.alg, "jwk": new.jwk, "url": url}
    header |= {name.removeprefix("header_"): changes.pop(name) for name in list(changes) if name.startswith("header_")}
    payload = {"account": client.kid, "oldKey": client.key.jwk, **changes}
    return client.post(url, (signer or new).sign(to_json(payload), header))


@checks("KC-1")
def test_a_key_can_be_changed(fresh: Client) -> None:
    new = Key(ec.generate_private_key(ec.SECP384R1()))
    answer = change(fresh, new)
    assert answer.status == 200
    assert replace(fresh, key=new).post(str(fresh.kid)).status == 200
    assert fresh.post(str(fresh.kid)).status in {400, 401, 403}


@checks("KC-2")
def test_the_inner_message_is_a_jws_with_its_own_key(fresh: Client) -> None:
    new = Key()
    assert change(fresh, new, header_jwk=None, header_kid=fresh.kid).error == "malformed"
    assert fresh.post(fresh.url("keyChange"), {"account": fresh.kid, "oldKey": fresh.key.jwk}).error == "malformed"


@checks("KC-3")
def test_the_inner_message_is_signed_by_the_new_key(fresh: Client) -> None:
    assert change(fresh, Key(), signer=Key()).error in {"malformed", "unauthorized"}
    assert change(fresh, Key(), header_alg="none").error in {"badSignatureAlgorithm", "malformed"}


@checks("KC-4")
def test_the_inner_message_is_for_the_same_url(fresh: Client) -> None:
    answer = change(fresh, Key(), header_url=fresh.url("newAccount"))
    assert answer.error in {"malformed", "unauthorized"}


@checks("KC-5")
def test_the_inner_message_has_no_nonce(fresh: Client) -> None:
    assert change(fresh, Key(), header_nonce=fresh.nonce()).error == "malformed"


@checks("KC-6")
def test_the_inner_message_names_the_account_and_its_key(fresh: Client, client: Client) -> None:
    assert change(fresh, Key(), account=client.kid).error in {"malformed", "unauthorized"}
    assert change(fresh, Key(), oldKey=client.key.jwk).error in {"malformed", "unauthorized"}
    assert fresh.post(str(fresh.kid)).status == 200


@checks("KC-7")
def test_a_key_that_has_an_account_is_a_conflict(fresh: Client, client: Client) -> None:
    answer = change(fresh, client.key)
    assert answer.status == 409
    assert answer.location == client.kid


@checks("KC-8")
def test_the_same_key_again_is_refused(fresh: Client) -> None:
    assert change(fresh, fresh.key).status in {400, 409}


@checks("KC-9")
def test_orders_go_on_after_a_change_of_the_key(fresh: Client, name: str) -> None:
    order = fresh.ready(name)
    new = Key()
    assert change(fresh, new).status == 200
    later = replace(fresh, key=new)
    assert later.finalize(order, make_csr(name)).status == 200
    assert later.until(order.location, "valid", "invalid").json["status"] == "valid"


@checks("DA-1")
def test_a_deactivated_account_stays_so_and_its_certificates_live(fresh: Client, client: Client, name: str) -> None:
    done = fresh.issue(name)
    answer = fresh.post(str(fresh.kid), {"status": "deactivated"})
    assert (answer.status, answer.json["status"]) == (200, "deactivated")
    for url in (str(fresh.kid), done.url, fresh.url("newOrder")):
        assert fresh.post(url, {"status": "valid"}).refused("unauthorized", 401), url
    assert fresh.other(fresh.key).register().status in {401, 403}
    # not revoked: its own key can still revoke it
    by_key = replace(fresh, key=Key(done.key), kid=None)
    assert by_key.post(client.url("revokeCert"), {"certificate": b64(done.der)}).status == 200
