"""Certificate Management over CMS, the messages of fullcmc (RFC 5272, RFC 6402, RFC 4211): octets to facts and back."""
