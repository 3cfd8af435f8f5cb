from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from server.bench.acme import AcmeClient
from server.bench.connection import Reply
from server.bench.load import EnrollmentFailed
from server.bench.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ca.ceremony import Credential


class Scripted:
    """An account for which the server's answers are written down: by URL, one after the other, the last for ever."""

    thumbprint = "thumbprint"

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, Any] | None]] = []

    async def post(self, url: str, payload: Mapping[str, Any] | None) -> Reply:
        self.asked.append((url, payload))
        left = self.answers[url]
        answer = left.pop(0) if len(left) > 1 else left[0]
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Reply(HTTPStatus.OK, {"location": "order"} if url == "new" else {}, body)


ORDER = {"authorizations": ["authorization"], "finalize": "finalize", "certificate": "certificate"}
AUTHORIZATION = {"challenges": [{"type": "dns-01", "url": "no"}, {"type": "http-01", "url": "challenge"}]}


@pytest.fixture
def client(root_pem: Path) -> AcmeClient:
    return AcmeClient("https://localhost/directory", root_pem, http01_port=free_ports(1)[0])


def scripted(client: AcmeClient, **answers: list[Any]) -> Scripted:
    everything: dict[str, list[Any]] = {
        "new": [ORDER | {"status": "pending"}],
        "order": [ORDER | {"status": status} for status in ("processing", "valid")],
        "authorization": [AUTHORIZATION | {"status": status} for status in ("pending", "pending", "valid")],
        "challenge": [{"status": "processing"}],
        "finalize": [ORDER | {"status": "processing"}],
        "certificate": [b"the chain"],
    }
    account = Scripted(everything | answers)
    client._account = account  # type: ignore[assignment]  # a fake
    client._urls = {"newOrder": "new"}
    return account


async def test_an_order_goes_through_every_step(client: AcmeClient) -> None:
    account = scripted(client)
    job = client.prepare()
    assert await client.send(job) == b"the chain"
    assert ("new", {"identifiers": [{"type": "dns", "value": job.name}]}) in account.asked
    assert ("challenge", {}) in account.asked
    assert ("finalize", {"csr": job.csr}) in account.asked


async def test_an_order_that_finalizes_at_once_is_not_asked_for_again(client: AcmeClient) -> None:
    account = scripted(client, finalize=[ORDER | {"status": "valid"}])
    await client.send(client.prepare())
    urls = ["new", "authorization", "challenge", "authorization", "authorization", "finalize", "certificate"]
    assert [url for url, _ in account.asked] == urls


async def test_what_the_answer_to_the_challenge_says_is_not_asked_for_again(client: AcmeClient) -> None:
    account = scripted(client, challenge=[{"status": "valid"}])
    await client.send(client.prepare())
    assert [url for url, _ in account.asked].count("authorization") == 1


async def test_a_challenge_that_becomes_invalid_at_once_is_a_failure(client: AcmeClient) -> None:
    scripted(client, challenge=[{"status": "invalid"}])
    with pytest.raises(EnrollmentFailed, match="invalid"):
        await client.send(client.prepare())


@pytest.mark.parametrize("status", ["invalid", "pending"])
async def test_a_failure_is_told_in_the_words_of_the_server(
    client: AcmeClient, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr("server.bench.acme._PAUSES", [0.0, 0.0])
    tried = AUTHORIZATION["challenges"][1] | {"error": {"type": "connection", "detail": "nobody listens there"}}
    found = {"status": status, "challenges": [AUTHORIZATION["challenges"][0], tried]}
    scripted(client, authorization=[AUTHORIZATION | {"status": "pending"}, found])
    with pytest.raises(EnrollmentFailed, match=r"valid: .*connection: nobody listens there"):
        await client.send(client.prepare())


async def test_an_order_is_resumed_as_it_is(client: AcmeClient) -> None:
    scripted(client)
    assert await client.resume("order") == ("order", ORDER | {"status": "processing"})


async def test_an_order_that_is_valid_is_only_fetched(client: AcmeClient) -> None:
    account = scripted(client, new=[ORDER | {"status": "valid"}])
    await client.send(client.prepare())
    assert [url for url, _ in account.asked] == ["new", "certificate"]


async def test_an_authorization_that_is_valid_is_not_proven_again(client: AcmeClient) -> None:
    account = scripted(client, authorization=[AUTHORIZATION | {"status": "valid"}])
    await client.send(client.prepare())
    assert "challenge" not in [url for url, _ in account.asked]


async def test_an_order_that_becomes_invalid_is_a_failure(client: AcmeClient) -> None:
    scripted(client, order=[ORDER | {"status": "processing"}, ORDER | {"status": "invalid"}])
    with pytest.raises(EnrollmentFailed, match="invalid"):
        await client.send(client.prepare())


async def test_an_order_that_never_moves_is_a_failure(client: AcmeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.bench.acme._PAUSES", [0.0, 0.0])
    scripted(client, order=[ORDER | {"status": "processing"}])
    with pytest.raises(EnrollmentFailed, match="still not valid: order"):
        await client.send(client.prepare())


@pytest.mark.parametrize("answer", [{}, b"no JSON", b"[]", {"status": "ready"}])
async def test_an_object_without_what_it_must_have_is_a_failure(client: AcmeClient, answer: object) -> None:
    scripted(client, new=[answer])
    with pytest.raises(EnrollmentFailed, match=r"lacks|no JSON object"):
        await client.send(client.prepare())


async def test_an_order_without_a_location_is_a_failure(client: AcmeClient) -> None:
    scripted(client, other=[{}])
    client._urls = {"newOrder": "other"}
    with pytest.raises(EnrollmentFailed, match="lacks 'location'"):
        await client.send(client.prepare())


async def test_no_server_is_a_failure_that_leaves_nothing_open(client: AcmeClient) -> None:
    with pytest.raises(EnrollmentFailed, match="no account"):
        async with client:
            pass


def test_every_request_is_for_a_name_of_its_own(client: AcmeClient) -> None:
    first, second = client.prepare(), client.prepare()
    assert first.name != second.name
    csr = x509.load_der_x509_csr(base64.urlsafe_b64decode(first.csr + "=" * (-len(first.csr) % 4)))
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [first.name]


def test_a_certificate_for_another_key_is_a_failure(client: AcmeClient, root: Credential) -> None:
    with pytest.raises(EnrollmentFailed, match="another key"):
        client.certificate(client.prepare(), root.certificate_pem())
    with pytest.raises(EnrollmentFailed, match="no certificate"):
        client.certificate(client.prepare(), b"")
