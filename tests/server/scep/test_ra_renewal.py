"""The RA renews itself; the profile is the one that the README shows."""

from __future__ import annotations

import re
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from ca import der
from ca.backends.local import LocalIssuer
from ca.ceremony import make_issuing_ca, make_ra_certificate, make_root
from ca.issuer import IssuerUnavailable
from ca.lint import Linter
from policies.decision import Denied, Finding, Location, Trace
from policies.profile import Ceilings, IssuerFacts, parse_policy
from policies.profile_set import ProfileSet
from policies.request import EndpointName, Kind
from server.enrollment import Enrollment
from server.scep.keyring import Keyring
from server.scep.ra import RaConfigurationError, RaKey
from server.scep.ra_renewal import RaFolder, RaRenewal, walk
from server.store.certificates import list_certificates
from server.store.requests import list_requests
from server.successors import Successors
from tests.server.scep.device import NOW, enrollment, rsa_key
from tests.server.scep.lab import _named

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric import rsa

    from tests.server.scep.lab import Lab

README = Path(__file__).parents[3] / "server" / "scep" / "README.md"
FINDING = Finding("subject.CN", "no more RAs", Location("ra.yaml", 7, 3))
HERE = EndpointName.parse("scep/default")
ROOT = make_root(_named("Root"), now=NOW)
ISSUING = make_issuing_ca(ROOT, _named("Issuing"), now=NOW)
OLD = make_ra_certificate(ISSUING, _named("RA"), now=NOW, lifetime=timedelta(days=90), key=rsa_key("ra"))


