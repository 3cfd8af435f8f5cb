"""Attestation statements of devices (draft-ietf-acme-device-attest, WebAuthn section 8). One file a format."""
