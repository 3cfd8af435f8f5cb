"""Labels of one service, and switches for old devices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from policies.document import DocumentErrors
from server.config import load_config
from server.est import problems
from server.outcome import Problem, Reason
from tests.fakes.credential import credential, keep
from tests.server.est.lab import Device, Holder, csr, lab

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  aliases: [est/renewals, est/arbitrary]
  lenient_content_type: {lenient}
  legacy_status: {legacy}
  authenticate: {{one_time_passwords: true, certificates: true}}
est/other:
  profiles: [iot-device]
  authenticate: {{certificates: true}}
"""


def endpoints(*, lenient: bool = False, legacy: bool = False) -> str:
    return ENDPOINTS.format(lenient=str(lenient).lower(), legacy=str(legacy).lower())


async def test_a_certificate_of_one_label_is_renewed_under_an_alias_and_not_at_another_endpoint(folder: Path) -> None:
    async with lab(folder, endpoints()) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        key = ec.generate_private_key(ec.SECP256R1())
        first = await running.post("arbitrary/simpleenroll", csr("pump", key=key), basic=("pump", "otp"))
        holder = Holder(key, (first.certificate,))
        assert (await running.post("renewals/simplereenroll", csr("pump"), holder=holder)).status == 200
        assert (await running.post("other/simplereenroll", csr("pump"), holder=holder)).status == 403


@pytest.mark.parametrize("alias", ["est/other", "est/default", "est/cacerts", "scep/x", "est/renewals, est/renewals"])
def test_a_label_that_is_taken_or_none_is_a_configuration_error(folder: Path, alias: str) -> None:
    file = folder / "server.yaml"
    head, _, _ = file.read_text().partition("\nendpoints:")
    text = endpoints().replace("est/renewals, est/arbitrary", alias)
    file.write_text(head + "\nendpoints:\n" + "\n".join("  " + line for line in text.splitlines()))
    with pytest.raises(DocumentErrors):
        load_config(file)


def test_certificates_of_an_alias_are_those_of_its_endpoint_and_called_so(folder: Path) -> None:
    """On record they have the endpoint's name: under that of the alias none would count."""
    file = folder / "server.yaml"
    head, _, _ = file.read_text().partition("\nendpoints:")
    text = endpoints().replace("{certificates: true}", "{certificates: true, certificates_from: [est/renewals]}")
    file.write_text(head + "\nendpoints:\n" + "\n".join("  " + line for line in text.splitlines()))
    with pytest.raises(DocumentErrors, match="est/renewals is an alias; what it issues is est/default's"):
        load_config(file)
    file.write_text(file.read_text().replace("[est/renewals]", "[est/default]"))
    load_config(file)


@pytest.mark.parametrize(("lenient", "status"), [(True, 200), (False, 415)])
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "", "application/pkcs10-csr"])
async def test_a_content_type_does_not_matter_where_the_endpoint_says_so(
    folder: Path, content_type: str, status: int, *, lenient: bool
) -> None:
    async with lab(folder, endpoints(lenient=lenient)) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))

        def work() -> int:
            with Device(running.ports["https"]) as device:
                basic = ("pump", "otp")
                return device.post("simpleenroll", csr("pump"), basic=basic, content_type=content_type).status

        assert await asyncio.to_thread(work) == status


async def test_where_the_endpoint_says_so_a_refusal_has_a_status_that_libest_knows(folder: Path) -> None:
    async with lab(folder, endpoints(legacy=True)) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        answer = await running.post("simpleenroll", csr("www.google.com<"), basic=("pump", "otp"))
        assert answer.status == 400
        assert answer.body.startswith(b"The policy refuses this request:")


@pytest.mark.parametrize("reason", Reason)
def test_every_legacy_status_is_one_that_libest_knows(reason: Reason) -> None:
    for realm in (None, "est/default"):
        reply = problems.reply(Problem(reason, "x", retry_after=5), realm=realm, legacy=True)
        assert reply.status in {400, 401, 404, 500, 504}
        assert dict(reply.headers)["Retry-After"] == "5"
    assert problems.reply(problems.MEDIA_TYPE, realm=None, legacy=True).status == 400
