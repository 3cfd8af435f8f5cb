"""The status of certificates, over HTTP: revocation lists, OCSP, CA certificates."""
