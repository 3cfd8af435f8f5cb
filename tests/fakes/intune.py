"""Microsoft's side of Intune's SCEP validation, on loopback: sign-in, Graph's directory, the validation service."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ca.csr import parse_csr


@dataclass
class FakeIntune:
    """Answers what a test wants and keeps what it was asked; the challenge tells it which device it is about.

    Attributes:
        codes: the code for each action; an integer is an HTTP status instead.
        asked: action and JSON of each request.
        tokens: how many were given out.
        withdrawn: tokens that are good no more.
    """

    codes: dict[str, str | int] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: int = 0
    withdrawn: set[str] = field(default_factory=set)
    url: str = ""
    secret: str = "s3cret"
    directory: object = None

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/tenant/oauth2/v2.0/token", self.token)
        app.router.add_get("/v1.0/servicePrincipals/{id}/endpoints", self.endpoints)
        app.router.add_post("/service/ScepActions/{action}", self.act)
        return app

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form["client_secret"] != self.secret or form["grant_type"] != "client_credentials":
            return web.json_response({"error": "invalid_client"}, status=401)
        self.tokens += 1
        return web.json_response({"access_token": f"token-{self.tokens}", "expires_in": 3600})

    async def endpoints(self, request: web.Request) -> web.Response:
        service = {"providerName": "ScepRequestValidationFEService", "uri": f"{self.url}/service"}
        listed = [{"providerName": "Other", "uri": "x"}, service] if self.directory is None else self.directory
        return web.json_response({"value": listed})

    async def act(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"].removeprefix("Bearer ") in self.withdrawn:
            return web.Response(status=401)
        action = request.match_info["action"]
        asked = json.loads(await request.text())
        self.asked.append((action, asked))
        (content,) = asked.values()
        sent = parse_csr(b64decode(content["certificateRequest"]))
        code = self.codes.get(action, "Success") if sent.challenge_password else "ChallengePasswordMissing"
        if isinstance(code, int):
            return web.Response(status=code)
        return web.json_response({"code": code, "errorDescription": f"because {code}"})
