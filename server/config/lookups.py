"""Where look-ups of profiles find their answers: a table, a CSV file, a service over HTTP, or an LDAP directory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from server.config.listeners import PositiveSeconds
from server.config.secret_sources import SecretSource
from server.config.values import split_url

_KINDS = ("table", "csv", "http", "ldap")


_HERE = frozenset({"127.0.0.1", "::1", "localhost"})


def _url(text: str) -> str:
    parts = split_url(text)
    local = parts.hostname in _HERE
    if not parts.netloc or parts.scheme not in {"https", "http"} or (parts.scheme == "http" and not local):
        raise ValueError("write an address like https://cmdb.example/lookup; http:// only on this machine")
    return text


_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


def _attribute(text: str) -> str:
    if not _ATTRIBUTE.fullmatch(text):
        raise ValueError(f'"{text}" is no name of an attribute, like mail')
    return text


Attribute = Annotated[str, AfterValidator(_attribute)]


class LdapSource(Strict):
    """An LDAP directory.

    Attributes:
        url: ``ldaps://host``, or ``ldap://host`` with `start_tls` (without it only on this machine).
        base: the entry below which everything is searched.
        attribute: the attribute that has what is looked up.
        object_class: the class that an entry must have.
        fields: the attributes that conditions and placeholders may use.
        user: whom to bind as; absent: anonymous.
        password: that user's.
        trust: certificates of the CAs to trust; absent: those of the system.
        start_tls: whether an ``ldap:`` connection changes to TLS.
    """

    url: str
    base: str
    attribute: Attribute = "uid"
    object_class: Attribute | None = None
    fields: Annotated[tuple[Attribute, ...], Field(min_length=1)]
    user: str | None = None
    password: SecretSource | None = None
    trust: Path | None = None
    start_tls: bool = False

    @model_validator(mode="after")
    def _secure(self) -> LdapSource:
        parts = split_url(self.url)
        if not parts.hostname or parts.scheme not in {"ldap", "ldaps"} or parts.path not in {"", "/"}:
            raise ValueError("url is written ldaps://dc1.corp.example or ldap://dc1.corp.example:389")
        if parts.scheme == "ldap" and not self.start_tls and parts.hostname not in _HERE:
            raise ValueError("write ldaps://, or start_tls: true; in the clear only on this machine")
        if parts.scheme == "ldaps" and self.start_tls:
            raise ValueError("ldaps:// is TLS from the first octet: leave start_tls out")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        return self


class LookupSource(Strict):
    """One source: exactly one of `table`, `csv`, `http` and `ldap`.

    Attributes:
        table: the answers by key, here in the file.
        csv: a file with a line of headings; the first column is the key. It is read again when it changes.
        http: an address to which a question is posted, signed with `secret`.
        secret: the key of the HMAC over the question.
        ldap: a directory in which one entry is searched.
        timeout_seconds: how long an answer over HTTP or LDAP may take.
        cache: how long an answer is used again.
    """

    table: Mapping[str, Mapping[str, str]] | None = None
    csv: Path | None = None
    http: Annotated[str, AfterValidator(_url)] | None = None
    secret: SecretSource | None = None
    ldap: LdapSource | None = None
    timeout_seconds: PositiveSeconds = 2
    cache: Duration = Field(default=timedelta(seconds=60))

    @model_validator(mode="after")
    def _one_kind(self) -> LookupSource:
        if sum(getattr(self, kind) is not None for kind in _KINDS) != 1:
            raise ValueError("give exactly one of table: {...}, csv: FILE, http: ADDRESS and ldap: {...}")
        if (self.http is None) != (self.secret is None):
            raise ValueError("http needs secret: {file: FILE}, and nothing else does")
        return self
