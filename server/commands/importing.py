"""``certwright policy import``: another product's profile as a policy file, with what could not be carried over."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from policies.document import DocumentErrors
from policies.nodes import MalformedText, read_nodes
from policies.profile import parse_policy
from policies.request import Protocol
from server.commands import record
from server.commands.importers import FORMATS, Imported, NotImportable

_EVIDENCE = {Protocol.EST: ["password", "certificate"], Protocol.SCEP: ["challenge"], Protocol.ACME: ["account"]}
_ORDER = (
    "description",
    "endpoints",
    "issuer",
    "evidence",
    "key",
    "subject",
    "names",
    "key_usage",
    "extended_key_usage",
)


def import_profile(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help=f"What it is: {', '.join(FORMATS)}.")],
    file: Annotated[Path, typer.Argument(help="JSON or YAML: a role, a policy, a whole configuration, or one entry.")],
    *,
    entry: Annotated[str | None, typer.Option(help="Which profile or provisioner of a whole configuration.")] = None,
    name: Annotated[str, typer.Option(help="The new profile's name.")] = "imported",
    endpoint: Annotated[str, typer.Option(help="Where it is for, like est/default.")] = "est/default",
    issuer: Annotated[str, typer.Option(help="The issuer that signs.")] = "issuing",
) -> None:
    """Print another product's profile as a policy file, and on stderr what could not be carried over.

    Exit status 1 when the result needs mending before it can be read.
    """
    if kind not in FORMATS:
        record.turn_away(f'"{kind}" is no known format; there are {", ".join(FORMATS)}')
    protocol = endpoint.partition("/")[0]
    if protocol not in set(Protocol):
        record.turn_away("an endpoint is written like est/default")
    try:
        made = FORMATS[kind](_entry(_content(file), kind, entry))
    except OSError as error:
        record.turn_away(f"{file}: can't be read: {error.strerror}")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        cause = error if isinstance(error, NotImportable) else f"not a {kind} profile in JSON ({error})"
        record.turn_away(f"{file}: {cause}")
    head = {"description": f"Imported from {kind}: {file.name}", "endpoints": [endpoint], "issuer": issuer}
    text = policy_text(name, {**head, "evidence": {"any": _EVIDENCE[Protocol(protocol)]}, **made.sections}, made)
    typer.echo(text, nl=False)
    for sentence in made.left:
        typer.echo(f"not carried over: {sentence}", err=True)
    try:
        parse_policy(text, "imported")
    except DocumentErrors as errors:
        typer.echo(f"to be mended:\n{errors}", err=True)
        raise typer.Exit(1) from errors


def _content(file: Path) -> object:
    """Read JSON or YAML. Raises OSError, ValueError."""
    text = file.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        try:
            return read_nodes(text).plain()
        except MalformedText:
            raise error from None


def _entry(content: Any, kind: str, name: str | None) -> object:
    """Return the part of a whole configuration that is meant. Raises NotImportable when that is not clear."""
    if kind == "cfssl" and isinstance(content, dict) and isinstance(content.get("signing"), dict):
        signing = content["signing"]
        entries = {"default": signing.get("default"), **(signing.get("profiles") or {})}
    elif kind == "step-ca" and isinstance(content, dict) and isinstance(content.get("authority"), dict):
        entries = {each["name"]: each for each in content["authority"].get("provisioners", ())}
    else:
        return content
    if name is None and len(entries) == 1:
        return next(iter(entries.values()))
    if name not in entries:
        raise NotImportable(f"which entry is meant? Write --entry with one of {', '.join(sorted(entries))}")
    return entries[name]


def policy_text(name: str, sections: dict[str, Any], made: Imported) -> str:
    """Return a policy file with one profile; what was left is in comments."""
    ordered = {key: sections[key] for key in (*_ORDER, *sections) if key in sections}
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    out = io.StringIO()
    out.writelines(f"# not carried over: {' '.join(sentence.split())}\n" for sentence in made.left)
    yaml.dump({"version": 1, "profiles": {name: ordered}}, out)
    return out.getvalue()
