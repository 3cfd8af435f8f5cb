"""Where look-ups of profiles find their answers: a table, a CSV file, or a service over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from server.config.listeners import PositiveSeconds
from server.config.secret_sources import SecretSource

_KINDS = ("table", "csv", "http")


def _url(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.netloc or parts.scheme not in {"https", "http"} or (parts.scheme == "http" and not local):
        raise ValueError("write an address like https://cmdb.example/lookup; http:// only on this machine")
    return text


class LookupSource(Strict):
    """One source: exactly one of `table`, `csv` and `http`.

    Attributes:
        table: the answers by key, here in the file.
        csv: a file with a line of headings; the first column is the key. It is read again when it changes.
        http: an address to which a question is posted, signed with `secret`.
        secret: the key of the HMAC over the question.
        timeout_seconds: how long an answer over HTTP may take.
        cache: how long an answer is used again.
    """

    table: Mapping[str, Mapping[str, str]] | None = None
    csv: Path | None = None
    http: Annotated[str, AfterValidator(_url)] | None = None
    secret: SecretSource | None = None
    timeout_seconds: PositiveSeconds = 2
    cache: Duration = Field(default=timedelta(seconds=60))

    @model_validator(mode="after")
    def _one_kind(self) -> LookupSource:
        if sum(getattr(self, kind) is not None for kind in _KINDS) != 1:
            raise ValueError("give exactly one of table: {...}, csv: FILE and http: ADDRESS")
        if (self.http is None) != (self.secret is None):
            raise ValueError("http needs secret: {file: FILE}, and nothing else does")
        return self
