"""The public key: kind and size, by the profile's list and by the server's ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.ruling import Ruling, failed, joined, passed

if TYPE_CHECKING:
    from policies.ruling import Draft, Question


def judge(question: Question, draft: Draft) -> Ruling:
    """Compare the key with the list of the profile, and an RSA key with the ceiling."""
    del draft
    shape = question.request.csr.key_shape
    allowed = question.profile.sections.key.allowed
    place = question.profile.place("key", "allowed")
    value, limit = str(shape), ", ".join(key.text for key in allowed)
    if any(key.matches(shape) for key in allowed):
        ruling = passed("key.allowed", place, value, limit)
    else:
        ruling = failed("key.allowed", place, f"a key of kind {value} is not allowed here", value, limit)
    least = question.ceilings.min_rsa_bits
    if shape.kind == "rsa" and shape.bits < least:
        message = f"RSA keys must have at least {least} bits"
        return joined((ruling, failed("key.ceiling", place, message, value, f"rsa:{least}")))
    return ruling
