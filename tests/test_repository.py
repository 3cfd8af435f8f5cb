"""What holds for the repository as a whole."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ca", "policies", "server")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
NPM_LOCKS = sorted((ROOT / "requirements").glob("*/package-lock.json"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> int:
    return path.read_text("utf-8").count("\n")


def functions() -> dict[str, int]:
    """Every function and method with its number of lines, but not schema versions, which are lists of columns."""
    sizes = {}
    for path in [path for path in MODULES if path.parent.name != "versions"]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes[f"{relative(path)}:{node.lineno} {node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    return sizes


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_installs_a_package_of_this_name(package: str) -> None:
    assert set(importlib.metadata.packages_distributions().get(package, ())) <= {"certwright"}


def test_every_make_target_in_the_documents_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    documents = [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("server/*/README.md")]
    named = {name for path in documents for name in re.findall(r"`?make ([a-z-]+)(?:`|$)", path.read_text("utf-8"))}
    assert {"run", "test"} <= named <= targets


def test_make_takes_a_python_that_is_new_enough_and_can_make_environments() -> None:
    found = subprocess.run(
        ["make", "--no-print-directory", "--eval", "chosen: ; @echo $(PYTHON)", "chosen"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    asked = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    subprocess.run([found.stdout.strip(), "-c", asked], check=True)


def test_the_readme_names_every_command_and_no_other() -> None:
    table = (ROOT / "README.md").read_text("utf-8").partition("| `certwright …` | does |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    described = {command.split()[0] for row in rows for command in re.findall(r"`([^`]+)`", row)}
    help_text = subprocess.run(
        [Path(sys.executable).with_name("certwright"), "--help"], capture_output=True, text=True, check=True
    )
    offered = re.findall(r"^│ ([a-z]+) {2,}", help_text.stdout.partition("Commands")[2], re.MULTILINE)
    assert set(offered) == described


def test_every_file_that_the_readme_links_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert linked
    assert [name for name in linked if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*/README.md")) + sorted(ROOT.glob("server/*/README.md")), ids=relative
)
def test_every_test_that_a_readme_names_is_there(document: Path) -> None:
    text, files = document.read_text("utf-8"), sorted((ROOT / "tests").rglob("test_*.py"))
    functions = set(re.findall(r"def (test_\w+)", "".join(file.read_text("utf-8") for file in files)))
    assert set(re.findall(r"`(test_\w+)`", text)) <= functions
    named = set(re.findall(r"`([\w/]*test_\w+\.py)`", text))
    assert {name for name in named if not any(relative(file).endswith(name) for file in files)} == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "://" not in text
    assert "--index" not in text
    pinned = re.findall(
        r"^\S+==\S+(?: ; [^\\]+)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE
    )
    assert "".join(pinned) == text


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=lambda path: path.parent.name)
def test_a_lock_of_npm_pins_by_hash_and_names_no_place_to_get_packages_from(lock: Path) -> None:
    _, *packages = json.loads(lock.read_text("utf-8"))["packages"].values()
    assert packages
    for package in packages:
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package


@pytest.mark.parametrize("folder", sorted({relative(path.parent) for path in MODULES}))
def test_every_package_has_its_tests_where_it_is_mirrored(folder: str) -> None:
    """A package below a protocol's may be tested with it; what stands higher has tests of its own."""
    mirrors = [ROOT / "tests" / each for each in (Path(folder), *Path(folder).parents)][:-1]
    owners = mirrors[: max(1, len(mirrors) - 1)]
    assert any(list(owner.glob("test_*.py")) for owner in owners)


def test_modules_stay_small() -> None:
    sizes = {relative(path): lines(path) for path in MODULES}
    assert statistics.median(sizes.values()) <= 120
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= 350
    assert {name: size for name, size in sizes.items() if size > 600} == {}


def test_functions_stay_small() -> None:
    sizes = functions()
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= 35
    assert {name: size for name, size in sizes.items() if size > 60} == {}
