from __future__ import annotations

import hashlib
import json
import resource
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from typer.testing import CliRunner

from ca.backends.local import load_local_issuer
from ca.ceremony import Credential, make_ca_request, make_issuing_ca, make_root, make_tls_certificate
from ca.names import DistinguishedName, dns_name
from server.clock import system_clock
from server.commands.ca import app
from server.deployment.making import create
from tests.wire.running import require_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBJECT = DistinguishedName.from_text("CN=Test CA")


def ca(folder: Path, *arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments, "--folder", str(folder)])
    assert done.exit_code == status, done.output
    return done.output


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def credential(folder: Path, name: str) -> Credential:
    passphrase = (folder / f"{name}.passphrase").read_bytes().strip()
    key = load_pem_private_key((folder / f"{name}.key").read_bytes(), passphrase)
    return Credential(key, certificate(folder / f"{name}.pem"))  # type: ignore[arg-type]


def usable(folder: Path, name: str) -> None:
    files = [(folder / f"{name}{suffix}").read_bytes() for suffix in (".pem", ".key", ".passphrase", "-chain.pem")]
    load_local_issuer(files[0], files[1], files[2].strip(), files[3])


def openssl_verify(trusted: Path, leaf: Path, *between: Path) -> str:
    untrusted = [part for path in between for part in ("-untrusted", str(path))]
    command = [require_program("openssl"), "verify", "-x509_strict", "-CAfile", str(trusted), *untrusted, str(leaf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["P-384", "ed25519", "ml-dsa-65"])
def test_a_root_and_an_issuing_ca_are_made(tmp_path: Path, kind: str) -> None:
    said = ca(tmp_path, "init", "plant", "--subject", "CN=Plant CA", "--root-subject", "CN=Plant Root", "--key", kind)
    assert "issuers:\n  plant: {type: local" in said
    usable(tmp_path, "plant")
    certificate(tmp_path / "plant.pem").verify_directly_issued_by(certificate(tmp_path / "plant-root.pem"))
    assert (tmp_path / "plant.key").stat().st_mode & 0o77 == 0
    assert (tmp_path / "plant.passphrase").stat().st_mode & 0o77 == 0


def test_an_issuing_ca_has_no_other_below_it(tmp_path: Path) -> None:
    """Its certificate says so: whatever the lower one issued would be refused by whoever looks."""
    ca(tmp_path, "init", "plant", "--subject", "CN=Plant CA", "--root-subject", "CN=Plant Root")
    before = sorted(tmp_path.iterdir())
    assert "plant is no root" in ca(tmp_path, "init", "cell", "--subject", "CN=Cell", "--under", "plant", status=1)
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    ca(tmp_path, "init", "plant", "--subject", "CN=Plant CA", "--root-subject", "CN=Plant Root")
    before = (tmp_path / "plant.key").read_bytes()
    ca(tmp_path, "init", "plant", "--subject", "CN=Plant CA", status=1)
    ca(tmp_path, "rollover", "plant-root", "--to", "plant", status=1)
    (tmp_path / "spare").mkdir()
    (tmp_path / "spare" / "plant.pem").touch()
    ca(tmp_path / "spare", "init", "plant", "--subject", "CN=x", "--root-subject", "CN=y", status=1)
    assert [path.name for path in (tmp_path / "spare").iterdir()] == ["plant.pem"]
    assert (tmp_path / "plant.key").read_bytes() == before


@contextmanager
def room(octets: int) -> Iterator[None]:
    """Let no file grow beyond so many octets, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "plant", "--subject", "CN=Plant CA", "--root-subject", "CN=Plant Root"],
        ["init", "plant", "--subject", "CN=Plant CA"],
        ["rollover", "old-root", "--to", "plant"],
    ],
    ids=["root", "request", "rollover"],
)
def test_a_full_disk_leaves_nothing_that_is_in_the_way_of_the_next_attempt(
    tmp_path: Path, arguments: list[str]
) -> None:
    ca(tmp_path, "init", "old", "--subject", "CN=Old CA", "--root-subject", "CN=Old Root")
    before = sorted(tmp_path.iterdir())
    for octets in (10, 420, 500, 1000):  # not even a key; no certificate; no chain
        with room(octets):
            done = CliRunner().invoke(app, [*arguments, "--folder", str(tmp_path)])
        if done.exit_code == 0:
            break
        assert "File too large" in done.output
        assert sorted(tmp_path.iterdir()) == before
    else:
        ca(tmp_path, *arguments)
    assert octets > 10
    assert sorted(tmp_path.iterdir()) != before


def test_an_offline_root_gets_a_request_and_gives_a_certificate(tmp_path: Path) -> None:
    assert "is for the root" in ca(tmp_path, "init", "plant", "--subject", "CN=Test CA")
    request = x509.load_pem_x509_csr((tmp_path / "plant.csr").read_bytes())
    assert request.is_signature_valid
    root = make_root(DistinguishedName.from_text("CN=Offline Root"), now=system_clock())
    key = load_pem_private_key(
        (tmp_path / "plant.key").read_bytes(), (tmp_path / "plant.passphrase").read_bytes().strip()
    )
    given = make_issuing_ca(root, SUBJECT, now=system_clock(), key=key)  # type: ignore[arg-type]
    (tmp_path / "given").write_bytes(given.certificate_pem())
    (tmp_path / "root").write_bytes(root.certificate_pem())
    assert "does not end in a root" in ca(tmp_path, "import", "plant", str(tmp_path / "given"), status=1)
    ca(tmp_path, "import", "plant", str(tmp_path / "given"), "--chain", str(tmp_path / "root"))
    usable(tmp_path, "plant")


def test_a_certificate_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    ca(tmp_path, "init", "plant", "--subject", "CN=Test CA")
    root = make_root(DistinguishedName.from_text("CN=Offline Root"), now=system_clock())
    key = load_pem_private_key(
        (tmp_path / "plant.key").read_bytes(), (tmp_path / "plant.passphrase").read_bytes().strip()
    )
    (tmp_path / "root").write_bytes(root.certificate_pem())
    other = make_root(DistinguishedName.from_text("CN=Offline Root"), now=system_clock())
    names = (dns_name("leaf.example"),)
    wrong = {
        "another key": make_issuing_ca(root, SUBJECT, now=system_clock()),
        "not a CA's": make_tls_certificate(root, SUBJECT, names, now=system_clock(), key=key),  # type: ignore[arg-type]
        "not signed by": make_issuing_ca(other, SUBJECT, now=system_clock(), key=key),  # type: ignore[arg-type]
    }
    for text, given in wrong.items():
        (tmp_path / "given").write_bytes(given.certificate_pem())
        said = ca(tmp_path, "import", "plant", str(tmp_path / "given"), "--chain", str(tmp_path / "root"), status=1)
        assert text in said
    assert not (tmp_path / "plant.pem").exists()


def test_a_root_rolls_over_and_both_old_and_new_trust_reach_both_issuing_cas(tmp_path: Path) -> None:
    ca(tmp_path, "init", "old", "--subject", "CN=Issuing 1", "--root-subject", "CN=Root")
    ca(tmp_path, "rollover", "old-root", "--to", "new-root", "--key", "P-384")
    ca(tmp_path, "init", "new", "--subject", "CN=Issuing 2", "--under", "new-root")
    for name in ("old", "new"):
        leaf = make_tls_certificate(
            credential(tmp_path, name), SUBJECT, (dns_name("leaf.example"),), now=system_clock()
        )
        (tmp_path / f"{name}-leaf").write_bytes(leaf.certificate_pem())
    at = {name: tmp_path / name for name in ("old-leaf", "new-leaf", "old.pem", "new.pem", "old-root.pem")}
    trusted = tmp_path / "new-root.pem"
    assert openssl_verify(at["old-root.pem"], at["old-leaf"], at["old.pem"]).endswith("OK\n")
    assert openssl_verify(trusted, at["new-leaf"], at["new.pem"]).endswith("OK\n")
    new_with_old, old_with_new = (tmp_path / f"new-root-{each}.pem" for each in ("new-with-old", "old-with-new"))
    assert openssl_verify(at["old-root.pem"], at["new-leaf"], at["new.pem"], new_with_old).endswith("OK\n")
    assert openssl_verify(trusted, at["old-leaf"], at["old.pem"], old_with_new).endswith("OK\n")
    assert "error" in openssl_verify(at["old-root.pem"], at["new-leaf"], at["new.pem"])
    assert "no root" in ca(tmp_path, "rollover", "old", "--to", "x", status=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "x", "--subject", "no name"),
        ("init", "x", "--subject", "CN=x", "--key", "rsa:512"),
        ("init", "x", "--subject", "CN=x", "--root-subject", "CN=r", "--under", "r"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_usage_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ca(tmp_path, *arguments, status=2)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "gone.pem" in ca(tmp_path, "init", "x", "--subject", "CN=x", "--under", "gone", status=1)


def test_the_issuing_cas_are_shown(tmp_path: Path) -> None:
    deployment = create(tmp_path / "deployment", clock=system_clock)
    done = CliRunner().invoke(app, ["show", "--json", "--config", str(deployment.config)])
    assert done.exit_code == 0, done.output
    (shown,) = json.loads(done.output)
    own = certificate(deployment.folder / "ca" / "issuing.pem")
    assert shown["name"] == "issuing"
    assert shown["key"] == "ec:P-256"
    assert shown["serial"] == format(own.serial_number, "x")
    octets = own.public_bytes(Encoding.DER)
    fingerprints = {name: hashlib.new(name, octets).hexdigest() for name in ("sha256", "sha1", "md5")}
    assert {name: shown[name] for name in fingerprints} == fingerprints, "devices show one of them"
    assert "Certwright Issuing CA" in CliRunner().invoke(app, ["show", "--config", str(deployment.config)]).output


def test_a_request_from_elsewhere_is_signed_by_a_root_that_is_here(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    ca(folder, "init", "plant", "--subject", "CN=Plant CA", "--root-subject", "CN=Plant Root")
    assert folder.stat().st_mode & 0o77 == 0
    key, request = ec.generate_private_key(ec.SECP384R1()), tmp_path / "hsm.csr"
    request.write_bytes(make_ca_request(key, SUBJECT).public_bytes(Encoding.PEM))
    said = ca(folder, "sign", "hsm", str(request), "--under", "plant-root", "--days", "36500")
    assert "type: pkcs11" in said
    assert "ends with its root's" in said
    made, root = certificate(folder / "hsm.pem"), certificate(folder / "plant-root.pem")
    assert made.public_key() == key.public_key()
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)  # noqa: FBT003 - x509's own
    assert openssl_verify(folder / "plant-root.pem", folder / "hsm.pem").endswith("hsm.pem: OK\n")
    assert (folder / "hsm-chain.pem").read_bytes().endswith(root.public_bytes(Encoding.PEM))
    assert "is there already" in ca(folder, "sign", "hsm", str(request), "--under", "plant-root", status=1)
    assert "plant is no root" in ca(folder, "sign", "x", str(request), "--under", "plant", status=1)


def test_what_is_no_request_of_its_own_key_is_not_signed(tmp_path: Path) -> None:
    ca(tmp_path, "init", "plant", "--subject", "CN=Plant CA", "--root-subject", "CN=Plant Root")
    pem = make_ca_request(ec.generate_private_key(ec.SECP256R1()), SUBJECT).public_bytes(Encoding.DER)
    request, weak = tmp_path / "x.csr", ec.generate_private_key(ec.SECP256K1())
    forged = pem[:-4] + bytes([pem[-4] ^ 1]) + pem[-3:]
    request.write_bytes(x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM))
    assert "not signed by its own key" in ca(tmp_path, "sign", "x", str(request), "--under", "plant-root", status=1)
    request.write_bytes(make_ca_request(weak, SUBJECT).public_bytes(Encoding.PEM))
    assert "EC on a NIST curve" in ca(tmp_path, "sign", "x", str(request), "--under", "plant-root", status=1)
    request.write_text("nothing")
    assert "no PEM certificate request" in ca(tmp_path, "sign", "x", str(request), "--under", "plant-root", status=2)
    assert not (tmp_path / "x.pem").exists()


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    output = ca(tmp_path, "init", "../x", "--subject", "CN=X", "--root-subject", "CN=Root", status=2)
    assert "a name is letters" in output
    assert list(tmp_path.parent.glob("x.*")) == []


def test_a_pin_file_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_bytes(b"\xff\xfe")
    reach = ["hsm", "list", "--module", __file__, "--token", "x", "--pin-file"]
    for path, message in ((pin, "it is not text"), (tmp_path, "is a directory")):
        done = CliRunner().invoke(app, [*reach, str(path)])
        assert done.exit_code == 2
        assert message in " ".join(done.output.replace("│", " ").split())
