"""The command line of the conformance suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "the server that the conformance suites run against, instead of our own")
    group.addoption("--directory", metavar="URL", help="its ACME directory")
    group.addoption("--ca", type=Path, metavar="FILE", help="the CA of its TLS certificate, in PEM")
    group.addoption("--domain", default="localhost", help="every name below it leads to this machine")
    group.addoption("--http01-port", type=int, default=5002, help="where it looks for http-01 answers on this machine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "checks(id): the line of the checklist that a test is about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A server of the command line may be anywhere; otherwise tests reach this machine only."""
    if config.getoption("directory", None):
        for item in items:
            item.add_marker("enable_socket")
