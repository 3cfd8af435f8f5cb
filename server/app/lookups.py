"""What is gathered about a request before the policy judges it: look-ups in other systems, and counts of the record.

Whatever goes wrong becomes an answer with an error, which denies.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import hmac
import io
import json
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import structlog

from ca.names import DnsName
from policies.document import DocumentErrors
from policies.request import Facts, Kind, LookupAnswer, requester_name
from server.app.directory import Directory, DirectoryError
from server.store import StoreUnavailable, holdings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import sqlalchemy as sa

    from policies.document import DocumentProblem
    from policies.profile import Profile
    from policies.request import EnrollmentRequest
    from policies.sections import Lookup, Quota
    from server.app.live_policies import LivePolicies
    from server.app.secret_sources import Reader
    from server.config import Config
    from server.config.lookups import LdapSource as LdapSettings
    from server.config.lookups import LookupSource
    from server.store import Store

_log = structlog.get_logger("server.lookups")

SIGNATURE = "X-Certwright-Signature"
"""The header with ``sha256=`` and the HMAC-SHA-256, in hex, of the body that is posted."""
_ANSWER_LIMIT = 64 * 1024
_REMEMBERED = 10_000
_CSV_LIMIT = 64 * 1024 * 1024
Values = tuple[tuple[str, str], ...]


class LookupFailed(Exception):
    """There is no answer; the text says why, for administrators."""


class Source(Protocol):
    """Knows things about keys."""

    async def find(self, key: str) -> Values | None:
        """Return what is known of a key, None for nothing. Raises LookupFailed."""

    async def close(self) -> None:
        """Let go of connections."""


class TableSource:
    """Answers from a table."""

    def __init__(self, table: Mapping[str, Mapping[str, str]]) -> None:
        self._table = {key: tuple(values.items()) for key, values in table.items()}

    async def find(self, key: str) -> Values | None:
        """Return the row."""
        return self._table.get(key)

    async def close(self) -> None:
        """Nothing is open."""


class CsvSource:
    """Answers from a CSV file, which is read again when it changes; its first column is the key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._rows: dict[str, Values] = {}

    async def find(self, key: str) -> Values | None:
        """Return the row."""
        await asyncio.to_thread(self.refresh)
        return self._rows.get(key)

    def refresh(self) -> None:
        """Read the file if it has changed. Raises LookupFailed."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp == self._stamp:
                return
            if found.st_size > _CSV_LIMIT:
                raise LookupFailed(f"{self._path} is longer than {_CSV_LIMIT >> 20} MiB")
            headings, *rows = csv.reader(io.StringIO(self._path.read_text(encoding="utf-8-sig")), strict=True)
            self._rows = {row[0]: tuple(zip(headings[1:], row[1:], strict=True)) for row in rows if row}
        except (OSError, ValueError, csv.Error) as error:
            raise LookupFailed(f"{self._path} can't be read: {error}") from error
        self._stamp = stamp

    async def close(self) -> None:
        """Nothing is open."""


class HttpSource:
    """Answers from a service: a question is posted as JSON, signed; 404 says that nothing is known."""

    def __init__(self, url: str, secret: bytes, timeout: float) -> None:
        self._url = url
        self._secret = secret
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def find(self, key: str) -> Values | None:
        """Ask the service."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        body = json.dumps({"key": key}).encode()
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", SIGNATURE: f"sha256={signature}"}
        try:
            request = self._session.post(self._url, data=body, headers=headers, allow_redirects=False)
            async with request as reply:
                if reply.status == 404:
                    return None
                if reply.status != 200:
                    raise LookupFailed(f"{self._url} answers with status {reply.status}")
                answer = await reply.content.read(_ANSWER_LIMIT + 1)
                while not reply.content.at_eof() and len(answer) <= _ANSWER_LIMIT:
                    answer += await reply.content.read(_ANSWER_LIMIT + 1)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LookupFailed(f"{self._url} does not answer: {error!r}") from error
        return _values(answer)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


