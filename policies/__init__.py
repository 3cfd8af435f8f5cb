"""Decisions. Pure code: time is an argument, files come in as text, there is no I/O."""
