"""The place where everything is wired; the only one that knows all names.

Nothing is imported here: a command that needs one part of it need not load all protocols.
"""
