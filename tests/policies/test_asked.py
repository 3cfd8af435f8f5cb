from __future__ import annotations

import pytest

from ca.plan import KeyUsage
from policies.asked import UnusableRequester
from policies.patterns import NOBODY
from tests.fakes.policy import question


def test_usages_are_read_out_of_the_csr() -> None:
    asked = question(
        {}, ca=True, key_usage=["digitalSignature", "decipherOnly"], extended_key_usage=["serverAuth"]
    ).asked
    assert asked.key_usage == {KeyUsage.DIGITAL_SIGNATURE, KeyUsage.DECIPHER_ONLY}
    assert asked.purposes == ("1.3.6.1.5.5.7.3.1",)
    assert asked.ca


@pytest.mark.parametrize(
    ("oid", "value", "word"),
    [
        ("2.5.29.15", "0400", "keyUsage"),
        ("2.5.29.15", "0303", "keyUsage"),
        ("2.5.29.37", "0500", "extendedKeyUsage"),
        ("2.5.29.37", "30020500", "extendedKeyUsage"),
        ("2.5.29.19", "", "basicConstraints"),
        ("2.5.29.19", "3003010101", "basicConstraints"),
    ],
)
def test_what_is_not_as_specified_is_unreadable(oid: str, value: str, word: str) -> None:
    asked = question({}, extensions=[{"oid": oid, "value": value}]).asked
    assert asked.unreadable == (word,)
    assert (asked.ca, asked.purposes, asked.key_usage) == (False, (), frozenset())


def test_basic_constraints_of_an_end_entity_ask_for_nothing() -> None:
    assert not question({}, extensions=[{"oid": "2.5.29.19", "value": "3000"}]).asked.ca


@pytest.mark.parametrize("identity", ["password:", "password:a/b", "password:" + "x" * 65, "password:a\nb"])
def test_a_name_that_is_not_plain_can_not_be_used(identity: str) -> None:
    asked = question({}, requester=identity).asked
    assert asked.requester == NOBODY
    assert asked.fill("constant") == "constant"
    with pytest.raises(UnusableRequester, match="the requester's name can't be part"):
        asked.fill("{requester}")
    with pytest.raises(UnusableRequester, match=r"what stands for \{csr\.serialNumber\} can't be part"):
        asked.fill("{csr.serialNumber}")


def test_a_plain_name_fills_templates() -> None:
    assert question({}, requester="password:pump-17").asked.fill("CN-{requester}") == "CN-pump-17"


def test_an_account_asks_for_the_names_of_its_order() -> None:
    asked = question({}, endpoint="acme/default", names=["dns:a.test"], authorized=["dns:b.test"]).asked
    assert [str(name) for name in asked.names] == ["dns:b.test"]
