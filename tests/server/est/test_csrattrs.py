"""What csrattrs tells devices to ask for: RFC 9908's own examples, and that who obeys is judged well."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca import der
from ca.keys import POST_QUANTUM, KeyShape
from ca.names import DnsName, IpAddress, dns_name
from ca.plan import KeyUsage
from policies.asked import read_request
from policies.decision import Approved, Decision
from policies.engine import decide
from policies.expectations import Expectations, Wanted, expectations
from policies.profile import Profile, parse_profiles
from policies.ruling import Question
from server.config import Authenticate, EstEndpointConfig
from server.est import csrattrs
from server.est.csrattrs import Form, attributes_of, key_attribute, write_csrattrs
from server.est.linking import IDENTITY_LINKING
from tests.fakes.policy import CEILINGS, ISSUER, profile, question
from tests.server.est.obedient import OWN_NAME, Wishes, follow_list, follow_template

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc9908"
SHIPPED = Path(__file__).parents[3] / "policies" / "profiles" / "iot-device.yaml"
CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"
SHA = {"rsa256": "1.2.840.113549.1.1.11", "ec384": "1.2.840.10045.4.3.3", "ec512": "1.2.840.10045.4.3.4"}


def vector(name: str) -> bytes:
    return b64decode((VECTORS / f"{name}.b64").read_text())


# --- the examples of RFC 9908 ------------------------------------------------------------------------------------


def _other_name(text: str, *, critical: bool = False) -> bytes:
    other_name = der.tlv(0xA0, der.oid("1.3.6.1.5.5.7.8.10"), der.tlv(0xA0, der.ia5(text)))
    return csrattrs.extension("2.5.29.17", der.sequence(other_name), critical=critical)


EXAMPLES: dict[str, tuple[bytes, ...]] = {
    "realistic-acp": (
        csrattrs.attribute(
            csrattrs.EXTENSION_REQUEST,
            der.sequence(_other_name("rfc8994+fd739fc23c3440112233445500000000+@acp.example.com", critical=True)),
        ),
    ),
    "rfc7030-example01": (
        der.oid(CHALLENGE_PASSWORD),
        key_attribute(KeyShape("ec", 384, "P-384")),
        der.oid("1.3.6.1.1.1.1.22"),  # macAddress
        der.oid(SHA["ec384"]),
    ),
    "potato": (
        der.oid(CHALLENGE_PASSWORD),
        key_attribute(KeyShape("ec", 384, "P-384")),
        csrattrs.attribute(csrattrs.EXTENSION_REQUEST, der.sequence(_other_name("potato@example.com"))),
        der.oid(SHA["ec384"]),
    ),
    "harkins01": (der.oid(CHALLENGE_PASSWORD), key_attribute(KeyShape("rsa", 4096)), der.oid(SHA["rsa256"])),
    "harkins02": (
        der.oid(CHALLENGE_PASSWORD),
        key_attribute(KeyShape("ec", 384, "P-384")),
        der.oid("2.5.4.5"),
        der.oid(SHA["ec384"]),
    ),
    "harkins03": (
        der.oid(CHALLENGE_PASSWORD),
        key_attribute(KeyShape("ec", 521, "P-521")),
        der.oid("1.2.840.113549.1.9.20"),  # friendlyName
        der.oid("0.9.2342.19200300.100.1.5"),  # favouriteDrink
        der.oid("2.5.4.5"),
        der.oid(SHA["ec512"]),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_examples_of_rfc_9908_say_is_written_octet_by_octet(name: str) -> None:
    assert der.sequence(*EXAMPLES[name]) == vector(name)


def test_every_example_is_there() -> None:
    assert {file.stem for file in VECTORS.glob("*.b64")} == set(EXAMPLES)


@pytest.mark.parametrize(("name", "curve"), [("potato", "P-384"), ("harkins02", "P-384"), ("harkins03", "P-521")])
def test_the_device_that_tests_obey_with_understands_the_examples(name: str, curve: str) -> None:
    wishes = follow_list(vector(name))
    assert isinstance(wishes.key, ec.EllipticCurvePrivateKey)
    assert wishes.key.curve.key_size == int(curve.removeprefix("P-"))
    assert [oid for oid, _, _ in wishes.extensions] == (["2.5.29.17"] if name == "potato" else [])


def test_the_template_is_that_of_rfc_9908() -> None:
    """The example there: an open CN, two units, P-256, one name and an open address, usages, an open purpose."""
    expected = Expectations(
        key=KeyShape("ec", 256, "P-256"),
        subject=(Wanted("2.5.4.3", None), Wanted("2.5.4.11", "myDept"), Wanted("2.5.4.11", "myGroup")),
        names=(dns_name("www.myserver.com"),),
        open_names=(IpAddress,),
        key_usage=frozenset({KeyUsage.DIGITAL_SIGNATURE, KeyUsage.KEY_AGREEMENT}),
        purposes=(),
        must_ask_purpose=True,
    )
    found = write_csrattrs(expected, Form.RFC9908)
    assert found is not None
    ((_, values),) = [der.children(item) for item in der.children(der.read(found))]
    names = der.sequence(der.tlv(0x82, b"www.myserver.com"), der.tlv(0x87))
    assert values.content == der.sequence(
        der.integer(0),
        der.sequence(
            der.set_of(der.sequence(der.oid("2.5.4.3"))),
            der.set_of(der.sequence(der.oid("2.5.4.11"), der.utf8("myDept"))),
            der.set_of(der.sequence(der.oid("2.5.4.11"), der.utf8("myGroup"))),
        ),
        der.tlv(0xA0, der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))),
        der.tlv(
            0xA1,
            der.sequence(
                der.oid("1.2.840.113549.1.9.16.2.62"),
                der.set_of(
                    der.sequence(
                        der.sequence(der.oid("2.5.29.17"), der.octet_string(names)),
                        der.sequence(
                            der.oid("2.5.29.15"),
                            bytes.fromhex("0101ff"),
                            der.octet_string(bytes.fromhex("03020388")),  # '10001'B, 3 unused bits
                        ),
                        der.sequence(der.oid("2.5.29.37")),
                    )
                ),
            ),
        ),
    )


# --- what is announced is what is enforced -----------------------------------------------------------------------

PROFILES: dict[str, dict[str, Any]] = {
    "minimal": {},
    "names": {
        "subject": {"forced": {"O": "Example"}, "allowed": {"CN": {"like": ["*"], "required": True}}},
        "names": {"dns": {"allowed": ["**.example.com"], "min": 1}},
    },
    "address": {
        "subject": {"allowed": {"CN": {"like": ["pump-*"], "required": True}, "serialNumber": {"like": ["*"]}}},
        "names": {"dns": {"forced": ["fleet.test"], "max": 2}, "ip": {"allowed": ["10.0.0.0/8"], "min": 1}},
        "key": {"allowed": ["ec:P-384"]},
        "unused": {"usages": "refuse", "extensions": "refuse"},
    },
    "purpose": {
        "key": {"allowed": ["ed25519"]},
        "extended_key_usage": {"allowed": ["clientAuth", "serverAuth"]},
        "subject": {"allowed": {"CN": {"like": ["*"]}}, "default": {"CN": "{requester}"}},
    },
    "one purpose": {"extended_key_usage": {"allowed": ["serverAuth"]}, "key": {"allowed": ["rsa:1024-4096"]}},
    "names alone": {"subject": None, "names": {"dns": {"allowed": ["**.example.com"]}}},
    "usages": {"key_usage": {"forced": ["digitalSignature"], "forced_for": {"ec": ["keyAgreement", "decipherOnly"]}}},
}


def judged(given: Profile, wishes: Wishes) -> Decision:
    request = replace(question({}).request, csr=wishes.csr())
    return decide(Question(given, request, ISSUER, CEILINGS, read_request(request)))


def announced(given: Profile, form: Form) -> bytes:
    found = write_csrattrs(expectations(given, CEILINGS.min_rsa_bits), form)
    assert found is not None
    return found


def profiles() -> dict[str, Profile]:
    (shipped,) = parse_profiles(SHIPPED.read_text(), "iot-device.yaml")
    return {"shipped": shipped, **{name: profile(**sections) for name, sections in PROFILES.items()}}


WAYS = [(name, form) for form in (Form.RFC9908, Form.LEGACY) for name in profiles()]
WAYS.remove(("address", Form.LEGACY))  # the list says that there must be names, but not of which kind


@pytest.mark.parametrize(("name", "form"), WAYS)
def test_who_asks_for_what_is_announced_gets_it(name: str, form: Form) -> None:
    given, follow = profiles()[name], follow_template if form is Form.RFC9908 else follow_list
    wishes = follow(announced(given, form))
    decision = judged(given, wishes)
    assert isinstance(decision, Approved), decision
    asked = {oid: value for oid, _, value in wishes.extensions}
    if "2.5.29.37" in asked:
        assert asked["2.5.29.37"] == der.sequence(*map(der.oid, decision.plan.extended_key_usage))


@pytest.mark.parametrize("form", [Form.BOTH, Form.RFC9908])
def test_a_reader_of_templates_finds_the_same_in_both_forms(form: Form) -> None:
    given = profiles()["address"]
    assert follow_template(announced(given, form)).extensions == follow_template(announced(given, Form.BOTH)).extensions


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("names", "subject"),
        ("names", "extensions"),
        ("address", "subject"),
        ("address", "extensions"),
        ("shipped", "subject"),
    ],
)
def test_who_leaves_out_what_is_announced_is_refused(name: str, spoil: Literal["subject", "extensions"]) -> None:
    given = profiles()[name]
    wishes = follow_template(announced(given, Form.RFC9908))
    poorer = replace(wishes, subject=[]) if spoil == "subject" else replace(wishes, extensions=[])
    assert not isinstance(judged(given, poorer), Approved)


def test_a_key_of_another_kind_than_announced_is_refused() -> None:
    given = profiles()["address"]
    other = follow_template(announced(profiles()["minimal"], Form.RFC9908)).key
    assert not isinstance(judged(given, replace(follow_template(announced(given, Form.BOTH)), key=other)), Approved)


@pytest.mark.parametrize(
    "sections",
    [
        {
            "subject": {"allowed": {"CN": {"like": ["*"], "required": True, "among_names": True}}},
            "names": {"dns": {"allowed": ["**.example.com"]}},
        },
        {
            "subject": {"allowed": {"O": {"like": ["*"]}, "CN": {"like": ["*"]}}},
            "names": {"dns": {"forced": ["{csr.CN}.fleet.test"]}},
        },
        {
            "subject": {"allowed": {"O": {"like": ["*"], "required": True}}, "default": {"CN": "{csr.dns}"}},
            "names": {"dns": {"allowed": ["**.example.com"]}},
        },
        {
            "subject": {
                "allowed": {"CN": {"like": ["*"]}},
                "forced": {"O": "Fleet {csr.serialNumber}"},
                "others": "ignore",
            },
            "names": {"dns": {"allowed": ["**.example.com"], "min": 1}},
        },
    ],
    ids=["among names", "forced by CN", "default by a name", "forced by what is ignored"],
)
@pytest.mark.parametrize("form", [Form.RFC9908, Form.LEGACY])
def test_what_the_profile_fills_in_from_the_request_is_announced(sections: dict[str, Any], form: Form) -> None:
    given, follow = profile(**sections), follow_template if form is Form.RFC9908 else follow_list
    wishes = follow(announced(given, form))
    if "among_names" in str(sections):
        wishes.subject = [(oid, OWN_NAME.value) for oid, _ in wishes.subject]
    decision = judged(given, wishes)
    assert isinstance(decision, Approved), decision


# --- what stands where -------------------------------------------------------------------------------------------


def test_values_that_are_known_are_one_extension_request() -> None:
    """RFC 9908 section 3.4: the template of extensions is for open ones alone."""
    assert der.oid(csrattrs.EXTENSION_REQUEST_TEMPLATE) not in announced(profile(), Form.RFC9908)
    assert announced(profile(), Form.BOTH).count(der.oid(csrattrs.EXTENSION_REQUEST)) == 2


@pytest.mark.parametrize(
    ("names", "purposes"),
    [((IpAddress(ip_address("10.0.135.0")),), ()), ((), ("1.3.6.1.4.1.32473.896",))],
    ids=["address", "purpose"],
)
def test_a_known_value_that_ends_like_an_open_address_is_no_open_one(
    names: tuple[IpAddress, ...], purposes: tuple[str, ...]
) -> None:
    wanted = Expectations(KeyShape("ec", 256, "P-256"), (), names, (), frozenset(), purposes, must_ask_purpose=False)
    found = write_csrattrs(wanted, Form.RFC9908)
    assert found is not None
    value = der.sequence(der.tlv(0x87, names[0].value.packed)) if names else der.sequence(*map(der.oid, purposes))
    known = csrattrs.extension("2.5.29.17" if names else "2.5.29.37", value)
    assert der.oid(csrattrs.EXTENSION_REQUEST_TEMPLATE) not in found
    assert csrattrs.attribute(csrattrs.EXTENSION_REQUEST, der.sequence(known)) in found


def test_a_value_is_announced_where_only_one_will_do() -> None:
    given = profile(
        subject={
            "forced": {"O": "Example", "UID": "{requester}"},
            "allowed": {"CN": {"like": ["sensor"], "required": True}, "OU": {"like": ["*"]}},
        }
    )
    found = expectations(given, 2048)
    assert found.subject == (Wanted("2.5.4.10", "Example"), Wanted("2.5.4.3", "sensor"))


def test_names_that_the_profile_brings_by_itself_are_not_left_open() -> None:
    found = expectations(profile(names={"dns": {"forced": ["a.test", "{requester}.test"], "min": 2, "max": 4}}), 2048)
    assert (found.names, found.open_names) == ((dns_name("a.test"),), ())
    found = expectations(
        profile(names={"dns": {"forced": ["a.test"], "allowed": ["**.test"], "min": 2, "max": 4}}), 2048
    )
    assert found.open_names == (DnsName,)


def test_rsa_keys_are_announced_as_short_as_the_ceiling_lets_them_be() -> None:
    assert expectations(profile(key={"allowed": ["rsa:1024-4096"]}), 3072).key == KeyShape("rsa", 3072)


@pytest.mark.parametrize(("kind", "algorithm"), [(kind, oid) for kind, (oid, _) in POST_QUANTUM.items()])
def test_post_quantum_keys_are_announced_by_their_algorithm(kind: str, algorithm: str) -> None:
    shape = KeyShape(kind, POST_QUANTUM[kind][1])
    wanted = Expectations(shape, (), (), (), frozenset(), (), must_ask_purpose=False)
    template, flat = write_csrattrs(wanted, Form.RFC9908), write_csrattrs(wanted, Form.LEGACY)
    assert template is not None
    assert der.tlv(0xA0, der.sequence(der.oid(algorithm))) in template
    assert flat is not None
    assert der.oid(algorithm) in flat


def test_nothing_at_all_can_be_wanted() -> None:
    nothing = Expectations(KeyShape("ed25519", 256), (), (), (), frozenset(), (), must_ask_purpose=False)
    assert write_csrattrs(nothing, Form.NONE) is None
    assert write_csrattrs(nothing, Form.LEGACY) == der.sequence(key_attribute(nothing.key))
    found = write_csrattrs(nothing, Form.RFC9908)
    assert found is not None
    key = der.tlv(0xA0, der.sequence(der.oid("1.3.101.112")))
    template = der.sequence(der.integer(0), key, der.tlv(0xA1))  # without any subject, RFC 9908 section 3.4
    assert found == der.sequence(csrattrs.attribute(csrattrs.REQUEST_TEMPLATE, template))


OPEN_ADDRESS = der.sequence(der.tlv(0x87))


@pytest.mark.parametrize(
    ("open_names", "asks", "oid", "value"),
    [
        ((IpAddress,), False, "2.5.29.17", OPEN_ADDRESS),
        ((DnsName, IpAddress), False, "2.5.29.17", None),
        ((DnsName,), False, "2.5.29.17", None),
        ((), True, "2.5.29.37", None),
    ],
    ids=["address", "name and address", "name", "purpose"],
)
def test_what_is_left_open_has_a_gap_in_the_template_and_is_a_bare_type_in_the_list(
    open_names: tuple[type, ...], oid: str, value: bytes | None, *, asks: bool
) -> None:
    wanted = Expectations(KeyShape("ed25519", 256), (), (), open_names, frozenset(), (), must_ask_purpose=asks)
    template, flat = write_csrattrs(wanted, Form.RFC9908), write_csrattrs(wanted, Form.LEGACY)
    left = csrattrs.attribute(csrattrs.EXTENSION_REQUEST_TEMPLATE, der.sequence(csrattrs.extension(oid, value)))
    assert template is not None
    assert left in template
    assert flat == der.sequence(key_attribute(wanted.key), der.oid(oid))


def test_known_extensions_stand_in_the_template_beside_open_ones() -> None:
    """RFC 9908 section 3.4: extensionRequest and the template of extensions are never both there."""
    usage = frozenset({KeyUsage.DIGITAL_SIGNATURE})
    wanted = Expectations(KeyShape("ed25519", 256), (), (), (), usage, (), must_ask_purpose=True)
    known = csrattrs.extension("2.5.29.15", bytes.fromhex("03020780"), critical=True)
    both = der.sequence(known, csrattrs.extension("2.5.29.37", None))
    found = write_csrattrs(wanted, Form.RFC9908)
    assert found is not None
    assert csrattrs.attribute(csrattrs.EXTENSION_REQUEST_TEMPLATE, both) in found
    assert der.oid(csrattrs.EXTENSION_REQUEST) not in found


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_the_placeholder_of_an_rsa_key_is_exactly_as_long_as_the_key_must_be(bits: int) -> None:
    """RFC 9908 section 3.4; an odd number, as every modulus is."""
    found = write_csrattrs(
        Expectations(KeyShape("rsa", bits), (), (), (), frozenset(), (), must_ask_purpose=False), Form.RFC9908
    )
    assert found is not None
    ((_, values),) = [der.children(item) for item in der.children(der.read(found))]
    _, key, _ = der.children(der.children(values)[0])
    algorithm, placeholder = der.children(key)
    assert algorithm.raw == der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
    modulus, exponent = map(der.read_integer, der.children(der.read(der.read_bits(placeholder)[1])))
    assert (modulus.bit_length(), modulus % 2, exponent) == (bits, 1, 65537)


@pytest.mark.parametrize(
    ("usage", "octets"),
    [
        ({KeyUsage.DIGITAL_SIGNATURE}, "03020780"),
        ({KeyUsage.KEY_AGREEMENT, KeyUsage.DECIPHER_ONLY}, "0303070880"),  # the ninth bit
    ],
    ids=["one octet", "two octets"],
)
def test_what_must_be_critical_is_said_to_be_in_both_forms(usage: set[KeyUsage], octets: str) -> None:
    wanted = Expectations(KeyShape("ed25519", 256), (), (), (), frozenset(usage), (), must_ask_purpose=False)
    critical = csrattrs.extension("2.5.29.15", bytes.fromhex(octets), critical=True)
    for form in (Form.RFC9908, Form.LEGACY):
        found = write_csrattrs(wanted, form)
        assert found is not None
        assert csrattrs.attribute(csrattrs.EXTENSION_REQUEST, der.sequence(critical)) in found


@pytest.mark.parametrize(
    ("linking", "meaning", "listed"),
    [
        ("off", "binding", ()),
        ("optional", "binding", ()),
        ("required", "binding", (CHALLENGE_PASSWORD, IDENTITY_LINKING)),
        ("required", "automatic", (CHALLENGE_PASSWORD, IDENTITY_LINKING)),
        ("required", "one-time-password", (IDENTITY_LINKING,)),
    ],
)
def test_a_binding_that_is_required_is_listed(linking: Any, meaning: Any, listed: tuple[str, ...]) -> None:
    config = EstEndpointConfig(
        profiles=("iot-device",),
        authenticate=Authenticate(one_time_passwords=True),
        linking=linking,
        challenge_password=meaning,
    )
    assert attributes_of(config) == listed
    found = write_csrattrs(expectations(profile(), 2048), Form.RFC9908, listed)
    assert found is not None
    assert [item.tag for item in der.children(der.read(found))] == [der.OID] * len(listed) + [der.SEQUENCE]