class LdapSource:
    """Answers from a directory."""

    def __init__(self, directory: Directory, timeout: float) -> None:
        self._directory = directory
        self._timeout = timeout

    async def find(self, key: str) -> Values | None:
        """Search for the one entry."""
        try:
            return await self._directory.find(key, self._timeout)
        except DirectoryError as error:
            raise LookupFailed(f"{self._directory.url}: {error}") from error

    async def close(self) -> None:
        """Nothing stays open."""


def _values(answer: bytes) -> Values:
    if len(answer) > _ANSWER_LIMIT:
        raise LookupFailed("the answer is too long")
    try:
        content = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise LookupFailed("the answer is not JSON") from error
    if not isinstance(content, dict):
        raise LookupFailed("the answer is no JSON object")
    return tuple((name, _text(value)) for name, value in content.items())


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            raise LookupFailed("the answer has values that are no text, number, true or false")


class Remembering:
    """A source with its configured name, whose answers are used again for a while; errors are not."""

    def __init__(self, name: str, source: Source, seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self._source = source
        self._seconds = seconds
        self._clock = clock
        self._known: dict[str, tuple[float, Values | None]] = {}

    async def find(self, key: str) -> tuple[Values | None, int]:
        """Return what is known, and how many seconds ago it was. Raises LookupFailed."""
        now = self._clock()
        known = self._known.get(key)
        if known is not None and now - known[0] < self._seconds:
            return known[1], int(now - known[0])
        values = await self._source.find(key)
        self._known.pop(key, None)
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = (now, values)
        return values, 0

    async def close(self) -> None:
        """Let go of connections."""
        await self._source.close()


def load_sources(config: Config, reader: Reader, clock: Callable[[], float]) -> dict[str, Remembering]:
    """Make the configured sources. Raises DocumentErrors for files and secrets that can't be read."""
    problems: list[DocumentProblem] = []
    sources: dict[str, Remembering] = {}
    for name, settings in config.lookups.items():
        here = ("lookups", name)
        try:
            source = _source(here, settings, reader)
        except DocumentErrors as errors:
            problems += errors.problems
        except LookupFailed as error:
            problems.append(config.problem(here, str(error)))
        else:
            local = settings.http is None and settings.ldap is None
            seconds = 0.0 if local else settings.cache.total_seconds()
            sources[name] = Remembering(name, source, seconds, clock)
    if problems:
        raise DocumentErrors(problems)
    return sources


def _source(here: tuple[str, ...], settings: LookupSource, reader: Reader) -> Source:
    if settings.table is not None:
        return TableSource(settings.table)
    if settings.csv is not None:
        file = CsvSource(settings.csv)
        file.refresh()
        return file
    if settings.ldap is not None:
        return LdapSource(_directory((*here, "ldap"), settings.ldap, reader), settings.timeout_seconds)
    if settings.http is None or settings.secret is None:
        raise LookupFailed("nothing to look up in")
    return HttpSource(settings.http, reader.secret((*here, "secret"), settings.secret), settings.timeout_seconds)


def _directory(here: tuple[str, ...], settings: LdapSettings, reader: Reader) -> Directory:
    password = b"" if settings.password is None else reader.secret((*here, "password"), settings.password)
    tls = None
    if settings.start_tls or settings.url.startswith("ldaps:"):
        trust = settings.trust
        pem = None if trust is None else reader.file((*here, "trust"), trust).decode("ascii", "replace")
        try:
            tls = ssl.create_default_context(cadata=pem)
        except ssl.SSLError as error:
            raise LookupFailed(f"{trust} holds no PEM certificates") from error
    return Directory(
        url=settings.url,
        base=settings.base,
        attribute=settings.attribute,
        fields=settings.fields,
        object_class=settings.object_class,
        user=settings.user or "",
        password=password,
        tls=tls,
        start_tls=settings.start_tls,
    )


class Gatherer:
    """Gathers what the profile of a request wants to know. Never raises."""

    def __init__(self, store: Store, policies: LivePolicies, sources: Mapping[str, Remembering]) -> None:
        self._store = store
        self._policies = policies
        self._sources = sources

    async def __call__(self, request: EnrollmentRequest) -> EnrollmentRequest:
        """Return the request with its facts, the same when its profile wants none."""
        origin = await self._find_origin(request)
        if origin is not None:
            request = replace(request, facts=Facts(origin=origin))
        profile = self._policies.select_for(request)
        if profile is None or not profile.prepared(_wants_facts):
            return request
        lookups = profile.sections.lookups.items()
        answers = await asyncio.gather(*(self._look_up(name, lookup, request) for name, lookup in lookups))
        facts = Facts(tuple(answers), origin=origin)
        if profile.sections.quota is not None:
            facts = await self._count(request, profile, profile.sections.quota, facts)
        facts = await self._count_key(request, profile, facts)
        if profile.sections.key.reuse != "any":
            facts = await self._find_holders(request, facts)
        return replace(request, facts=facts)

    async def _find_origin(self, request: EnrollmentRequest) -> str | None:
        """Return who asked for the first certificate of the line that is renewed, where a profile wants names."""
        old = request.renewed
        if old is None or request.kind is not Kind.RENEW or not self._policies.personal:
            return None
        try:
            return await self._store.read(lambda c: holdings.find_origin(c, old.serial))
        except StoreUnavailable:
            _log.exception("looking for the first certificate failed", serial=f"{old.serial:x}")
            return None

    async def _look_up(self, name: str, lookup: Lookup, request: EnrollmentRequest) -> LookupAnswer:
        source, keys = self._sources.get(lookup.source), _keys(lookup, request)
        if source is None:
            return LookupAnswer(name, lookup.source, error="there is no such source")
        if len(keys) != 1 or not keys[0]:
            return LookupAnswer(name, lookup.source, error=f"the request has not one {lookup.key}, but {len(keys)}")
        try:
            values, age = await source.find(keys[0])
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
            cause = str(error) if isinstance(error, LookupFailed) else repr(error)
            _log.warning("lookup failed", lookup=name, source=lookup.source, detail=cause)
            return LookupAnswer(name, lookup.source, error=cause)
        return LookupAnswer(name, lookup.source, values is not None, values or (), age)

    async def _count(self, request: EnrollmentRequest, profile: Profile, quota: Quota, facts: Facts) -> Facts:
        def counted(connection: sa.Connection) -> Facts:
            found, name = facts, profile.name
            if quota.active is not None:
                found = replace(found, active=holdings.count_active(connection, request, name))
            if quota.per_requester is not None:
                since = request.now - quota.per_requester.period
                number = holdings.count_issued(connection, request, name, since, to_requester=True)
                found = replace(found, issued_to_requester=number)
            if quota.per_profile is not None:
                since = request.now - quota.per_profile.period
                number = holdings.count_issued(connection, request, name, since, to_requester=False)
                found = replace(found, issued_under_profile=number)
            return found

        try:
            return await self._store.read(counted)
        except StoreUnavailable:
            _log.exception("counting failed", profile=profile.name)
            return facts

    async def _count_key(self, request: EnrollmentRequest, profile: Profile, facts: Facts) -> Facts:
        section, old = profile.sections.renewal, request.renewed
        most = section.key_renewals if section is not None else None
        if most is None or old is None or old.spki != request.csr.spki:
            return facts
        try:
            before = await self._store.read(lambda c: holdings.count_key_renewals(c, old, most))
        except StoreUnavailable:
            _log.exception("counting failed", profile=profile.name)
            return facts
        return replace(facts, key_renewals=before)

    async def _find_holders(self, request: EnrollmentRequest, facts: Facts) -> Facts:
        try:
            holders = await self._store.read(lambda c: holdings.find_key_holders(c, request))
        except StoreUnavailable:
            _log.exception("looking for the key failed", endpoint=str(request.endpoint))
            return facts
        return replace(facts, key_holders=holders)


def _wants_facts(profile: Profile) -> bool:
    sections = profile.sections
    limits_keys = sections.renewal is not None and sections.renewal.key_renewals is not None
    return limits_keys or bool(sections.lookups) or sections.quota is not None or sections.key.reuse != "any"


def _keys(lookup: Lookup, request: EnrollmentRequest) -> tuple[str, ...]:
    csr = request.csr
    match lookup.key:
        case "requester":
            return (requester_name(request),)
        case "CN":
            return csr.subject.common_names
        case "serialNumber":
            return csr.subject.values("2.5.4.5")
        case "dns":
            return tuple(str(name.value) for name in csr.names if isinstance(name, DnsName))
