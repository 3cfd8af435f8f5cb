"""The public key: kind and size, by the profile's list and by the server's ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
