"""Bytes to messages and back, pure; whatever is not as RFC 8555 says raises `Rejected`, nothing else."""
