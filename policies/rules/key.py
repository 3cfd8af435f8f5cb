"""The public key: kind and size, by the profile's list and by the server's ceiling; and whether others may know it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from ca.weak_keys import blocked_names, weaknesses

if TYPE_CHECKING:
    from policies.ruling import Draft, Question, Report


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Compare the key with the list of the profile, and an RSA key with the ceiling."""
    del draft
    shape, keys = question.request.csr.key_shape, question.profile.sections.key
    place, value = question.profile.place("key", "allowed"), str(shape)
    least = question.ceilings.min_rsa_bits
    if not any(key.matches(shape) for key in keys.allowed):
        report.failed("key.allowed", place, f"a key of kind {value} is not allowed here", value, keys.limit)
    elif shape.kind == "rsa" and shape.bits < least:
        report.failed("key.ceiling", place, f"RSA keys must have at least {least} bits", value, f"rsa:{least}")
    else:
        report.passed("key.allowed", place, value, keys.limit)
    _weak(question, report)
    if keys.reuse != "any":
        _reuse(question, report)


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


def _weak(question: Question, report: Report) -> None:
    """Deny a key whose private part others may know, or only say so where the profile has it on trial."""
    csr, keys, blocked = question.request.csr, question.profile.sections.key, question.ceilings.blocked_keys
    place = question.profile.place("key", "weak")
    if keys.blocked and not blocked_names(csr.key, csr.spki).isdisjoint(keys.blocked):
        where = question.profile.place("key", "blocked")
        report.failed("key.blocked", where, "this key is blocked", sha256(csr.spki).hexdigest(), "blocked")
    sound = True
    for weakness in weaknesses(csr.key, csr.spki, blocked):
        sound = False
        write = report.failed if keys.weak == "refuse" else report.on_trial
        write("key.weak", place, weakness, sha256(csr.spki).hexdigest(), "no weak keys")
    if sound:
        report.passed("key.weak", place, limit="no weak keys")
