"""The operation fullcmc (RFC 7030 section 4.3): who asks, each thing that is asked, and one signed response."""

from server.est.fullcmc.results import Result
from server.est.fullcmc.service import Answer, answer

__all__ = ["Answer", "Result", "answer"]
