"""One rule a file; `policies.engine` runs them all."""
