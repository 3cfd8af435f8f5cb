"""TLS for the server side, over pyOpenSSL memory BIOs, as an asyncio transport.

Python's ``ssl`` ends a handshake with an expired, wrong-purpose or unknown client certificate without an alert and
without a trace. Here any client certificate whose key the peer proves to have is taken, and `PeerIdentity` hands the
judgement to the application, which can answer in HTTP and leave a record.
"""

from server.tls.connection import TlsConnection, TlsSettings
from server.tls.context import TlsConfigurationError, make_context, prefer_strongest
from server.tls.limit import ConnectionLimit

__all__ = [
    "ConnectionLimit",
    "TlsConfigurationError",
    "TlsConnection",
    "TlsSettings",
    "make_context",
    "prefer_strongest",
]
