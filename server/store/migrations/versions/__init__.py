"""The steps, each named by its number: the next one names the one before in ``down_revision``."""
