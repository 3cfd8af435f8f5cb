"""What holds whatever clients do, in whatever order they do it: two accounts, a few names, and time that passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.acme import Signer, b64, json_bytes, new_key
from tests.server.acme.lab import Client, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Lab

NAMES = ("a.localhost", "b.localhost")
PEER = "what-the-peer-said"
FOLLOWS = {
    "pending": {"ready", "invalid"},
    "ready": {"processing", "valid", "invalid"},
    "processing": {"ready", "valid", "invalid"},
    "valid": set[str](),
    "invalid": set[str](),
}
"""What may be seen after what (RFC 8555 section 7.1.6; back to ready where the CSR was at fault)."""


@dataclass
class Known:
    """What was seen of an order."""

    owner: Client
    url: str
    members: dict[str, Any]
    certificate: bytes = b""


class Watched(Client):
    """A client that looks at what every answer to a signed message must have."""

    async def post(self, url: str, payload: object = b"", *, signer: Signer | None = None, **header: Any) -> Answer:
        answer = await super().post(url, payload, signer=signer, **header)
        assert answer.headers["Replay-Nonce"]
        assert any('rel="index"' in each for each in answer.headers.getall("Link"))
        assert PEER not in str(answer.body)
        assert PEER not in str(answer.headers)
        return answer


@dataclass
class World:
    """Two accounts and their orders."""

    lab: Lab
    clients: list[Watched] = field(default_factory=list)
    orders: list[Known] = field(default_factory=list)

    async def order(self, who: int, names: tuple[str, ...], _: int) -> None:
        client = self.clients[who]
        answer = await client.order(*names)
        if answer.status == 201:
            self.orders.append(Known(client, answer.location, answer.body))

    async def answer(self, who: int, names: tuple[str, ...], which: int) -> None:
        """Answer the challenges of an order, rightly or not; perhaps by the other account."""
        if not self.orders:
            return
        known = self.orders[which % len(self.orders)]
        for url in known.members["authorizations"]:
            found = await known.owner.post(url)
            if found.status != 200 or found.body["status"] != "pending":
                continue
            challenge = found.body["challenges"][0]
            right = f"{challenge['token']}.{known.owner.signer.thumbprint}"
            self.lab.served[challenge["token"]] = right if len(names) == 1 else PEER
            answered = await self.clients[who].post(challenge["url"], {})
            assert (answered.status == 404) == (self.clients[who] is not known.owner) or answered.status == 401

    async def give_back(self, who: int, _: tuple[str, ...], which: int) -> None:
        if self.orders:
            known = self.orders[which % len(self.orders)]
            await self.clients[who].post(known.members["authorizations"][0], {"status": "deactivated"})

    async def finalize(self, who: int, names: tuple[str, ...], which: int) -> None:
        if not self.orders:
            return
        known, client = self.orders[which % len(self.orders)], self.clients[who]
        before = [(await known.owner.post(url)).body.get("status") for url in known.members["authorizations"]]
        status = (await known.owner.post(known.url)).body.get("status")
        done = await client.post(known.members["finalize"], {"csr": b64(make_csr(*names))})
        if done.status == 200 and status != "valid":
            assert client is known.owner
            assert set(before) == {"valid"}
            assert set(names) == {each["value"] for each in known.members["identifiers"]}

    async def roll(self, who: int, _: tuple[str, ...], __: int) -> None:
        client, key = self.clients[who], Signer(new_key())
        url = client.url("/key-change")
        inner = key.sign(json_bytes({"account": client.kid, "oldKey": client.signer.jwk}), url=url, jwk=key.jwk)
        if (await client.post(url, inner)).status == 200:
            client.signer = key

    async def wait(self, who: int, _: tuple[str, ...], which: int) -> None:
        self.lab.now[0] += timedelta(hours=which)

    async def leave(self, who: int, _: tuple[str, ...], which: int) -> None:
        if which == 0:
            await self.clients[who].post(str(self.clients[who].kid), {"status": "deactivated"})

    async def look(self) -> None:
        """Look at every order: it may have moved on, and nothing else of it may have changed."""
        for known in self.orders:
            found = await known.owner.post(known.url)
            if found.status == 401:
                continue  # its account has left
            old, new = known.members, found.body
            assert {name: new[name] for name in ("identifiers", "authorizations", "finalize", "expires")} == {
                name: old[name] for name in ("identifiers", "authorizations", "finalize", "expires")
            }
            assert new["status"] == old["status"] or _reaches(old["status"], new["status"]), (old, new)
            assert ("certificate" in new) == (new["status"] == "valid")
            known.members = new
            if "certificate" in new:
                await self._certificate(known)

    async def _certificate(self, known: Known) -> None:
        pem = (await known.owner.post(known.members["certificate"])).body
        assert known.certificate in {b"", pem}  # one order, one certificate
        known.certificate = pem
        names = x509.load_pem_x509_certificates(pem)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        wanted = {each["value"] for each in known.members["identifiers"]}
        assert set(names.value.get_values_for_type(x509.DNSName)) == wanted
        other = next(each for each in self.clients if each is not known.owner)
        foreign, none = await other.post(known.url), await other.post(f"{known.url[:-1]}x")
        assert (foreign.status, foreign.body) == (none.status, none.body)


def _reaches(old: str, new: str) -> bool:
    """Whether there is a way of one step or more: between two looks, several may have been taken."""
    seen, more = set[str](), {old}
    while more:
        seen |= (more := set().union(*(FOLLOWS[each] for each in more)) - seen)
    return new in seen


EVENTS = ("order", "order", "answer", "answer", "answer", "finalize", "finalize", "give_back", "roll", "wait", "leave")
STEP = st.tuples(
    st.sampled_from(EVENTS),
    st.sampled_from((0, 0, 0, 1)),
    st.sampled_from(((NAMES[0],), (NAMES[0],), (NAMES[1],), NAMES)),
    st.integers(0, 3),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(STEP, min_size=4, max_size=12))
async def test_no_order_of_events_breaks_what_must_hold(lab: Lab, steps: list[Any]) -> None:
    world = World(lab)
    for _ in range(2):
        client = Watched(lab)
        assert (await client.register()).status == 201
        world.clients.append(client)
    begun = (("order", 0, NAMES[:1], 0), ("answer", 0, NAMES[:1], 0))  # so that most go on to a certificate
    for event, who, names, which in (*begun, *steps):
        await getattr(world, event)(who, names, which)
        await world.look()


async def test_the_way_that_should_lead_to_a_certificate_does(lab: Lab) -> None:
    """Else the test above would hold of a server that refuses everything."""
    world = World(lab)
    for _ in range(2):
        world.clients.append(Watched(lab))
        await world.clients[-1].register()
    for event in ("order", "answer"):
        await getattr(world, event)(0, NAMES[:1], 0)
    await world.clients[0].until(world.orders[0].members["authorizations"][0], "valid")
    await world.finalize(0, NAMES[:1], 0)
    await world.look()
    assert world.orders[0].certificate
