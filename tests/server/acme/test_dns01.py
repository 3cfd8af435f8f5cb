"""dns-01 against a DNS server, and wildcards from order to certificate (RFC 8555 section 8.4)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from server.acme.challenges.dns01 import Dns01
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.lookup import Lookup
from server.acme.challenges.question import Question
from server.config import Nameserver
from tests.fakes.acme import b64
from tests.server.acme.lab import PROFILE_TEXT, make_csr, make_lab, tear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.dns_server import DnsServer, Zone
    from tests.server.acme.lab import Lab

KEY = "token.thumbprint"
RIGHT = b64(sha256(KEY.encode()).digest())
NAME = "_acme-challenge.a.test."


def validator(server: DnsServer, seconds: float = 2) -> Dns01:
    return Dns01(Lookup((Nameserver("127.0.0.1", server.port),), seconds))


@pytest.mark.parametrize(
    "records",
    [
        [RIGHT],
        ["stale", RIGHT, "other"],
        [f'"{RIGHT[:20]}" "{RIGHT[20:]}"'],
        ["-> elsewhere.test."],
    ],
)
async def test_one_right_record_is_enough(zone: Zone, server: DnsServer, records: list[str]) -> None:
    zone.update({NAME: records, "elsewhere.test.": [RIGHT]})
    await validator(server).validate(Question("a.test", "token", KEY))


@pytest.mark.parametrize(
    ("records", "error"),
    [
        (["wrong"], "unauthorized"),
        ([RIGHT.lower()], "unauthorized"),
        ([KEY], "unauthorized"),
        ([f"{RIGHT}="], "unauthorized"),
        ([], "dns"),
        (2, "dns"),
        (3, "dns"),
        (["-> nowhere.test."], "dns"),
    ],
)
async def test_anything_else_is_a_failure_that_may_pass(
    zone: Zone, server: DnsServer, records: list[str] | int, error: str
) -> None:
    zone[NAME] = records
    with pytest.raises(ValidationFailed) as failed:
        await validator(server, 0.5).validate(Question("a.test", "token", KEY))
    assert (failed.value.error, failed.value.final) == (error, False)
    assert "wrong" not in failed.value.detail


@pytest_asyncio.fixture
async def wild(tmp_path: Path, server: DnsServer) -> AsyncIterator[Lab]:
    text = PROFILE_TEXT.partition("\ntests:")[0].replace("wildcards: forbidden", "wildcards: allowed")
    made = await make_lab(tmp_path, text)
    challenges = (*made.endpoint().challenges, validator(server))
    await made.serve(made.endpoint(challenges=challenges))
    yield made
    await tear(made)


async def test_a_wildcard_is_proved_at_its_base_name_beside_that_name_itself(wild: Lab, zone: Zone) -> None:
    client = await wild.client()
    order = await client.order("*.a.test", "a.test")
    assert order.status == 201
    for url in order.body["authorizations"]:
        authorization = (await client.post(url)).body
        assert authorization["identifier"] == {"type": "dns", "value": "a.test"}
        types = [each["type"] for each in authorization["challenges"]]
        assert types == (["dns-01"] if authorization.get("wildcard") else ["http-01", "dns-01"])
        challenge = authorization["challenges"][-1]
        text = b64(sha256(f"{challenge['token']}.{client.signer.thumbprint}".encode()).digest())
        found = zone.setdefault(NAME, [])
        assert isinstance(found, list)
        found.append(text)
        await client.post(challenge["url"], {})
        assert (await client.until(url, "valid", "invalid")).body["status"] == "valid"
    done = await client.finalize(order, make_csr("*.a.test", "a.test"))
    assert done.body["status"] == "valid"
    refused = await client.finalize(order, make_csr("x.a.test", "a.test"))
    assert refused.error == "orderNotReady"
