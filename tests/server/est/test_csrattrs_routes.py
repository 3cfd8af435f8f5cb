"""GET csrattrs on a running application, whose policy files may change."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from http.client import HTTPSConnection
from ssl import CERT_NONE, create_default_context
from typing import TYPE_CHECKING

import pytest

from ca import der
from server.est import csrattrs
from tests.fakes.credential import credential, keep
from tests.server.est.lab import BASE, Lab, csr, lab
from tests.server.est.obedient import follow_list, follow_template

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = "est/default: {{profiles: [iot-device], authenticate: {{certificates: true}}, {more}}}"


async def get(running: Lab, path: str = "csrattrs", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    def work() -> tuple[int, dict[str, str], bytes]:
        context = create_default_context()
        context.check_hostname, context.verify_mode = False, CERT_NONE
        connection = HTTPSConnection("127.0.0.1", running.ports["https"], context=context)
        connection.request(method, BASE + path, headers={"User-Agent": "lab"})
        reply = connection.getresponse()
        found = reply.status, dict(reply.getheaders()), reply.read()
        connection.close()
        return found

    return await asyncio.to_thread(work)


async def test_anybody_may_ask_what_to_ask_for(folder: Path) -> None:
    async with lab(folder, ENDPOINT.format(more="csrattrs: both")) as running:
        status, fields, body = await get(running)
        assert (status, fields["Content-Type"]) == (200, "application/csrattrs")
        assert body.endswith(b"\n")
        assert follow_template(b64decode(body)).subject == [("2.5.4.3", "pump-17")]
        assert follow_list(b64decode(body)).csr().key_shape.curve == "P-256"
        assert (await get(running, "default/csrattrs"))[2] == body
        assert (await get(running, method="POST"))[0] == 405


@pytest.mark.parametrize(("form", "tags"), [("legacy", {der.OID, der.SEQUENCE}), ("rfc9908", {der.SEQUENCE})])
async def test_each_endpoint_says_it_in_the_form_that_its_devices_read(folder: Path, form: str, tags: set[int]) -> None:
    async with lab(folder, ENDPOINT.format(more=f"csrattrs: {form}")) as running:
        items = der.children(der.read(b64decode((await get(running))[2])))
    assert {item.tag for item in items} == tags
    templates = [item for item in items if der.oid(csrattrs.REQUEST_TEMPLATE) in item.content[:16]]
    assert len(templates) == (form == "rfc9908")


@pytest.mark.parametrize(("linking", "announced"), [("required", True), ("optional", False), ("off", False)])
async def test_a_binding_that_is_required_is_announced(folder: Path, linking: str, *, announced: bool) -> None:
    """RFC 7030 section 3.5: an EST server that requires it MUST list challengePassword."""
    async with lab(folder, ENDPOINT.format(more=f"linking: {linking}")) as running:
        items = der.children(der.read(b64decode((await get(running))[2])))
    assert (der.oid("1.2.840.113549.1.9.7") in {item.raw for item in items}) is announced


async def test_an_endpoint_may_say_nothing(folder: Path) -> None:
    """RFC 7030 section 4.5.2: 204 or 404; BouncyCastle fails over a 204 that announces a body."""
    async with lab(folder, ENDPOINT.format(more="csrattrs: none")) as running:
        status, fields, body = await get(running)
    assert (status, body) == (204, b"")
    assert fields.get("Content-Length", "0") == "0"


async def test_what_is_announced_follows_the_policy_files(folder: Path) -> None:
    async with lab(folder, ENDPOINT.format(more="csrattrs: both")) as running:
        before = (await get(running))[2]
        file = folder / "policies" / "iot-device.yaml"
        file.write_text(
            file.read_text().replace('allowed: ["ec:P-256", "ec:P-384",', 'allowed: ["ec:P-384", "ec:P-256",')
        )
        assert await running.application.services.material.policies.reload()
        after = (await get(running))[2]
    assert follow_template(b64decode(before)).csr().key_shape.curve == "P-256"
    assert follow_template(b64decode(after)).csr().key_shape.curve == "P-384"


async def test_who_obeys_is_enrolled(folder: Path) -> None:
    endpoint = "est/default: {profiles: [iot-device], authenticate: {one_time_passwords: true}}"
    async with lab(folder, endpoint) as running:
        await keep(running.application.services.store, credential("otp", username="pump", uses_left=2))
        wishes = follow_template(b64decode((await get(running))[2]))
        answer = await running.post("simpleenroll", wishes.csr().der, basic=("pump", "otp"))
        assert answer.certificate.subject.rfc4514_string() == "CN=pump-17"
        refused = await running.post("simpleenroll", csr(None), basic=("pump", "otp"))
    assert refused.status == 403
