"""Issuing backends: one file for each kind of CA. Only the composition root imports them."""
