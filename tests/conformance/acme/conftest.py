"""What each test of the suite gets: a server, and clients of it."""

from __future__ import annotations

import secrets
import ssl
from typing import TYPE_CHECKING, cast

import pytest

from tests.conformance.acme.client import Client, Http, NotOffered
from tests.conformance.acme.differences import DIFFERENCES
from tests.conformance.acme.responders import Responder
from tests.conformance.acme.targets import CERTWRIGHT, OTHER, PEBBLE, Target, certwright, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from tests.conformance.acme.client import Issued

_KNOWN = {CERTWRIGHT: certwright, PEBBLE: reference}


def _given(config: pytest.Config) -> str | None:
    return cast("str | None", config.getoption("directory", None))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        names = [OTHER] if _given(metafunc.config) else list(_KNOWN)
        metafunc.parametrize("target", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server: one that the suite starts, or the one of the command line."""
    config = request.config
    if directory := _given(config):
        port = config.getoption("http01_port")
        yield Target(OTHER, directory, config.getoption("ca"), config.getoption("domain"), port)
        return
    with _KNOWN[request.param](tmp_path_factory.mktemp(request.param) / "deployment") as started:
        yield started


@pytest.fixture(scope="session")
def trust(target: Target) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=target.trust)


@pytest.fixture(scope="session")
def http(trust: ssl.SSLContext) -> Iterator[Http]:
    made = Http(trust)
    yield made
    made.close()


@pytest.fixture(scope="session")
def responder(target: Target) -> Iterator[Responder]:
    """Answers http-01."""
    made = Responder(target.http01_port)
    yield made
    made.close()


@pytest.fixture(scope="session")
def stranger(target: Target, http: Http, responder: Responder) -> Client:
    """A client without account; it makes the others."""
    return Client(http, target.directory, responder.publish)


@pytest.fixture(scope="session")
def client(stranger: Client) -> Client:
    """A client with an account that stays as it is: for what changes no account."""
    made = stranger.other()
    assert made.register().status == 201
    return made


@pytest.fixture
def fresh(stranger: Client) -> Client:
    """A client with an account of its own."""
    made = stranger.other()
    assert made.register().status == 201
    return made


@pytest.fixture
def name(names: Callable[[], str]) -> str:
    return names()


@pytest.fixture(scope="session")
def names(target: Target) -> Callable[[], str]:
    """Makes names that nobody has had before."""
    return lambda: f"t{secrets.token_hex(6)}.{target.domain}"


@pytest.fixture(scope="session")
def issued(client: Client, names: Callable[[], str]) -> Issued:
    """An order with its certificate, which stays as it is."""
    return client.issue(names(), names())


@pytest.fixture(scope="session")
def failed(stranger: Client, names: Callable[[], str]) -> tuple[Client, str]:
    """A client, and the URL of its order whose validation has failed."""
    made = stranger.other()
    made.register()
    order = made.order(names())
    authorization = order.json["authorizations"][0]
    challenge = made.challenge(authorization)
    answer = made.answer(challenge, "something else")
    while answer.json["status"] in {"pending", "processing"}:
        answer = made.until(challenge["url"], "processing", "invalid")
        made.post(challenge["url"], {})  # asks for the next attempt now
    return made, order.location


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """What a known server is listed to do otherwise must go otherwise; then the test counts as passed."""
    checks = next(pyfuncitem.iter_markers("checks"), None)
    callspec = getattr(pyfuncitem, "callspec", None)
    if checks is None or callspec is None:
        return (yield)
    listed = DIFFERENCES.get(callspec.params["target"], {}).get(checks.args[0])
    try:
        result = yield
    except NotOffered as absent:
        if callspec.params["target"] == OTHER:
            pytest.skip(str(absent))
        if listed is None:
            raise
    except AssertionError as error:
        if listed is None:
            error.add_note(f"line {checks.args[0]} of the checklist")
            raise
    else:
        assert listed is None, f"{checks.args[0]} holds: strike it from the list of differences"
        return result
    return True
