"""Microsoft Intune's validation of SCEP challenges for third-party CAs.

Intune puts an encrypted, expiring statement of what the device may ask for into the challenge. Only Intune can read it,
so the whole request goes there for validation; Intune must have been told of a certificate before it is delivered, and
is told of refusals.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1

from policies.request import ChallengeEvidence
from server.outcome import Problem, Reason
from server.scep.authorization.admission import Admission
from server.scep.authorization.outside import Answered, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.outcome import Issued
    from server.scep.authorization.admission import Asked
    from server.scep.authorization.outside import Outside

_INTUNE_APP = "0000000a-0000-0000-c000-000000000000"
_PROVIDER = "ScepRequestValidationFEService"
_API_VERSION = "2018-02-20"
_TOKEN_MARGIN = 60
_DIRECTORY_SECONDS = 3600
_RETRY = 30
_NO_CHALLENGE = Problem(Reason.UNAUTHENTICATED, "the request has no challenge password")
_ASK_AGAIN = Problem(
    Reason.CONFLICT, "the certificate is there, but Intune must see the challenge once more: send the request again"
)
_HRESULTS = {Reason.POLICY: 0x80094801, Reason.BAD_PROOF: 0x80090006}
_DENIED_HRESULT = 0x80094014
_log = structlog.get_logger("server.scep")


@dataclass(frozen=True, slots=True)
class IntuneAccount:
    """Who asks Intune.

    Attributes:
        tenant: the directory's name or identifier.
        client_id, client_secret: of the application that was registered for this.
        login: the origin of Microsoft's sign-in service.
        graph: the origin of Microsoft Graph.
        resource: what the token for the validation service is for.
        caller: how the server names itself.
    """

    tenant: str
    client_id: str
    client_secret: str = field(repr=False)
    login: str = "https://login.microsoftonline.com"
    graph: str = "https://graph.microsoft.com"
    resource: str = "https://api.manage.microsoft.com/"
    caller: str = "Certwright"


class Intune:
    """Asks Intune.

    Args:
        account: who asks.
        outside: sends requests.
        seconds: a monotonic clock.
    """

    def __init__(self, account: IntuneAccount, outside: Outside, seconds: Callable[[], float]) -> None:
        self._account = account
        self._outside = outside
        self._seconds = seconds
        self._tokens: dict[str, tuple[str, float]] = {}
        self._service: tuple[str, float] | None = None

    async def admit(self, asked: Asked) -> Admission | Problem | None:
        """Have the request validated, byte by byte what will be judged and signed."""
        if not asked.challenge:
            return _NO_CHALLENGE
        try:
            code, detail = await self._act("validateRequest", asked.transaction, asked.csr.der, {})
        except NoAnswer as error:
            return _unavailable(error)
        if code != "Success":
            return Problem(
                Reason.BAD_CREDENTIALS, "Intune does not accept the request", detail=f"Intune: {code} {detail}"
            )
        return Admission(f"challenge:intune:{asked.transaction}", ChallengeEvidence("intune"))

    async def confirm(self, transaction: str, csr: bytes | None, issued: Issued) -> Problem | None:
        """Tell Intune of the certificate; without its answer nothing is delivered.

        The challenge tells Intune which device it is about, so that a request without it says nothing to it.
        """
        if csr is None:
            return _ASK_AGAIN
        certificate = x509.load_der_x509_certificate(issued.certificate)
        notification = {
            "certificateThumbprint": certificate.fingerprint(SHA1()).hex().upper(),  # noqa: S303 - Intune's key
            "certificateSerialNumber": f"{certificate.serial_number:x}",
            "certificateExpirationDateUtc": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "issuingCertificateAuthority": certificate.issuer.rfc4514_string(),
        }
        try:
            code, detail = await self._act("successNotification", transaction, csr, notification)
        except NoAnswer as error:
            return _unavailable(error)
        if code != "Success":
            message = "Intune does not accept the certificate"
            return Problem(Reason.ISSUER_REFUSED, message, detail=f"Intune: {code} {detail}")
        return None

    async def report(self, transaction: str, csr: bytes | None, problem: Problem) -> None:
        """Tell Intune why nothing was issued; when that fails, so be it."""
        if csr is None:
            return
        result = _HRESULTS.get(problem.reason, _DENIED_HRESULT)
        notification = {"hResult": result - (1 << 32), "errorDescription": problem.message[:255]}
        try:
            await self._act("failureNotification", transaction, csr, notification)
        except NoAnswer as error:
            _log.warning("Intune was not told of a refusal", transaction=transaction, cause=str(error))

    async def close(self) -> None:
        """Close the connections to it."""
        await self._outside.close()

    async def _act(
        self, action: str, transaction: str, csr: bytes, notification: Mapping[str, object]
    ) -> tuple[str, str]:
        """Return code and description of Intune's answer. Raises NoAnswer, also for an answer that is none."""
        word = "request" if action == "validateRequest" else "notification"
        content = {
            "transactionId": transaction,
            "certificateRequest": b64encode(csr).decode(),
            **notification,
            "callerInfo": self._account.caller,
        }
        body = json.dumps({word: content}).encode()
        answered = await self._ask(f"/ScepActions/{action}", body, transaction)
        if answered.status == 401:  # withdrawn before its time
            self._tokens.clear()
            answered = await self._ask(f"/ScepActions/{action}", body, transaction)
        code = answered.value.get("code")
        if answered.status != 200 or not isinstance(code, str):
            raise NoAnswer(f"Intune {action}: HTTP {answered.status} without a code")
        return code, str(answered.value.get("errorDescription", ""))[:255]

    async def _ask(self, path: str, body: bytes, transaction: str) -> Answered:
        service = await self._location()
        token = await self._token(f"{self._account.resource}/.default")
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "api-version": _API_VERSION,
            "client-request-id": "".join(c for c in transaction if c.isascii() and c.isalnum())[:64],
            "UserAgent": self._account.caller,
        }
        return await self._outside.post(f"{service}{path}", body, headers)

    async def _location(self) -> str:
        """Return where the validation service is, asked for once an hour."""
        if self._service is not None and self._seconds() < self._service[1]:
            return self._service[0]
        token = await self._token(f"{self._account.graph}/.default")
        url = f"{self._account.graph}/v1.0/servicePrincipals/appId={_INTUNE_APP}/endpoints"
        answered = await self._outside.get(url, {"Authorization": f"Bearer {token}", "Accept": "application/json"})
        found = [one for one in _listed(answered.value) if one.get("providerName") == _PROVIDER]
        location = str(found[0].get("uri", "")) if found else ""
        if not location:
            raise NoAnswer(f"Graph does not say where Intune's {_PROVIDER} is: HTTP {answered.status}")
        self._service = (location.rstrip("/"), self._seconds() + _DIRECTORY_SECONDS)
        return self._service[0]

    async def _token(self, scope: str) -> str:
        """Return a token by the client-credentials grant (RFC 6749 section 4.4), kept until shortly before its end."""
        token, end = self._tokens.get(scope, ("", 0.0))
        if token and self._seconds() < end:
            return token
        form = {
            "grant_type": "client_credentials",
            "client_id": self._account.client_id,
            "client_secret": self._account.client_secret,
            "scope": scope,
        }
        url = f"{self._account.login}/{self._account.tenant}/oauth2/v2.0/token"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answered = await self._outside.post(url, urlencode(form).encode(), headers)
        fresh, lifetime = answered.value.get("access_token"), answered.value.get("expires_in", 0)
        if answered.status != 200 or not isinstance(fresh, str) or not isinstance(lifetime, int):
            raise NoAnswer(f"no token for {scope}: HTTP {answered.status} {answered.value.get('error', '')!s:.100}")
        self._tokens[scope] = (fresh, self._seconds() + max(0, lifetime - _TOKEN_MARGIN))
        return fresh


def _listed(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = value.get("value")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _unavailable(error: NoAnswer) -> Problem:
    return Problem(Reason.ISSUER_UNAVAILABLE, "Intune can't be asked now", detail=str(error), retry_after=_RETRY)
