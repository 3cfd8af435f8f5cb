"""ACME with acme4j, a library for Java: subdomains (RFC 9444), newAuthz, list of orders, bindings of each algorithm."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import dns_names
from tests.wire.running import REPOSITORY, require_program, run
from tests.wire.test_acme_go import leaf

if TYPE_CHECKING:
    from tests.wire.acme_site import AcmeSite

DRIVER = Path(__file__).with_name("acme4j") / "Acme4j.java"
JARS = DRIVER.with_name("jars.sha256")
INSTALLED = REPOSITORY / ".venv-acme4j"
PROBLEM = "urn:ietf:params:acme:error:"


def test_acme4j_lives_a_whole_life(site: AcmeSite, eab_key: tuple[str, str]) -> None:
    java = require_program("java", "apt-get install default-jdk-headless")
    if not (INSTALLED / ".installed").exists():
        pytest.skip("acme4j is not installed: make acme4j (needs Maven)")
    jars = [str(INSTALLED / line.split()[1]) for line in JARS.read_text().splitlines()]
    zone, above = site.name("zone"), site.name("above")
    settings = {
        "directory": site.wide.acme_directory,
        "bound": site.bound.acme_directory,
        "root": str(site.server.root_pem),
        "records": str(site.records),
        "kid": eab_key[0],
        "mac key": eab_key[1],
        "zone": zone,
        "above": above,
    }
    command = (java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ":".join(jars), DRIVER)
    found = json.loads(run(*command, json.dumps(settings)).stdout)
    first, second = (leaf(site.server, found[each], "sslserver") for each in ("first", "second"))
    assert (found["offered"], found["good below"], found["before"]) == (True, True, "VALID")
    assert found["at once"] == "READY"
    assert dns_names(first) == [f"a.deep.{zone}"]
    assert found["asked for"] == above
    assert dns_names(second) == [f"www.{above}"]
    assert second.not_valid_before_utc < datetime.fromisoformat(found["window"]) < second.not_valid_after_utc
    assert (found["profile"], found["again"]) == ("short", f"{PROBLEM}alreadyReplaced")
    assert (found["orders"], found["listed"]) == (3, True)
    assert site.is_revoked(second)
    assert found["bound"] == [f"VALID {eab_key[0]}"] * 3
    assert (found["contact"], found["ended"]) == ("mailto:pki@example.com", "DEACTIVATED")
    assert found["after"] == f"{PROBLEM}unauthorized"
