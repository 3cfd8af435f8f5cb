"""CMS (RFC 5652) as enrollment protocols need it: degenerate, signed and enveloped data. Pure; own reader and writer.

The reader takes the BER that clients send; the writer keeps the order that it is given, because clients take the first
certificate for theirs.
"""
