"""PKIX vocabulary and the issuing boundary. Imports nothing of the other packages."""
