"""Mutation testing of the policy engine: changes one thing in a module and sees whether its tests notice.

``make mutation`` runs it; ARGS="policies/rules/key.py --most 50" selects. It is no part of the build: it takes long.
What survives is printed with its line, to be looked at by a person: some changes make no difference that matters.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random  # noqa: TID251 - a seed chooses among mutants, nothing secret
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
RULES = sorted(path.relative_to(ROOT) for path in (ROOT / "policies" / "rules").glob("[a-z]*.py"))
ENGINE = [Path("policies") / f"{name}.py" for name in ("engine", "asked", "profile_set", "patterns", "expressions")]
ALWAYS = (
    "tests/policies/rules",
    *(f"tests/policies/test_{name}.py" for name in ("engine", "placeholders", "unmodelled")),
)
SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
SECONDS = 120


@dataclass(frozen=True)
class Mutant:
    """One change: the file, its number there, its line, what was changed, and the changed module."""

    file: Path
    number: int
    line: int
    what: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def changed(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what can be put in a node's place."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            new = copy.deepcopy(node)
            new.ops = [SWAPS[type(op)]()]
            yield ast.unparse(new), new
        case ast.BoolOp():
            new_bool = copy.deepcopy(node)
            new_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield ast.unparse(new_bool), new_bool
        case ast.UnaryOp(op=ast.Not()):
            yield ast.unparse(node.operand), node.operand
        case ast.Constant(value=bool() as value):
            yield str(not value), ast.Constant(not value)
        case ast.Expr(value=ast.Call()):
            yield f"without {ast.unparse(node)[:60]}", ast.Pass()
        case ast.If():
            yield f"always {ast.unparse(node.test)[:60]}", ast.If(ast.Constant(value=True), node.body, node.orelse)
        case _:
            return


def mutants(file: Path) -> Iterator[Mutant]:
    """Yield every change of a module, outside of what is for type checkers only."""
    source = (ROOT / file).read_text("utf-8")
    count = 0
    for index in range(sum(1 for _ in ast.walk(ast.parse(source)))):
        tree = ast.parse(source)
        target = next(node for at, node in enumerate(ast.walk(tree)) if at == index)
        for what, new in changed(target):
            if isinstance(target, ast.If) and ast.unparse(target.test) == "TYPE_CHECKING":
                continue
            for parent in ast.walk(tree):
                for name, value in ast.iter_fields(parent):
                    if value is target:
                        setattr(parent, name, new)
                    elif isinstance(value, list) and any(one is target for one in value):
                        setattr(parent, name, [new if one is target else one for one in value])
            yield Mutant(
                file, count, getattr(target, "lineno", 0), what, ast.fix_missing_locations(copy.deepcopy(tree))
            )
            count += 1


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the mutant instead of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = ".".join(mutant.file.with_suffix("").parts)

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        del path, target
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(ROOT / self.mutant.file)
        exec(compile(self.mutant.tree, str(self.mutant.file), "exec"), module.__dict__)  # noqa: S102 - that is the point


def survives(mutant: Mutant) -> bool:
    """Whether the tests pass with the mutant, in a process of its own."""
    command = [sys.executable, __file__, "--one", f"{mutant.file}:{mutant.number}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def test_one(which: str) -> int:
    """Run the tests of one mutant's module, with the mutant in its place."""
    file, _, number = which.rpartition(":")
    (mutant,) = (one for one in mutants(Path(file)) if one.number == int(number))
    own = Path("tests") / mutant.file.parent / f"test_{mutant.file.name}"
    tests = [*ALWAYS, *([str(own)] if own.exists() and "rules" not in own.parts else [])]
    sys.meta_path.insert(0, Loader(mutant))
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", *tests]))


def main(arguments: Sequence[str]) -> int:
    """Run mutants, at most so many; exit status 1 when some survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="modules, by default the engine and its rules")
    parser.add_argument("--most", type=int, default=100_000, help="no more mutants than so many, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    if options.one:
        return test_one(options.one)
    every = [mutant for file in options.files or [*RULES, *ENGINE] for mutant in mutants(file)]
    Random(options.seed).shuffle(every)  # noqa: S311 - nothing secret
    chosen = every[: options.most]
    survivors = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number, (mutant, alive) in enumerate(zip(chosen, threads.map(survives, chosen), strict=True), 1):
            if alive:
                survivors.append(mutant)
                sys.stdout.write(f"survives: {mutant}\n")
                sys.stdout.flush()
            sys.stderr.write(f"\r{number} of {len(chosen)}, {len(survivors)} alive ")
    sys.stdout.write(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants are killed ({len(every)} there are)\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
