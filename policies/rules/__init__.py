"""One rule, or one part of the certificate, a file. Each runs for every request; none knows of another."""
