"""A DNS server on a loopback port that knows the records it is told."""

from __future__ import annotations

import socket
from threading import Thread
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Callable


Zone = dict[str, list[str] | int]
"""Records by name, or the code of an error."""
NXDOMAIN = 3


class DnsServer:
    """Answers from `records`: a name, with trailing dot, to texts as they stand in zone files.

    A text is a TXT record unless it begins with another type: ``CAA 0 issue "ca.test"``, ``A 127.0.0.1``. A name that
    leads to an int gets that response code, an alias is written ``-> other.name.``. `asked` has every question.
    """

    def __init__(self, records: Callable[[str], list[str] | int]) -> None:
        self._records = records
        self.asked: list[tuple[str, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                data, address = self._socket.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            response.flags |= dns.flags.RA
            name, kind = str(query.question[0].name).lower(), query.question[0].rdtype.name
            self.asked.append((name, kind))
            self._answer(name, kind, response)
            self._socket.sendto(response.to_wire(), address)

    def _answer(self, name: str, kind: str, response: dns.message.Message) -> None:
        found = self._records(name)
        if isinstance(found, int):
            response.set_rcode(dns.rcode.Rcode(found))
        elif len(found) == 1 and found[0].startswith("-> "):
            target = found[0].removeprefix("-> ")
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
            self._answer(target, kind, response)
        elif wanted := [text for typed, text in map(_typed, found) if typed == kind]:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *wanted))

    def close(self) -> None:
        """Stop answering."""
        self._socket.close()


def _typed(text: str) -> tuple[str, str]:
    kind, _, rest = text.partition(" ")
    return (kind, rest) if kind in {"A", "AAAA", "CAA"} else ("TXT", text)
