"""Profiles of other products, read into a profile of ours, with a list of what could not be carried over.

A profile that is imported never lets more through than its original where that can be told; what is looser here, or
means nothing here, is listed for a person to decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from policies.durations import duration_text
from policies.words import PURPOSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_USAGES = {
    "digitalsignature": "digitalSignature",
    "signing": "digitalSignature",
    "contentcommitment": "contentCommitment",
    "nonrepudiation": "contentCommitment",
    "keyencipherment": "keyEncipherment",
    "dataencipherment": "dataEncipherment",
    "keyagreement": "keyAgreement",
    "encipheronly": "encipherOnly",
    "decipheronly": "decipherOnly",
}
_PURPOSES = {
    "serverauth": "serverAuth",
    "clientauth": "clientAuth",
    "codesigning": "codeSigning",
    "emailprotection": "emailProtection",
    "smime": "emailProtection",
    "timestamping": "timeStamping",
    "ocspsigning": "OCSPSigning",
}
_RSA_ONLY = frozenset({"keyEncipherment", "dataEncipherment"})
_EC_ONLY = frozenset({"keyAgreement", "encipherOnly", "decipherOnly"})
_CURVES = {256: "ec:P-256", 384: "ec:P-384", 521: "ec:P-521"}
_EVERY_KEY = ["ec:P-256", "ec:P-384", "ec:P-521", "rsa:2048-4096"]
_VAULT_USAGES = ("DigitalSignature", "KeyAgreement", "KeyEncipherment")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class NotImportable(ValueError):
    """The file is not what it should be; the text says why."""


@dataclass(slots=True)
class Imported:
    """A profile, as far as it goes.

    Attributes:
        sections: what a policy file has below the profile's name.
        left: what could not be carried over, or must be decided by a person, each as one sentence.
    """

    sections: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


class _Given:
    """A mapping that knows which of its keys were looked at."""

    def __init__(self, content: object) -> None:
        if not isinstance(content, dict):
            raise NotImportable("must be a mapping (JSON object)")
        self._content = content
        self._seen: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self._seen.add(key)
        return self._content.get(key, default)

    def texts(self, key: str) -> list[str]:
        value = self.get(key) or []
        every = value.split(",") if isinstance(value, str) else value
        if not isinstance(every, list) or not all(isinstance(one, str) for one in every):
            raise NotImportable(f'"{key}" must be a list of texts')
        return [one.strip() for one in every if one.strip()]

    def below(self, key: str) -> _Given:
        value = self.get(key)
        return _Given({} if value is None else value)

    def unseen(self, where: str = "") -> Iterable[str]:
        for key in sorted(set(map(str, self._content)) - self._seen):
            if self._content[key] not in (None, "", [], {}, False, 0):
                yield f"{where}{key}: nothing here corresponds to it ({self._content[key]!r:.60})"


def _usages(words: Iterable[str], made: Imported) -> None:
    """Write key usages and purposes that stand in one list, as most products have them."""
    bits: list[str] = []
    purposes: list[str] = []
    for word in words:
        plain = "".join(letter for letter in word.lower() if letter.isalpha()).removeprefix("extkeyusage")
        plain = plain.removeprefix("keyusage")
        if plain in _USAGES:
            bits.append(_USAGES[plain])
        elif plain in _PURPOSES:
            purposes.append(_PURPOSES[plain])
        elif word in PURPOSES.values():
            purposes.append(word)
        elif plain in {"certsign", "crlsign"}:
            made.left.append(f"{word}: a profile here never makes a CA")
        else:
            made.left.append(f"{word}: not a usage that is known here")
    usage: dict[str, Any] = {"forced": [bit for bit in dict.fromkeys(bits) if bit not in _RSA_ONLY | _EC_ONLY]}
    each = {"rsa": sorted(_RSA_ONLY.intersection(bits)), "ec": sorted(_EC_ONLY.intersection(bits))}
    usage["forced_for"] = {kind: found for kind, found in each.items() if found}
    made.sections["key_usage"] = usage
    if not purposes:
        made.left.append("no extended key usage was named; clientAuth and serverAuth are written: check it")
        purposes = ["clientAuth", "serverAuth"]
    made.sections["extended_key_usage"] = {"forced": list(dict.fromkeys(purposes))}


def _duration(value: object, what: str) -> timedelta:
    """Read seconds, or Go's and Vault's 720h, 30d, 1h30m."""
    if isinstance(value, int) and not isinstance(value, bool):
        return timedelta(seconds=value)
    seconds, digits = 0, ""
    for letter in str(value):
        if letter.isdigit():
            digits += letter
        elif letter in _UNITS and digits:
            seconds += int(digits) * _UNITS[letter]
            digits = ""
        else:
            raise NotImportable(f"{what}: {value!r} is no duration")
    return timedelta(seconds=seconds + int(digits or 0))


def _validity(default: timedelta, most: timedelta, backdate: timedelta, made: Imported) -> None:
    if default < timedelta(minutes=1):
        made.left.append("no lifetime was named; 90d is written: check it")
        default = timedelta(days=90)
    validity = {"default": duration_text(default), "backdate": duration_text(backdate)}
    if most > default:
        made.left.append(f"requesters could ask for up to {duration_text(most)}; here all get {duration_text(default)}")
    made.sections["validity"] = validity


def _dns(patterns: Iterable[str]) -> dict[str, Any]:
    return {"allowed": sorted(set(patterns)), "max": 100}


def vault(content: object) -> Imported:
    """Import a role of a Vault or OpenBao PKI engine (``vault read -format=json pki/roles/NAME``)."""
    given = _Given(content)
    given = given.below("data") if isinstance(given.get("data"), dict) else _Given(content)
    made = Imported()
    kind, bits = given.get("key_type", "rsa"), int(given.get("key_bits") or 0)
    rsa, ec = [f"rsa:{max(bits, 2048)}-4096" if bits < 4096 else f"rsa:{bits}"], [_CURVES.get(bits, "ec:P-256")]
    keys = {"rsa": rsa, "ec": ec, "ed25519": ["ed25519"], "any": _EVERY_KEY}.get(kind)
    made.sections["key"] = {"allowed": keys or _EVERY_KEY}
    if keys is None:
        made.left.append(f"key_type {kind!r} is not known here")
    _vault_names(given, made)
    words = (
        given.texts("key_usage")
        if "key_usage" in _keys(content)
        else ["DigitalSignature", "KeyAgreement", "KeyEncipherment"]
    )
    flags = {"server_flag": "ServerAuth", "client_flag": "ClientAuth", "code_signing_flag": "CodeSigning"}
    flags["email_protection_flag"] = "EmailProtection"
    on = {"server_flag": True, "client_flag": True}
    words += [word for flag, word in flags.items() if given.get(flag, on.get(flag, False))]
    _usages([*words, *given.texts("ext_key_usage"), *given.texts("ext_key_usage_oids")], made)
    default, most = _duration(given.get("ttl") or 0, "ttl"), _duration(given.get("max_ttl") or 0, "max_ttl")
    backdate = _duration(given.get("not_before_duration") or 30, "not_before_duration")
    _validity(default or most, most, backdate, made)
    subject = {"O": "organization", "OU": "ou", "C": "country", "L": "locality", "ST": "province"}
    forced = {word: given.texts(key)[0] for word, key in subject.items() if given.texts(key)}
    common = {"CN": {"like": ["*"], "among_names": True, "required": bool(given.get("require_cn", True))}}
    made.sections["subject"] = {"forced": forced, "allowed": common}
    for key in ("no_store", "generate_lease", "allow_wildcard_certificates", "use_csr_common_name", "use_csr_sans"):
        given.get(key)
    made.left += given.unseen()
    return made


def _keys(content: object) -> Mapping[str, object]:
    found = content.get("data", content) if isinstance(content, dict) else {}
    return found if isinstance(found, dict) else {}


def _vault_names(given: _Given, made: Imported) -> None:
    patterns: list[str] = []
    domains = given.texts("allowed_domains")
    bare, below, globs = (given.get(f"allow_{word}") for word in ("bare_domains", "subdomains", "glob_domains"))
    for domain in domains:
        if "{{" in domain:
            made.left.append(f"allowed_domains {domain}: templates are written {{requester}} here")
            continue
        if "*" in domain:
            plain = domain.startswith("*.") and "*" not in domain[1:]
            if globs and plain:
                patterns.append(f"*{domain}")
            else:
                made.left.append(f"allowed_domains {domain}: a star is the whole first label here")
            continue
        patterns += [domain] if bare else []
        patterns += [f"**.{domain}"] if below else []
    if given.get("allow_localhost", True):
        patterns.append("localhost")
    if given.get("allow_any_name"):
        made.left.append("allow_any_name: every name of every domain; name your domains under names")
    names: dict[str, Any] = {"dns": _dns(patterns)} if patterns else {}
    if given.get("allow_ip_sans", True):
        names["ip"] = {"allowed": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"], "max": 8}
        made.left.append("allow_ip_sans let every address through; private networks are written: check them")
    uris = given.texts("allowed_uri_sans")
    if uris:
        names["uri"] = {"allowed": uris, "max": 8}
    made.sections["names"] = names
    if given.get("allow_wildcard_certificates", False) and "dns" in names:
        names["dns"]["wildcards"] = "allowed"


def cfssl(content: object) -> Imported:
    """Import a profile of CFSSL: one of ``signing.profiles``, or ``signing.default``."""
    given, made = _Given(content), Imported()
    made.sections["key"] = {"allowed": list(_EVERY_KEY)}
    made.left.append("key: CFSSL takes every key; the usual ones are written")
    _usages(given.texts("usages"), made)
    backdate = _duration(given.get("backdate") or "5m", "backdate")
    _validity(_duration(given.get("expiry") or 0, "expiry"), timedelta(0), backdate, made)
    made.sections["subject"] = {"allowed": {"CN": {"like": ["*"]}}, "others": "ignore"}
    made.left.append("subject and names: CFSSL takes what is asked for; name what is allowed under names")
    extensions = {"crl": [given.get("crl_url")], "ocsp": [given.get("ocsp_url")], "issuers": given.texts("issuer_urls")}
    kept = {key: [url for url in urls if url] for key, urls in extensions.items()}
    made.sections["extensions"] = {key: urls for key, urls in kept.items() if urls}
    pattern = given.get("name_whitelist")
    if pattern:
        made.left.append(f"name_whitelist {pattern!r}: no regular expressions here; write patterns under names")
    if given.below("ca_constraint").get("is_ca"):
        made.left.append("ca_constraint: a profile here never makes a CA")
    made.left += given.unseen()
    return made


def step(content: object) -> Imported:
    """Import a provisioner of step-ca: one of ``authority.provisioners``, with its policy and claims."""
    given, made = _Given(content), Imported()
    made.sections["key"] = {"allowed": list(_EVERY_KEY)}
    _usages(["digitalSignature", "keyEncipherment", "serverAuth", "clientAuth"], made)
    claims = given.below("claims")
    default = _duration(claims.get("defaultTLSCertDuration") or "24h", "defaultTLSCertDuration")
    most = _duration(claims.get("maxTLSCertDuration") or "24h", "maxTLSCertDuration")
    _validity(default, most, timedelta(minutes=1), made)
    if claims.get("disableRenewal") is not True:
        made.sections["renewal"] = {}
    made.left += claims.unseen("claims.")
    x509 = given.below("policy").below("x509")
    allowed, denied = x509.below("allow"), x509.below("deny")
    names: dict[str, Any] = {}
    for ours in ("dns", "ip", "email", "uri"):
        found = allowed.texts(ours)
        if found:
            names[ours] = {"allowed": found, "max": 100}  # its "*." is one label, as here
            if denied.texts(ours):
                names[ours]["forbidden"] = denied.texts(ours)
    made.sections["names"] = names
    if not names:
        made.left.append("policy.x509.allow is empty: step-ca takes every name; name what is allowed under names")
    made.sections["subject"] = {"allowed": {"CN": {"like": ["*"], "among_names": bool(names)}}}
    made.left += [*allowed.unseen("policy.x509.allow."), *denied.unseen("policy.x509.deny.")]
    made.left.append(
        f"type {given.get('type')!r}: how requesters prove who they are stands in server.yaml and evidence"
    )
    for key in ("name", "key", "encryptedKey"):
        given.get(key)
    made.left += given.unseen()
    return made


def vcert(content: object) -> Imported:
    """Import a Venafi policy specification, as vcert writes and reads it."""
    whole, made = _Given(content), Imported()
    given, defaults = whole.below("policy"), whole.below("defaults")
    pair = given.below("keyPair")
    keys = [f"rsa:{size}" for size in pair.get("rsaKeySizes") or () if size >= 2048]
    keys += [
        f"ec:{curve.replace('P', 'P-')}" for curve in pair.texts("ellipticCurves") if curve in {"P256", "P384", "P521"}
    ]
    keys += ["ed25519"] if "ED25519" in pair.texts("ellipticCurves") else []
    made.sections["key"] = {"allowed": keys or list(_EVERY_KEY)}
    pair.get("keyTypes")
    made.left += pair.unseen("policy.keyPair.")
    names = given.below("subjectAltNames")
    domains = given.texts("domains")
    below = given.get("wildcardAllowed")
    found: dict[str, Any] = {}
    if names.get("dnsAllowed") is not False and domains:
        found["dns"] = _dns([*domains, *(f"**.{domain}" for domain in domains)])
        if below:
            found["dns"]["wildcards"] = "allowed"
    for word, allowed in (("ip", "ipConstraints"), ("uri", None), ("email", None)):
        if names.get(f"{word}Allowed"):
            constraints = names.texts(allowed) if allowed else []
            if constraints:
                found[word] = {"allowed": constraints, "max": 8}
            else:
                made.left.append(
                    f"policy.subjectAltNames.{word}Allowed: every one was let through; name what is allowed"
                )
    made.left += names.unseen("policy.subjectAltNames.")
    made.sections["names"] = found
    _vcert_subject(given.below("subject"), defaults.below("subject"), made)
    days = int(given.get("maxValidDays") or 90)
    _validity(timedelta(days=days), timedelta(0), timedelta(minutes=5), made)
    _usages(["digitalSignature", "keyEncipherment", "serverAuth"], made)
    made.left += [*given.unseen("policy."), *defaults.unseen("defaults.")]
    return made


def _vcert_subject(given: _Given, defaults: _Given, made: Imported) -> None:
    words = {"O": "orgs", "OU": "orgUnits", "L": "localities", "ST": "states", "C": "countries"}
    single = {"O": "org", "OU": "orgUnits", "L": "locality", "ST": "state", "C": "country"}
    allowed: dict[str, Any] = {"CN": {"like": ["*"], "among_names": True}}
    written: dict[str, str] = {}
    for word, key in words.items():
        patterns = given.texts(key)
        if patterns and patterns != [""]:
            allowed[word] = {"like": patterns}
        value = defaults.texts(single[word])
        if value:
            written[word] = value[0]
    made.sections["subject"] = {"allowed": allowed, "default": written}
    made.left += given.unseen("policy.subject.")


FORMATS: dict[str, Callable[[object], Imported]] = {"vault": vault, "cfssl": cfssl, "step-ca": step, "vcert": vcert}
"""How to import what, by the word of the command line."""
