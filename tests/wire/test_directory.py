"""Look-ups in a real LDAP directory, OpenLDAP's slapd: over TLS, with StartTLS, bound and anonymous."""

from __future__ import annotations

import socket
import ssl
import subprocess
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from ca.ceremony import make_root, make_tls_certificate
from ca.names import DistinguishedName, IpAddress
from server.app.directory import Directory, DirectoryError
from server.bench.process import free_ports
from server.clock import system_clock
from tests.wire.running import require_program, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
database mdb
suffix dc=corp,dc=example
directory {folder}/db
rootdn cn=certwright,dc=corp,dc=example
rootpw word
access to attrs=telephoneNumber by users read by * none
access to * by * read
"""
ENTRIES = """\
dn: dc=corp,dc=example
objectClass: dcObject
objectClass: organization
o: Corp
dc: corp

dn: uid=ann,dc=corp,dc=example
objectClass: inetOrgPerson
uid: ann
cn: Ann Archer
sn: Archer
displayName:: QW5uw6kgQXJjaGVy
mail: ann@corp.example
mail: archer@corp.example
telephoneNumber: 17

dn: cn=bob,dc=corp,dc=example
objectClass: inetOrgPerson
cn: bob
sn: Baker
uid: twin

dn: cn=eve,dc=corp,dc=example
objectClass: inetOrgPerson
cn: eve
sn: Evers
uid: twin

dn: uid=printer,dc=corp,dc=example
objectClass: account
uid: printer
"""


@dataclass(frozen=True, slots=True)
class Slapd:
    """A running directory.

    Attributes:
        plain, secure: directories to ask, in the clear and over TLS.
    """

    plain: Directory
    secure: Directory


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    program = require_program("slapd")
    folder: Path = tmp_path_factory.mktemp("slapd")
    now = system_clock()
    root = make_root(DistinguishedName.from_text("CN=Root"), now=now)
    names = (IpAddress(ip_address("127.0.0.1")),)
    server = make_tls_certificate(root, DistinguishedName(), names, now=now)
    (folder / "server.pem").write_bytes(server.certificate_pem())
    (folder / "server.key").write_bytes(server.key_pem())
    (folder / "db").mkdir()
    (folder / "slapd.conf").write_text(CONFIG.format(folder=folder))
    add = [program, "-T", "add", "-f", str(folder / "slapd.conf")]
    subprocess.run(add, input=ENTRIES, text=True, check=True, capture_output=True)
    ports = free_ports(2)
    urls = f"ldap://127.0.0.1:{ports[0]} ldaps://127.0.0.1:{ports[1]}"
    with (folder / "log").open("wb") as log:
        command = [program, "-d", "0", "-h", urls, "-f", str(folder / "slapd.conf")]
        running = subprocess.Popen(command, stderr=log)
    until(
        lambda: all(map(_answers, ports)) or None,
        lambda: running.poll() is None,
        (folder / "log").read_text,
    )
    plain = Directory(f"ldap://127.0.0.1:{ports[0]}", "dc=corp,dc=example", "uid", ("displayName", "mail", "seeAlso"))
    tls = ssl.create_default_context(cadata=root.certificate_pem().decode())
    yield Slapd(plain, replace(plain, url=f"ldaps://127.0.0.1:{ports[1]}", tls=tls))
    running.terminate()
    running.wait(60)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


ANN = (("displayName", "Anné Archer"), ("mail", "ann@corp.example\narcher@corp.example"))


async def test_the_one_entry_is_found_over_tls_with_start_tls_and_in_the_clear(slapd: Slapd) -> None:
    started = replace(slapd.plain, tls=slapd.secure.tls, start_tls=True)
    for directory in (slapd.plain, slapd.secure, started):
        assert sorted(await directory.find("ann", 60) or ()) == list(ANN)


async def test_who_is_not_there_is_not_found_whatever_the_name_looks_like(slapd: Slapd) -> None:
    for key in ("nobody", "*", "ann)(uid=*", "a*", "ann\\2a", ""):
        assert await slapd.plain.find(key, 60) is None, key
    assert await replace(slapd.plain, base="ou=none,dc=corp,dc=example").find("ann", 60) is None


async def test_several_entries_are_no_answer(slapd: Slapd) -> None:
    with pytest.raises(DirectoryError, match="several entries have uid 'twin'"):
        await slapd.plain.find("twin", 60)


async def test_an_entry_of_another_class_is_not_found(slapd: Slapd) -> None:
    people = replace(slapd.plain, object_class="inetOrgPerson")
    assert await slapd.plain.find("printer", 60) == ()
    assert await people.find("printer", 60) is None
    assert await people.find("ann", 60)


async def test_a_user_sees_what_is_kept_from_others(slapd: Slapd) -> None:
    asked = replace(slapd.secure, fields=("telephoneNumber",))
    assert await asked.find("ann", 60) == ()
    bound = replace(asked, user="cn=certwright,dc=corp,dc=example", password=b"word")
    assert await bound.find("ann", 60) == (("telephoneNumber", "17"),)
    with pytest.raises(DirectoryError, match="bind: result code 49"):
        await replace(bound, password=b"wrong").find("ann", 60)


async def test_a_directory_that_is_not_trusted_gets_no_question(slapd: Slapd) -> None:
    strict = ssl.create_default_context()
    for directory in (replace(slapd.secure, tls=strict), replace(slapd.plain, tls=strict, start_tls=True)):
        with pytest.raises(DirectoryError, match="CERTIFICATE_VERIFY_FAILED"):
            await directory.find("ann", 60)
