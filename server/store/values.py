"""Plans, findings and questions as JSON text, and back, without loss.

Only the classes listed here are ever written or made; text from elsewhere can't name others.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ca import names
from ca.csr import CHANGE_SUBJECT_NAME, Proof, read_recorded_csr
from ca.plan import CertificatePlan, KeyUsage, PlannedExtension
from policies import request as vocabulary
from policies.decision import Finding, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ca.csr import Csr

_CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        names.DnsName,
        names.IpAddress,
        names.EmailAddress,
        names.Uri,
        names.RegisteredId,
        names.OtherName,
        names.Attribute,
        names.DistinguishedName,
        names.DirectoryName,
        CertificatePlan,
        PlannedExtension,
        Finding,
        Location,
        vocabulary.EndpointName,
        vocabulary.PasswordEvidence,
        vocabulary.ChallengeEvidence,
        vocabulary.CertificateEvidence,
        vocabulary.RegistrationAuthorityEvidence,
        vocabulary.AccountEvidence,
        vocabulary.DeviceEvidence,
        vocabulary.PossessionEvidence,
        vocabulary.Requester,
        vocabulary.Renewed,
        vocabulary.LookupAnswer,
        vocabulary.Facts,
    )
}


def _json(value: object) -> str:
    return _writer_of(type(value), _plain)(value)


def _array(values: Iterable[object]) -> str:
    return f"[{','.join([_writer_of(type(value), _plain)(value) for value in values])}]"


def _writer(cls: type[Any], leaving_out: Collection[str] = (), end: str = "}") -> Callable[[Any], str]:
    """Return how to write a class: its name under the empty key, then its fields."""
    names = tuple(field.name for field in fields(cls) if field.name not in leaving_out)
    text = "".join(["{", f'"":"{cls.__name__}"', *(f',"{name}":%s' for name in names), end])
    if len(names) == 1:
        only = attrgetter(*names)
        return lambda value: text % _json(only(value))
    values = attrgetter(*names)
    return lambda value: text % tuple([_writer_of(type(each), _plain)(each) for each in values(value)])


@lru_cache(maxsize=256)
def _time(time: datetime) -> str:
    return f'{{"time":"{time.astimezone(UTC).isoformat()}"}}'


# Straight to text: json's encoder would first have every value made into dictionaries, which costs five times as much.
_quoted = json.encoder.encode_basestring
_plain = json.JSONEncoder(ensure_ascii=False).encode
"""Writes what has no writer of its own: words of enumerations."""
_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    int: str,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
    tuple: _array,
    list: _array,
    bytes: lambda value: f'{{"bytes":"{b2a_base64(value, newline=False).decode()}"}}',
    datetime: _time,
    frozenset: lambda value: f'{{"set":{_array(sorted(value))}}}',
    IPv4Address: lambda value: f'{{"ip":"{value}"}}',
    IPv6Address: lambda value: f'{{"ip":"{value}"}}',
    **{cls: _writer(cls) for cls in _CLASSES.values()},
}
_WRITERS[vocabulary.EndpointName] = lru_cache(maxsize=64)(_WRITERS[vocabulary.EndpointName])  # there are but few
_writer_of = _WRITERS.get
_READERS: dict[str, Callable[[Any], object]] = {
    "bytes": a2b_base64,
    "time": datetime.fromisoformat,
    "set": frozenset,
    "ip": ip_address,
}
_WORDS: dict[type, tuple[str, Callable[[Any], object]]] = {
    CertificatePlan: ("key_usage", lambda usages: frozenset(map(KeyUsage, usages))),
    vocabulary.EndpointName: ("protocol", vocabulary.Protocol),
}
"""Fields whose words are those of an enumeration."""


def _read(value: dict[str, Any]) -> object:
    kind = value.pop("", None)
    if kind is None:
        if len(value) == 1:
            ((tag, content),) = value.items()
            if tag in _READERS:
                return _READERS[tag](content)
        return value
    cls = _CLASSES[kind]
    if cls in _WORDS:
        name, convert = _WORDS[cls]
        value[name] = convert(value[name])
    return cls(**{name: _frozen(content) for name, content in value.items()})


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


_DECODER = json.JSONDecoder(object_hook=_read)


_begin_plan = _writer(CertificatePlan, leaving_out=("key_usage", "extended_key_usage", "extensions"), end=",")


def write_plan(plan: CertificatePlan) -> str:
    """Return the plan as text."""
    return _begin_plan(plan) + _shared(plan.key_usage, plan.extended_key_usage, plan.extensions)


@lru_cache(maxsize=256)
def _shared(
    key_usage: frozenset[KeyUsage], extended_key_usage: tuple[str, ...], extensions: tuple[PlannedExtension, ...]
) -> str:
    """Return the text of those parts of a plan that nearly all plans of a profile share, and its end."""
    usage, extended = _json(key_usage), _array(extended_key_usage)
    return f'"key_usage":{usage},"extended_key_usage":{extended},"extensions":{_array(extensions)}}}'


def read_plan(text: str) -> CertificatePlan:
    """Return the plan that `write_plan` wrote; equal to the original."""
    plan = _DECODER.decode(text)
    if not isinstance(plan, CertificatePlan):
        raise TypeError("the record does not hold a plan")
    return plan


def write_findings(findings: Iterable[Finding]) -> str:
    """Return the findings as text."""
    return _array(findings)


def read_findings(text: str | None) -> tuple[Finding, ...]:
    """Return the findings that `write_findings` wrote, none for None."""
    return () if text is None else tuple(_DECODER.decode(text))


def write_asked(request: vocabulary.EnrollmentRequest) -> str:
    """Return as text what a policy was asked, but for the CSR, which is on record beside it."""
    return f"{{{_asked(request)}}}"


def _asked(request: vocabulary.EnrollmentRequest) -> str:
    csr = request.csr
    return "".join(
        [
            f'"kind":"{request.kind}","endpoint":',
            _json(request.endpoint),
            ',"profile":',
            _json(request.profile),
            ',"requester":',
            _json(request.requester),
            ',"renewed":',
            _json(request.renewed),
            ',"transaction":',
            _json(request.transaction),
            "" if request.facts is vocabulary.NO_FACTS else f',"facts":{_json(request.facts)}',
            f',"names":{_array((csr.subject, csr.names))}' if csr.renamed else "",
            f',"proof":"{csr.proof}"' if csr.proof is not Proof.SIGNATURE else "",
        ]
    )


def _recorded(octets: bytes, names: list[Any] | None, proof: str | None) -> Csr:
    csr = read_recorded_csr(octets)
    if proof is not None:
        csr = replace(csr, proof=Proof(proof))
    if names is None:
        return csr
    # What asked for the other names is settled: who judges again sees what was judged before.
    others = tuple(attribute for attribute in csr.attributes if attribute.oid != CHANGE_SUBJECT_NAME)
    return replace(csr, subject=names[0], names=tuple(names[1]), attributes=others, renamed=True)


def write_question(request: vocabulary.EnrollmentRequest) -> str:
    """Return as text what a policy must know to judge the request again, when a person has approved it."""
    return f'{{{_asked(request)},"csr":{_json(request.csr.der)}}}'


def read_question(text: str, key: str, now: datetime, csr: bytes | None = None) -> vocabulary.EnrollmentRequest:
    """Return the request that `write_question` wrote, asked again at `now` under the given key.

    What `write_asked` wrote needs the DER of its `csr`.

    Raises:
        MalformedCsr: the CSR parser has become stricter since.
    """
    values = _DECODER.decode(text)
    return vocabulary.EnrollmentRequest(
        key=key,
        kind=vocabulary.Kind(values["kind"]),
        endpoint=values["endpoint"],
        profile=values["profile"],
        csr=_recorded(values["csr"] if csr is None else csr, values.get("names"), values.get("proof")),
        requester=values["requester"],
        now=now,
        renewed=values["renewed"],
        transaction=values["transaction"],
        facts=values.get("facts", vocabulary.NO_FACTS),
    )
