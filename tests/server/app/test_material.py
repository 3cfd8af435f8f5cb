"""What the configuration names, loaded; and what is said when it can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policies.document import DocumentErrors
from server.app.material import load_material
from server.config import load_config
from server.policy_files import read_ceilings

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config


def test_a_whole_deployment_is_loaded(config: Config) -> None:
    material = load_material(config)
    assert list(material.issuers) == ["issuing"]
    assert {str(name) for name in material.authenticators} == {"est/default", "scep/default", "acme/default"}
    assert {str(name) for name in material.ra_keys} == {"scep/default"}
    assert material.tls is not None
    assert set(material.policies.profiles) == {"iot-device", "network-device", "tls-server"}


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("ca/issuing.pem", "certificate"),
        ("ca/issuing.key", "key"),
        ("ca/issuing.passphrase", "passphrase_file"),
        ("chain.pem", "chain"),
        ("ra/ra.pem", "certificate"),
        ("ra/ra.key", "key"),
        ("tls/server.pem", "certificate"),
        ("tls/server.key", "key"),
        ("secrets/est-passwords.yaml", "passwords"),
        ("secrets/scep-challenge", "static"),
    ],
)
def test_a_missing_file_is_told_where_the_configuration_names_it(folder: Path, file: str, key: str) -> None:
    (folder / file).unlink()
    with pytest.raises(DocumentErrors) as caught:
        load_material(load_config(folder / "server.yaml"))
    (problem,) = caught.value.problems
    lines = (folder / "server.yaml").read_text().splitlines()
    assert f"{key}: {file}" in lines[problem.location.line - 1]
    assert problem.message == f"{key}: {folder / file} can't be read: No such file or directory"


def test_an_issuers_key_that_can_not_be_used_is_named_where_it_stands(folder: Path) -> None:
    (folder / "ca" / "issuing.passphrase").write_text("wrong")
    with pytest.raises(DocumentErrors) as caught:
        load_material(load_config(folder / "server.yaml"))
    (problem,) = caught.value.problems
    assert "key: ca/issuing.key" in (folder / "server.yaml").read_text().splitlines()[problem.location.line - 1]
    assert problem.message.startswith(f"{folder / 'ca' / 'issuing.key'}: the issuing CA's private key can't be read")


def test_a_folder_of_policies_that_is_not_there_is_told_where_it_is_named(folder: Path) -> None:
    yaml = folder / "server.yaml"
    yaml.write_text(yaml.read_text().replace("policies: policies", "policies: policy"))
    with pytest.raises(DocumentErrors) as caught:
        load_material(load_config(yaml))
    (problem,) = caught.value.problems
    assert yaml.read_text().splitlines()[problem.location.line - 1] == "policies: policy"
    assert str(folder / "policy") in problem.message


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ca/issuing.passphrase", "wrong", "the passphrase is wrong"),
        ("ra/ra.passphrase", "wrong", "another passphrase"),
        ("tls/server.pem", "nothing", "holds no PEM certificate"),
        ("tls/server.key", "nothing", "it is no PEM private key"),
        ("secrets/est-passwords.yaml", "a: b\n", "certwright hash"),
        ("secrets/scep-challenge", "plain\n", "certwright hash"),
        ("policies/iot-device.yaml", "version: 1\n", "missing"),
    ],
)
def test_a_file_with_something_else_in_it_is_told(folder: Path, file: str, content: str, message: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(DocumentErrors, match=message):
        load_material(load_config(folder / "server.yaml"))


def test_the_key_of_another_certificate_is_told(folder: Path) -> None:
    (folder / "tls" / "server.pem").write_bytes((folder / "root.pem").read_bytes())
    with pytest.raises(DocumentErrors, match=r"server.yaml:\d+:3: the private key does not belong"):
        load_material(load_config(folder / "server.yaml"))


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    (folder / "ca" / "issuing.passphrase").write_text("wrong")
    (folder / "ra" / "ra.key").unlink()
    (folder / "tls" / "server.key").unlink()
    (folder / "secrets" / "scep-challenge").write_text("plain")
    with pytest.raises(DocumentErrors) as caught:
        load_material(load_config(folder / "server.yaml"))
    assert len(caught.value.problems) == 4


def test_an_unknown_profile_is_told_at_its_endpoint_with_the_nearest_name(folder: Path) -> None:
    path = folder / "server.yaml"
    path.write_text(path.read_text().replace("[iot-device]", "[iot-devise]"))
    with pytest.raises(DocumentErrors, match=r'server.yaml:.*"iot-devise".*did you mean "iot-device"') as caught:
        load_material(load_config(path))
    line = path.read_text().splitlines()[caught.value.problems[0].location.line - 1]
    assert "iot-devise" in line


def test_a_profile_of_another_issuer_than_its_endpoint_hands_out_is_told_with_both_places(folder: Path) -> None:
    text = (folder / "server.yaml").read_text(encoding="utf-8")
    block = text[text.index("  issuing:\n") : text.index("    chain: chain.pem\n") + len("    chain: chain.pem\n")]
    text = text.replace(block, block + block.replace("  issuing:\n", "  other:\n", 1))
    for name in ("iot-device", "network-device", "tls-server"):
        issuer = "other" if name == "iot-device" else "issuing"
        text = text.replace(f"    profiles: [{name}]\n", f"    profiles: [{name}]\n    issuer: {issuer}\n")
    (folder / "server.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DocumentErrors) as caught:
        load_material(load_config(folder / "server.yaml"))
    (line,) = str(caught.value).splitlines()
    assert 'est/default hands out the chain of issuer "other", but profile "iot-device" is signed by "issuing"' in line
    assert "iot-device.yaml:" in line


def test_lists_of_blocked_keys_are_read_and_their_faults_told(folder: Path) -> None:
    path = folder / "server.yaml"
    text = path.read_text(encoding="utf-8").replace(
        "  min_rsa_bits: 2048\n", "  min_rsa_bits: 2048\n  blocked_keys: [known]\n"
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentErrors, match=r"server\.yaml:.*known: can't be read"):
        read_ceilings(load_config(path))
    (folder / "known").write_text(f"# from Debian\n{'AB' * 10}  # a key\n\n{'0c' * 32}\n")
    assert read_ceilings(load_config(path)).blocked_keys == {"ab" * 10, "0c" * 32}
    (folder / "known").write_text("cafe\n")
    with pytest.raises(DocumentErrors, match="known:1:1: no key: 64 hexadecimal digits"):
        load_material(load_config(path))


@pytest.mark.parametrize(
    ("approvers", "message"),
    [
        ("", 'has no role "ra-officer" under approvers'),
        ("approvers: {ra-oficer: [alice]}", 'did you mean "ra-oficer"'),
        ("approvers: {ra-officer: [alice, alice]}", "2 must approve, but only 1 have the role ra-officer"),
    ],
)
def test_a_profile_that_nobody_could_approve_is_told(folder: Path, approvers: str, message: str) -> None:
    path, policy = folder / "server.yaml", folder / "policies" / "network-device.yaml"
    path.write_text(f"{path.read_text()}\n{approvers}\n")
    policy.write_text(policy.read_text().split("\ntests:")[0] + "    approval: {role: ra-officer, count: 2}\n")
    with pytest.raises(DocumentErrors, match=message) as caught:
        load_material(load_config(path))
    assert caught.value.problems[0].location.file == str(policy)


def test_endpoints_without_passwords_or_challenge_or_renewal_have_none(folder: Path) -> None:
    path = folder / "server.yaml"
    text = path.read_text()
    text = text.replace("      passwords: secrets/est-passwords.yaml", "      # passwords: secrets/est-passwords.yaml")
    text = text.replace("    challenge:\n      static: secrets/scep-challenge", "    renewal: true #")
    path.write_text(text)
    found = {str(name): each for name, each in load_material(load_config(path)).authenticators.items()}
    assert not found["est/default"].passwords
    assert {str(name) for name in found["est/default"].certificates} == {"est/default"}
    assert found["scep/default"].challenge is None
    assert {str(name) for name in found["scep/default"].certificates} == {"scep/default"}
    assert not found["acme/default"].certificates


def test_an_ra_that_clients_would_not_be_shown_is_an_error(folder: Path) -> None:
    file = folder / "server.yaml"
    file.write_text(file.read_text().replace("  scep/default:\n", "  scep/default:\n    ca_certificates: ca-only\n"))
    with pytest.raises(DocumentErrors, match="must be the CA's own"):
        load_material(load_config(file))


@pytest.mark.parametrize("name", ["nowhere", "server.yaml", "x" * 300])
def test_a_folder_of_policies_that_is_none_is_told_at_its_word(folder: Path, name: str) -> None:
    file = folder / "server.yaml"
    file.write_text(file.read_text().replace("\npolicies: policies", f"\npolicies: {name}"))
    with pytest.raises(DocumentErrors, match="can't read the folder of policy files"):
        load_material(load_config(file))