def example() -> str:
    (text,) = re.findall(r"```yaml\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return str(text)


@pytest.fixture
def door(lab: Lab) -> Enrollment:
    """The door with the README's profile behind it."""
    facts = IssuerFacts(ISSUING.certificate.not_valid_before_utc, ISSUING.certificate.not_valid_after_utc)
    policy = parse_policy(example(), "README.md")
    ceilings = Ceilings(timedelta(days=825), 2048)
    profiles = ProfileSet(
        policy.profiles, ceilings=ceilings, issuers={"issuing": facts}, endpoints={HERE: ("scep-ra",)}
    )
    return Enrollment(
        store=lab.store,
        decide=profiles.decide,
        issuers={"issuing": LocalIssuer(ISSUING.key, ISSUING.certificate, [ROOT.certificate])},
        linter=Linter(),
        clock=lambda: lab.now[0],
        serial_number=lambda: 4711 << 64,
        request_id=lambda: "ra-request",
    )


def make(bits: int) -> rsa.RSAPrivateKey:
    return rsa_key("renewed-ra", bits)


def renewal(
    lab: Lab,
    door: Enrollment,
    folder: Path,
    keys: Keyring,
    *,
    same_key: bool = False,
    make: Callable[[int], rsa.RSAPrivateKey] = make,
) -> RaRenewal:
    return RaRenewal(
        endpoint=HERE,
        profile="scep-ra",
        before=timedelta(days=60),
        folder=RaFolder(Successors(folder, b"passphrase"), same_key=same_key),
        keys=keys,
        enrollment=door,
        clock=lambda: lab.now[0],
        make=make,
    )


def listed(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def ring() -> Keyring:
    return Keyring(RaKey(OLD.certificate, rsa_key("ra")))


async def test_nothing_happens_as_long_as_there_is_time(lab: Lab, door: Enrollment, tmp_path: Path) -> None:
    keys = ring()
    await renewal(lab, door, tmp_path / "new", keys).check()
    assert keys.live() == (keys.current,)
    assert not (tmp_path / "new").exists()


async def test_the_event_loop_goes_on_while_a_key_is_made(lab: Lab, door: Enrollment, tmp_path: Path) -> None:
    """One of 4096 bits may take seconds."""
    makers: list[int] = []

    def slow(bits: int) -> rsa.RSAPrivateKey:
        makers.append(get_ident())
        return make(bits)

    one = renewal(lab, door, tmp_path / "new", ring(), make=slow)
    lab.pass_time(timedelta(days=31))
    await one.check()
    assert makers
    assert get_ident() not in makers


async def test_a_process_that_has_not_looked_yet_opens_what_is_for_the_ra_that_another_one_renewed(
    lab: Lab, door: Enrollment, tmp_path: Path
) -> None:
    """Clients get the new RA from one process, and may send their request to another one."""
    there, lab.keys = ring(), ring()
    folder = RaFolder(Successors(tmp_path / "new", b"passphrase"))
    lab.keys.follow = folder.follow
    lab.pass_time(timedelta(days=31))
    await renewal(lab, door, tmp_path / "new", there).check()
    assert (await lab.ask(enrollment(there.current.addressed.der))).status == "0"
    assert lab.keys.current.addressed == there.current.addressed
    assert (await lab.ask(enrollment(ring().current.addressed.der, transaction=der.printable("t")))).status == "0"


async def test_a_renewed_ra_that_can_not_serve_is_not_read_for_each_message(
    lab: Lab, door: Enrollment, tmp_path: Path
) -> None:
    there, lab.keys = ring(), ring()
    lab.pass_time(timedelta(days=31))
    await renewal(lab, door, tmp_path / "new", there).check()
    lab.keys.follow = RaFolder(Successors(tmp_path / "new", b"another passphrase")).follow
    for _ in range(2):
        assert (await lab.ask(enrollment(there.current.addressed.der))).status == "2"
        assert lab.keys.follow is None


async def test_a_policy_that_would_not_renew_the_ra_is_warned_about_once_while_there_is_time(
    lab: Lab, door: Enrollment, tmp_path: Path
) -> None:
    watched = renewal(lab, door, tmp_path / "new", ring())
    good, door._judge._decide = door._judge._decide, lambda _: Denied((FINDING,), Trace("scep-ra", "0" * 64))
    with capture_logs() as logged:
        for _ in range(2):
            await watched.check()
        door._judge._decide = good
        await watched.check()
    (warning,) = logged
    assert warning["event"] == "the policy would not renew this RA"
    assert (warning["why"], warning["where"]) == ("no more RAs", "ra.yaml:7:3: subject.CN")
    assert not await lab.store.read(list_requests)


async def test_the_ra_is_renewed_in_time_with_a_new_key_and_the_old_one_stays_good(
    lab: Lab, door: Enrollment, tmp_path: Path
) -> None:
    keys = lab.keys = ring()
    lab.pass_time(timedelta(days=31))
    await renewal(lab, door, tmp_path / "new", keys).check()
    new, old = keys.live()
    assert new.certificate.subject == old.certificate.subject == OLD.certificate.subject
    assert new.certificate.public_key() != old.certificate.public_key()
    assert new.certificate.not_valid_after_utc > old.certificate.not_valid_after_utc
    for ra in (new, old):
        assert (await lab.ask(enrollment(ra.addressed.der))).status == "0"
    request = (await lab.store.read(list_requests))[-1]
    assert (request.kind, request.renews) == (Kind.RENEW, OLD.certificate.serial_number), "on record like all others"
    stored = await lab.store.read(list_certificates)
    assert "scep-ra" in {one.profile for one in stored}
    assert len(listed(tmp_path / "new")) == 2


async def test_a_key_in_an_hsm_stays_and_gets_a_new_certificate(lab: Lab, door: Enrollment, tmp_path: Path) -> None:
    """The queue stands for the HSM's, through which alone its key may be used."""
    with ThreadPoolExecutor(1) as queue:
        keys = lab.keys = Keyring(RaKey(OLD.certificate, rsa_key("ra"), queue))
        lab.pass_time(timedelta(days=31))
        await renewal(lab, door, tmp_path / "new", keys, same_key=True).check()
        new, old = keys.live()
        assert new.certificate.public_key() == old.certificate.public_key()
        assert new.certificate.not_valid_after_utc > old.certificate.not_valid_after_utc
        assert [path.suffix for path in listed(tmp_path / "new")] == [".pem"], "there is no key to keep"
        for ra in (new, old):
            assert (await lab.ask(enrollment(ra.addressed.der))).status == "0"
        later = Keyring(RaKey(OLD.certificate, rsa_key("ra"), queue))
        walk(later, RaFolder(Successors(tmp_path / "new", None), same_key=True))
        assert later.current.certificate == new.certificate


async def test_an_hsm_that_does_not_answer_is_asked_again_at_the_next_check(
    lab: Lab, door: Enrollment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent(Executor):
        def submit(self, *_: Any, **__: Any) -> Any:
            raise IssuerUnavailable("the HSM does not answer")

    keys = Keyring(RaKey(OLD.certificate, rsa_key("ra"), Silent()))
    lab.pass_time(timedelta(days=31))
    await renewal(lab, door, tmp_path / "new", keys, same_key=True).check()
    assert keys.current.certificate == OLD.certificate
    assert "the HSM does not answer" in "".join(capsys.readouterr())


async def test_other_processes_and_the_next_start_find_the_new_pair(lab: Lab, door: Enrollment, tmp_path: Path) -> None:
    lab.pass_time(timedelta(days=31))
    first, second, restarted = ring(), ring(), ring()
    await renewal(lab, door, tmp_path, first).check()
    await renewal(lab, door, tmp_path, second).check()
    walk(restarted, RaFolder(Successors(tmp_path, b"passphrase")))
    assert first.current.certificate == second.current.certificate == restarted.current.certificate
    assert first.current.certificate != OLD.certificate
    key = next(path for path in listed(tmp_path) if path.suffix == ".key")
    assert b"ENCRYPTED" in key.read_bytes()
    assert key.stat().st_mode & 0o077 == 0


async def test_a_refusal_leaves_the_old_ra_in_place_and_the_next_check_tries_again(
    lab: Lab, door: Enrollment, tmp_path: Path
) -> None:
    keys = ring()
    lab.pass_time(timedelta(days=31))
    await renewal(lab, lab.enrollment, tmp_path, keys).check()  # whose policy forgets keyEncipherment
    assert keys.current.certificate == OLD.certificate
    assert not [path for path in listed(tmp_path) if path.suffix == ".pem"]
    lab.pass_time(timedelta(days=2))
    await renewal(lab, door, tmp_path, keys).check()
    assert keys.current.certificate != OLD.certificate


async def test_a_denied_renewal_is_no_renewal(lab: Lab, door: Enrollment, tmp_path: Path) -> None:
    denied = make_ra_certificate(ISSUING, _named("denied"), now=NOW, lifetime=timedelta(days=2), key=rsa_key("ra"))
    keys = Keyring(RaKey(denied.certificate, rsa_key("ra")))
    await renewal(lab, lab.enrollment, tmp_path, keys).check()
    assert keys.current.certificate == denied.certificate


async def test_a_folder_that_can_not_be_written_is_survived(lab: Lab, door: Enrollment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    keys = ring()
    lab.pass_time(timedelta(days=31))
    await renewal(lab, door, tmp_path / "file", keys).check()
    assert keys.current.certificate == OLD.certificate


def test_a_pair_without_its_key_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / f"after-{OLD.certificate.serial_number:x}.pem").write_bytes(OLD.certificate_pem())
    with pytest.raises(RaConfigurationError):
        walk(ring(), RaFolder(Successors(tmp_path, None)))


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = RaFolder(Successors(tmp_path, None))
    (tmp_path / f"after-{OLD.certificate.serial_number:x}.key").write_bytes(ISSUING.key_pem())
    with pytest.raises(RaConfigurationError):
        folder.key(RaKey(OLD.certificate, rsa_key("ra")), lambda: rsa_key("other"))
