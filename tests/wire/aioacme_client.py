"""What aioacme is told to do; run by a Python that has it: SETTINGS in JSON on the command line, findings on stdout."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from base64 import urlsafe_b64decode
from typing import Any

import aioacme  # type: ignore[import-not-found] # it is installed where this runs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

KEYS: dict[str, Any] = {
    "RSA": lambda: rsa(65537, 2048),
    "P-256": lambda: ec(SECP256R1()),
    "P-384": lambda: ec(SECP384R1()),
    "Ed25519": Ed25519PrivateKey.generate,
}


def request(names: list[str], key: Any) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    names_ = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return builder.add_extension(names_, critical=True).sign(key, SHA256())


async def prove(client: Any, url: str, hook: str) -> None:
    """Put the text into DNS and wait for the verdict."""
    authorization = await client.get_authorization(url)
    if authorization.status != aioacme.AuthorizationStatus.pending:
        return
    (challenge,) = [each for each in authorization.challenges if each.type == aioacme.ChallengeType.dns01]
    text = client.get_dns_challenge_validation(challenge.token)
    await asyncio.to_thread(subprocess.run, [hook, authorization.identifier.value, text], check=True)
    await client.answer_challenge(challenge.url)
    while authorization.status == aioacme.AuthorizationStatus.pending:
        authorization = await client.get_authorization(url)
    if authorization.status != aioacme.AuthorizationStatus.valid:
        raise RuntimeError(f"{authorization.identifier.value} is {authorization.status}: {authorization.challenges}")


async def issue(client: Any, names: list[str], hook: str, key: Any) -> x509.Certificate:
    order = await client.new_order([aioacme.Identifier(name) for name in names])
    for url in order.authorizations:
        await prove(client, url, hook)
    order = await client.finalize_order(order.finalize, request(names, key))
    while order.status == aioacme.OrderStatus.processing:
        order = await client.get_order(order.uri)
    leaf, _ = x509.load_pem_x509_certificates(await client.get_certificate(order.certificate))
    return leaf


async def refusal(work: Any) -> dict[str, Any]:
    try:
        await work
    except aioacme.AcmeError as error:
        about = [each.identifier.value for each in error.error.subproblems or ()]
        return {"type": error.error.type.rpartition(":")[2], "detail": error.error.detail, "about": about}
    return {}


async def live(settings: dict[str, Any]) -> dict[str, Any]:
    """Do everything that the client can."""
    names, hook = settings["names"], settings["hook"]
    new_key = KEYS[settings["key"]]
    binding = None
    if settings["eab"]:
        kid, text = settings["eab"]
        binding = aioacme.ExternalAccountBinding(kid, urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    trust = ssl.create_default_context(cafile=settings["root"])
    options = {"directory_url": settings["directory"], "external_account_binding": binding, "ssl": trust}
    first_key, second_key, account_key = ec(SECP256R1()), ec(SECP256R1()), new_key()
    async with aioacme.Client(account_key=account_key, **options) as client:
        account = await client.get_account()
        contact = (await client.update_account(contact=["mailto:pki@example.com"])).contact
        first = await issue(client, names, hook, first_key)
        await client.change_key(new_key())
        second = await issue(client, names, hook, second_key)
        given_back = await client.new_order([aioacme.Identifier(names[0])])
        authorization = await client.deactivate_authorization(given_back.authorizations[0])
        lost = await client.get_order(given_back.uri)
        forbidden = await refusal(client.new_order([aioacme.Identifier(name) for name in (*names, "aio.google.com")]))
        await client.revoke_certificate(first, reason=aioacme.RevocationReason.superseded)
        await client.revoke_certificate(second, second_key, aioacme.RevocationReason.key_compromise)
        again = await refusal(client.revoke_certificate(first))
        ended = (await client.update_account(status=aioacme.AccountStatus.deactivated)).status
        after = await refusal(client.new_order([aioacme.Identifier(names[0])]))
    async with aioacme.Client(account_key=account_key, account_uri=account.uri, **options) as client:
        old_key = await refusal(client.get_account())
    return {
        "contact": contact,
        "certificates": [each.public_bytes(Encoding.PEM).decode() for each in (first, second)],
        "authorization": authorization.status.value,
        "lost": lost.status.value,
        "forbidden": forbidden,
        "again": again,
        "ended": ended.value,
        "after": after,
        "old key": old_key,
    }


print(json.dumps(asyncio.run(live(json.loads(sys.argv[1])))))  # noqa: T201 - that is how it answers
