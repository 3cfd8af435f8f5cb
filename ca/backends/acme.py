"""Another ACME server as the issuing CA (RFC 8555): we hold the account and delegate what it wants to have proven.

Certwright has decided already; what the other CA wants to see of each name (an authorization) is either there from
before, or a command publishes a DNS record for it. An order outlives one attempt: its URL is the reference with which
the next attempt goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.backends.acme_account import AcmeRefused, b64
from ca.crl import REASONS
from ca.issuer import (
    AnswerUnusable,
    IssuerError,
    IssuerPending,
    IssuerRefused,
    IssuerUnavailable,
    NothingSigned,
)
from ca.names import DnsName, IpAddress

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from ca.backends.acme_account import AcmeAccount
    from ca.backends.http_client import Answer
    from ca.backends.upstream import Order

_RETRY_SECONDS = 3
_PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Dns01:
    """The command that publishes the record for dns-01: it gets ``present`` or ``cleanup``, the name, the value."""

    command: tuple[str, ...]
    folder: Path

    async def run(self, action: str, name: str, value: str) -> None:
        """Run it. Raises IssuerUnavailable when it fails."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            action,
            name,
            value,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if status:
            raise IssuerUnavailable(f"the command for dns-01 ends with {status} at {action} {name}")


@dataclass(frozen=True, slots=True)
class AcmeUpstream:
    """An ACME server.

    Attributes:
        account: our account there.
        dns01: how dns-01 is answered; None when every authorization is there from before.
        seconds: after so long within one attempt the order is left for the next.
    """

    account: AcmeAccount
    dns01: Dns01 | None
    seconds: float

    async def enroll(self, order: Order) -> x509.Certificate:
        """Order the plan's names and finalize with the requester's CSR; see `ca.backends.upstream.Upstream.enroll`."""
        order.require_names(subject=False)
        url = order.reference or await self._place(order)
        try:
            async with asyncio.timeout(self.seconds):
                return await self._follow(url, order)
        except (TimeoutError, aiohttp.ClientError, OSError, IssuerUnavailable) as error:
            raise IssuerPending(_RETRY_SECONDS, url) from error

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:  # noqa: ARG002 - ACME has no dates
        """Revoke with our account (section 7.6); see `ca.backends.upstream.RevokingUpstream.revoke`.

        A reason that the CA does not take is left out, rather than leaving the certificate good.
        """
        asked: dict[str, Any] = {"certificate": b64(certificate.public_bytes(Encoding.DER))}
        try:
            await self.account.place("revokeCert", {**asked, "reason": REASONS[reason]})
        except AcmeRefused as error:
            if error.kind == "badRevocationReason":
                await self.account.place("revokeCert", asked)
            elif error.kind != "alreadyRevoked":
                raise

    async def close(self) -> None:
        """Close the connections."""
        await self.account.client.close()

    async def _place(self, order: Order) -> str:
        identifiers = []
        for name in order.plan.names:
            if not isinstance(name, DnsName | IpAddress):
                raise IssuerRefused(f"ACME has no identifier for {name}")
            kind = "dns" if isinstance(name, DnsName) else "ip"  # RFC 8738
            identifiers.append({"type": kind, "value": str(name.value)})
        answer = await self.account.place("newOrder", {"identifiers": identifiers})
        return answer.headers["Location"]

    async def _follow(self, url: str, order: Order) -> x509.Certificate:
        """Take the order from state to state until there is a certificate (section 7.1.6)."""
        answered: set[str] = set()
        finalized = False
        while True:
            state = json.loads((await (self._post_again(url) if finalized else self.account.post(url))).body)
            match state["status"]:
                case "pending":
                    for authorization in state["authorizations"]:
                        if authorization not in answered:
                            answered.add(authorization)
                            await self._authorize(authorization)
                case "ready" if not finalized:
                    await self.account.post(state["finalize"], {"csr": b64(order.csr.der)})
                    finalized = True
                    continue
                case "valid":
                    await self._clean_up(state["authorizations"])
                    chain = (await self._post_again(state["certificate"])).body
                    return x509.load_pem_x509_certificates(chain)[0]
                case "invalid":
                    await self._clean_up(state["authorizations"])
                    raise NothingSigned(f"the order is invalid: {_why(state)}")
                case _:
                    pass
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _post_again(self, url: str) -> Answer:
        """Read what the CA says once it may have signed: a refusal to say it is no refusal to sign."""
        try:
            return await self.account.post(url)
        except AcmeRefused as error:
            raise AnswerUnusable(str(error)) from error

    async def _authorize(self, url: str) -> None:
        """Answer one authorization, unless it is valid already or under way (section 7.5)."""
        state = json.loads((await self.account.post(url)).body)
        if state["status"] != "pending":
            return
        challenge = _dns01(state)
        if challenge is None or self.dns01 is None:
            raise IssuerRefused(
                f"the CA wants to have {state['identifier']['value']} proven, and there is no way to do it"
            )
        if challenge["status"] == "pending":
            await self.dns01.run("present", *self._record(state, challenge))
            await self.account.post(challenge["url"], {})

    async def _clean_up(self, authorizations: list[str]) -> None:
        """Take back what was published; a failure of this is no failure of the order."""
        if self.dns01 is None:
            return
        for url in authorizations:
            try:
                state = json.loads((await self.account.post(url)).body)
                challenge = _dns01(state)
                if challenge is not None and "token" in challenge:
                    await self.dns01.run("cleanup", *self._record(state, challenge))
            except (IssuerError, aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, AttributeError):
                continue

    def _record(self, state: dict[str, Any], challenge: dict[str, Any]) -> tuple[str, str]:
        """Return name and value of the TXT record (section 8.4)."""
        digest = hashlib.sha256(self.account.key_authorization(challenge["token"]).encode()).digest()
        return f"_acme-challenge.{state['identifier']['value']}", b64(digest)


def _dns01(authorization: dict[str, Any]) -> dict[str, Any] | None:
    return next((each for each in authorization["challenges"] if each["type"] == "dns-01"), None)


def _why(order: dict[str, Any]) -> str:
    error = order.get("error")
    return str(error.get("detail", error))[:300] if isinstance(error, dict) else "an authorization has failed"
