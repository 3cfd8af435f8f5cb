from __future__ import annotations

import ast
from pathlib import Path

import pytest

import server
from ca.issuer import Permit, PermitMismatch, PermitSpent
from tests.fakes.door import ISSUER
from tests.fakes.issuer import make_plan

ROOT = Path(server.__file__).parent.parent


def calls(path: Path) -> set[str]:
    """Return the names that a module calls."""
    nodes = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }


def test_permits_are_made_behind_the_one_door_and_nowhere_else() -> None:
    modules = [path for folder in ("ca", "policies", "server") for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 50
    assert [path.relative_to(ROOT).as_posix() for path in modules if "Permit" in calls(path)] == ["server/issuance.py"]


def test_issuance_is_reached_by_the_door_only() -> None:
    users = [path for path in (ROOT / "server").rglob("*.py") if "server.issuance" in path.read_text()]
    assert {path.parent.name for path in users} == {"enrollment"}


async def test_a_permit_signs_once() -> None:
    plan = make_plan()
    permit = Permit("request", plan, 17)
    await ISSUER.issue(permit, plan, 17)
    with pytest.raises(PermitSpent):
        await ISSUER.issue(permit, plan, 17)


@pytest.mark.parametrize(("profile", "serial"), [("other", 17), ("device", 18)])
async def test_a_permit_signs_its_own_plan_and_serial_only(profile: str, serial: int) -> None:
    plan = make_plan()
    permit = Permit("request", plan, 17)
    with pytest.raises(PermitMismatch):
        await ISSUER.issue(permit, make_plan(spki=plan.spki, profile=profile), serial)
    with pytest.raises(PermitSpent):
        await ISSUER.issue(permit, plan, 17)
