"""Who may enroll by password or static challenge on a running server: the files of hashes, read again when they change.

What is wrong with a new file is told in the log and by ``/readyz``, and the last good one stays in force; each file for
itself, so that a mistake in one keeps nobody in whom another one has no more. What was verified before counts no longer
than its hash is in force: `server.credentials.hashes` remembers a secret by its hash.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import structlog

from policies.decision import Location
from policies.document import DocumentErrors, DocumentProblem
from server.credentials import load_challenge, load_passwords
from server.rounds import WATCH_SECONDS, when_changed
from server.stamps import stamps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from policies.request import EndpointName
    from server.app.secret_sources import KeyPath, Reader
    from server.config import Config
    from server.credentials import Authenticators

    Secrets = Mapping[str, str] | str

_log = structlog.get_logger("server.app")


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file of hashes.

    Attributes:
        endpoint: where they count.
        place: the key by which the configuration names it.
        path: where it is.
        kind: what of `Authenticators` it is.
    """

    endpoint: EndpointName
    place: KeyPath
    path: Path
    kind: Literal["passwords", "challenge"]

    def read(self, reader: Reader) -> Secrets:
        """Return what it says. Raises DocumentErrors."""
        reader.file(self.place, self.path)  # what can't be read is told where it is named
        return load_passwords(self.path) if self.kind == "passwords" else load_challenge(self.path)


def secret_files(config: Config) -> tuple[SecretFile, ...]:
    """Return the files of EST passwords, of static challenges and of the users of SCEP's pages."""
    found = []
    for name, est in config.endpoints.est.items():
        if est.authenticate.passwords is not None:
            place = ("endpoints", str(name), "authenticate", "passwords")
            found.append(SecretFile(name, place, est.authenticate.passwords, "passwords"))
    for name, scep in config.endpoints.scep.items():
        here, ways = ("endpoints", str(name), "challenge"), scep.challenge
        if ways is not None and ways.static is not None:
            found.append(SecretFile(name, (*here, "static"), ways.static, "challenge"))
        if ways is not None and ways.page is not None:
            found.append(SecretFile(name, (*here, "page", "users"), ways.page.users, "passwords"))
    return tuple(found)


class LiveSecrets:
    """The secrets in force.

    Args:
        authenticators: how requesters prove who they are. What files say is put there, now and when they change, so
            that nobody who judges a request has to ask for it.
        files: what is read; each endpoint is among `authenticators`.
        reader: reads them.

    Raises:
        DocumentErrors: everything that is wrong with the files.
    """

    def __init__(
        self, authenticators: dict[EndpointName, Authenticators], files: Sequence[SecretFile], reader: Reader
    ) -> None:
        self._authenticators = authenticators
        self._files = files
        self._reader = reader
        self._fault = ""
        self._busy = asyncio.Lock()
        self._seen = self._look()  # before they are read: what changes from now on is read again
        found, problems = self._read()
        if problems:
            raise DocumentErrors(problems)
        for file, secrets in found.items():
            self._put(file, secrets)

    @property
    def state(self) -> str:
        """``ok``, or ``ok`` with what is wrong with newer files: with these, the server would not start again."""
        return f"ok, but {self._fault}" if self._fault else "ok"

    async def begin(self) -> None:
        """Take what has changed since the server's start, before this process answers.

        A worker that follows a dead one has what was read at the server's start. Of a file that has changed and is bad
        now, it knows no last good one, and the first may admit who was removed since: it admits nobody.
        """
        if self._look() != self._seen:
            await self._take("nobody is admitted by what is wrong", forget=True)

    async def reload(self) -> bool:
        """Read all files anew and let the good ones count from now on. Returns whether all are good."""
        return await self._take("the last good secrets are in force", forget=False)

    async def watch(self, seconds: float = WATCH_SECONDS) -> None:
        """Reload whenever files have changed and stayed as they are for a while; until cancelled."""
        await when_changed(self._look, lambda: self._seen, self.reload, seconds, "secrets_not_watched")

    def _look(self) -> object:
        return stamps([file.path for file in self._files])

    async def _take(self, instead: str, *, forget: bool) -> bool:
        async with self._busy:
            seen = self._look()
            found, problems = await asyncio.to_thread(self._read)
            for file in self._files:
                if file in found and self._put(file, found[file]):
                    _log.warning("secrets taken", endpoint=str(file.endpoint), file=str(file.path))
                elif file not in found and forget:
                    self._put(file, {} if file.kind == "passwords" else None)
            for problem in problems:
                _log.error("secrets not taken", instead=instead, where=str(problem.location), problem=problem.message)
            if self._fault and not problems:
                _log.warning("the files of secrets are good again")
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            self._seen, self._fault = seen, f"{instead}: {problems[0]}{more}" if problems else ""
            return not problems

    def _read(self) -> tuple[Mapping[SecretFile, Secrets], list[DocumentProblem]]:
        """Return what good files say, and what is wrong with the others."""
        found, problems = dict[SecretFile, "Secrets"](), list[DocumentProblem]()
        for file in self._files:
            try:
                found[file] = file.read(self._reader)
            except DocumentErrors as errors:
                problems += errors.problems
            except Exception as error:  # noqa: BLE001 - one file must not keep the others from being read
                # What the error says might be a secret.
                message = f"can't be read: {type(error).__name__}"
                problems.append(DocumentProblem(Location(str(file.path), 1, 1), message))
        return found, problems

    def _put(self, file: SecretFile, secrets: Secrets | None) -> bool:
        """Let it count. Returns whether something else did before."""
        before, change = self._authenticators[file.endpoint], dict[str, Any]({file.kind: secrets})
        after = replace(before, **change)
        self._authenticators[file.endpoint] = after
        return after != before
