"""Taking the steps from a database's schema to this version's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from server.store.migrations import SchemaOutdated, SchemaUnknown, revision

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa
    from alembic.runtime.migration import MigrationContext


def scripts() -> ScriptDirectory:
    """Return the steps that there are."""
    return ScriptDirectory(str(Path(__file__).parent))


def take(connection: sa.Connection) -> None:
    """Take all steps that the database lacks, in the connection's transaction.

    Raises:
        SchemaUnknown: the database is of a newer version of the program.
    """
    known = scripts()

    def steps(found: Sequence[str] | str, _context: MigrationContext) -> list[object]:
        return list(known._upgrade_revs("head", found))  # type: ignore[arg-type]  # noqa: SLF001 - as alembic's own command does

    with EnvironmentContext(Config(), known, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        try:
            environment.run_migrations()
        except CommandError as error:
            raise SchemaUnknown(str(SchemaOutdated(revision(connection)))) from error
