"""The whole file: its shape, what its parts must say about each other, and reading it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PrivateAttr, field_validator

from policies.decision import Location
from policies.document import (
    Document,
    DocumentErrors,
    DocumentProblem,
    FormatVersion,
    Strict,
    did_you_mean,
    read_document,
)
from policies.durations import Duration
from server.config.endpoints import Endpoints
from server.config.issuers import IssuerConfig, LocalIssuerConfig, Pkcs11IssuerConfig
from server.config.listeners import Limits, Listeners, Log
from server.config.lookups import LookupSource

KeyPath = tuple[str | int, ...]
_SQLITE_URL = re.compile(r"sqlite(?:\+(?:aiosqlite|pysqlite))?:///(?=.)")


class CeilingsConfig(Strict):
    """What no profile may exceed, whatever its file says.

    Attributes:
        max_validity: the longest whole period of a certificate.
        min_rsa_bits: the shortest RSA key.
        blocked_keys: files with keys that are never certified, one a line: the SHA-256 of the SubjectPublicKeyInfo, or
            20 hexadecimal digits as in Debian's openssl-blacklist.
    """

    max_validity: Duration = Field(default="825d", validate_default=True)
    min_rsa_bits: Annotated[int, Field(ge=1024, le=8192)] = 2048
    blocked_keys: tuple[Path, ...] = ()


class Config(Strict):
    """The configuration. All paths are absolute.

    Attributes:
        database: an SQLite file, or an SQLAlchemy URL of one.
        policies: the folder of policy files.
        approvers: who may approve requests, by the roles that profiles ask for.
        lookups: where profiles look things up, by the names that they use.
    """

    version: FormatVersion
    database: str = "certwright.db"
    log: Log = Log()
    listeners: Listeners
    limits: Limits = Limits()
    issuers: Annotated[Mapping[str, IssuerConfig], Field(min_length=1)]
    policies: Path
    approvers: Mapping[str, tuple[str, ...]] = {}
    lookups: Mapping[str, LookupSource] = {}
    ceilings: CeilingsConfig = Field(default_factory=CeilingsConfig)
    endpoints: Endpoints

    _document: Document[Config] = PrivateAttr()

    @field_validator("database")
    @classmethod
    def _a_file(cls, value: str) -> str:
        if not value or ":memory:" in value or ("://" in value and not _SQLITE_URL.match(value)):
            raise ValueError("the database is an SQLite file: write its path, like certwright.db")
        return value

    @property
    def file(self) -> Path:
        """The file that this was read from."""
        return Path(self._document.file)

    @property
    def database_url(self) -> str:
        """The database as an SQLAlchemy URL."""
        return f"sqlite+aiosqlite:///{self.file.absolute().parent / _SQLITE_URL.sub('', self.database)}"

    def locate(self, *path: str | int) -> Location:
        """Return where in the file the value at `path` stands, or the nearest thing around it."""
        return self._document.locate(path)

    def problem(self, path: KeyPath, message: str) -> DocumentProblem:
        """Return a problem with the value at `path`, for DocumentErrors."""
        return DocumentProblem(self.locate(*path), message)


class UnavailableNow(DocumentErrors):
    """What the configuration names can't be had now, such as a port or the database; nothing in it must be mended."""


def load_config(path: Path) -> Config:
    """Read the configuration file.

    Relative paths in it start at the folder it stands in. Whether the files that it names are there and right is not
    looked at here: the application does when it is built, and ``certwright doctor``.

    Raises:
        DocumentErrors: the file can't be read or is not as it must be; all that is wrong, each with its place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        hint = "; certwright init DIR makes one" if isinstance(error, FileNotFoundError) else ""
        raise DocumentErrors([DocumentProblem(Location(str(path), 1, 1), f"can't be read: {cause}{hint}")]) from error
    document = read_document(text, str(path), Config)
    config: Config = _resolve(document.value, path.absolute().parent)
    config._document = Document(config, document.file, document.root)  # noqa: SLF001 - this is its constructor
    problems = [config.problem(where, message) for where, message in _contradictions(config)]
    if problems:
        raise DocumentErrors(problems)
    return config


def _resolve(value: Any, folder: Path) -> Any:
    """Return the value with every relative path made absolute."""
    match value:
        case Path():
            return folder / value
        case BaseModel():
            names = type(value).model_fields
            return value.model_copy(update={name: _resolve(getattr(value, name), folder) for name in names})
        case Mapping():
            return {key: _resolve(item, folder) for key, item in value.items()}
        case tuple():
            return tuple(_resolve(item, folder) for item in value)
        case _:
            return value


def _contradictions(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield what the parts of the file say against each other, each with its place."""
    listeners, endpoints = config.listeners, config.endpoints.all()
    if not endpoints:
        yield ("endpoints",), "there is no endpoint: name at least one, like est/default"
    if (endpoints.keys() - config.endpoints.scep.keys()) and listeners.https is None and listeners.proxied is None:
        yield ("listeners",), 'EST and ACME need TLS: "https" is missing, or "proxied" behind a proxy that ends it'
    yield from _unpublishable(config)
    for name, endpoint in endpoints.items():
        here: KeyPath = ("endpoints", str(name))
        if endpoint.issuer is None and len(config.issuers) > 1:
            yield here, f'{name}: "issuer" is missing; there are several: {", ".join(sorted(config.issuers))}'
        elif endpoint.issuer is not None and endpoint.issuer not in config.issuers:
            yield (*here, "issuer"), f'no issuer "{endpoint.issuer}"{did_you_mean(endpoint.issuer, config.issuers)}'
    yield from _contradictions_of_scep(config)


def _contradictions_of_scep(config: Config) -> Iterator[tuple[KeyPath, str]]:
    listeners = config.listeners
    if not all(scep.https for scep in config.endpoints.scep.values()) and listeners.http is None:
        yield ("listeners",), 'SCEP is served over plain HTTP: "http" is missing'
    for name, scep in config.endpoints.scep.items():
        if scep.https and listeners.https is None and listeners.proxied is None:
            yield ("endpoints", str(name), "https"), 'nothing here has TLS: "https" or "proxied" is missing'
        if scep.challenge is not None and scep.challenge.page is not None and listeners.https is None:
            yield ("endpoints", str(name), "challenge", "page"), 'the page is served over TLS: "https" is missing'
        coming = scep.rollover
        if coming is not None and coming.issuer not in config.issuers:
            where = ("endpoints", str(name), "rollover", "issuer")
            yield where, f'no issuer "{coming.issuer}"{did_you_mean(coming.issuer, config.issuers)}'


def _unpublishable(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield why the status of issuers' certificates can't be published."""
    for name, issuer in config.issuers.items():
        here: KeyPath = ("issuers", name, "status")
        if not isinstance(issuer, LocalIssuerConfig | Pkcs11IssuerConfig) or issuer.status.url is None:
            continue
        if config.listeners.http is None:
            yield here, f'{name}: its status is published over plain HTTP: the listener "http" is missing'
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or name.endswith("-delta"):
            yield here, f"{name}: this name can't be part of an address: write letters, digits, dots, dashes only"
