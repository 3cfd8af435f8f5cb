"""The public key: kind and size, by the profile's list and by the server's ceiling; and whether others may know it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from ca.weak_keys import blocked_names, weaknesses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ca.keys import KeyShape
    from policies.decision import Location
    from policies.fields import KeyPattern
    from policies.profile import Profile
    from policies.ruling import Draft, Question, Report


class _Demand(NamedTuple):
    """What a profile demands of keys, and where the list and what is said of weak ones stand."""

    allowed: tuple[KeyPattern, ...]
    limit: str
    place: Location
    blocked: tuple[str, ...]
    place_of_weak: Location
    reuse: str


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Compare the key with the list of the profile, and an RSA key with the ceiling."""
    del draft
    allowed, limit, place, blocked, place_of_weak, reuse = question.profile.prepared(_demand)
    shape, least = question.request.csr.key_shape, question.ceilings.min_rsa_bits
    value = str(shape)
    if not _is_among(allowed, shape):
        report.failed("key.allowed", place, f"a key of kind {value} is not allowed here", value, limit)
    elif shape.kind == "rsa" and shape.bits < least:
        report.failed("key.ceiling", place, f"RSA keys must have at least {least} bits", value, f"rsa:{least}")
    else:
        report.passed("key.allowed", place, value, limit)
    _weak(question, blocked, place_of_weak, report)
    if reuse != "any":
        _reuse(question, report)


def _demand(profile: Profile) -> _Demand:
    keys, place = profile.sections.key, profile.place
    return _Demand(keys.allowed, keys.limit, place("key", "allowed"), keys.blocked, place("key", "weak"), keys.reuse)


def _is_among(allowed: Iterable[KeyPattern], shape: KeyShape) -> bool:
    for pattern in allowed:  # noqa: SIM110 - a generator for each request costs more than all the comparing
        if pattern.matches(shape):
            return True
    return False


def _reuse(question: Question, report: Report) -> None:
    """Deny a key that another client has or had; what was not looked up denies."""
    place, holders = question.profile.place("key", "reuse"), question.request.facts.key_holders
    if holders is None:
        message = "it can't be looked up now whether somebody else has this key"
        report.failed("key.reuse", place, message, "never asked", "same-client")
    elif holders:
        message = "this key belongs to another client: every client makes a key of its own"
        report.failed("key.reuse", place, message, ", ".join(holders), "same-client")
    else:
        report.passed("key.reuse", place, limit="same-client")


def _weak(question: Question, blocked: Sequence[str], place: Location, report: Report) -> None:
    """Deny a key whose private part others may know, or only say so where the profile has it on trial."""
    csr = question.request.csr
    if blocked and not blocked_names(csr.key, csr.spki).isdisjoint(blocked):
        where = question.profile.place("key", "blocked")
        report.failed("key.blocked", where, "this key is blocked", sha256(csr.spki).hexdigest(), "blocked")
    sound = True
    for weakness in weaknesses(csr.key, csr.spki, question.ceilings.blocked_keys):
        sound = False
        write = report.failed if question.profile.sections.key.weak == "refuse" else report.on_trial
        write("key.weak", place, weakness, sha256(csr.spki).hexdigest(), "no weak keys")
    if sound:
        report.passed("key.weak", place, limit="no weak keys")
