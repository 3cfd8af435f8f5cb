"""The one door to the signer: every certificate of every protocol, renewals and approvals included, comes through here.

Judge, write the intent; then `server.issuance` signs, compares and records; then the answer leaves.
"""

from __future__ import annotations

from server.enrollment.door import Enrollment
from server.enrollment.refusals import RefusedAttempt

__all__ = ["Enrollment", "RefusedAttempt"]
