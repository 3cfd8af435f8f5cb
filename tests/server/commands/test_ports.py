"""Who has the addresses of the listeners, as ``certwright doctor`` tells it."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from server.commands.checks import Diagnosis, Level
from server.commands.ports import check_ports
from server.config import load_config
from server.http import SERVER
from tests.fakes.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

WITHOUT_WORD = "a Certwright is running on these addresses, and it does not say which"


def _on(folder: Path, ports: Mapping[str, int], name: str = "server.yaml") -> Path:
    """Return the configuration with these ports."""
    path, text = folder / name, (folder / "server.yaml").read_text()
    for listener, port in ports.items():
        start = text.index(f"  {listener}:")
        text = text[:start] + text[start:].replace("port: 0", f"port: {port}", 1)
    path.write_text(text)
    return path


async def _found(path: Path) -> list[Diagnosis]:
    return await asyncio.to_thread(lambda: list(check_ports(load_config(path))))


@asynccontextmanager
async def _answering(readyz: str, server: str = SERVER) -> AsyncIterator[int]:
    """Serve what is no whole server, and yield its port."""
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        text = "ok\n" if request.path == "/healthz" else readyz
        return web.Response(text=text, headers={"Server": server})

    app.router.add_get("/{any}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_addresses_that_nobody_has_are_free(folder: Path) -> None:
    assert [(each.level, each.message) for each in await _found(folder / "server.yaml")] == [
        (Level.OK, "all addresses are free")
    ]


async def test_a_running_server_is_no_reason_to_warn(folder: Path) -> None:
    async with running(load_config(folder / "server.yaml")) as (_, ports):
        found = await _found(_on(folder, ports))
    assert [(each.level, each.message) for each in found] == [(Level.OK, "Certwright is running on these addresses")]


async def test_the_server_of_another_installation_is_an_error_and_named(folder: Path) -> None:
    async with running(load_config(folder / "server.yaml")) as (_, ports):
        found = await _found(_on(folder, ports, "other.yaml"))
    assert [each.level for each in found] == [Level.ERROR] * len(ports)
    assert {each.way_out for each in found} == {
        f"stop the Certwright of {folder}/server.yaml, or choose another port",
    }


async def test_a_server_that_does_not_say_whose_it_is_may_be_another(folder: Path) -> None:
    for readyz in ("ok\n", "[]", '{"ready": true}', '{"configuration": 1}'):
        async with _answering(readyz) as port:
            (found,) = await _found(_on(folder, {"admin": port}, "fixed.yaml"))
        assert (found.level, found.message) == (Level.WARNING, WITHOUT_WORD)
        assert "admin listener" in found.way_out
    async with _answering("") as port:
        text = _on(folder, {"http": port}, "fixed.yaml").read_text()
        (folder / "fixed.yaml").write_text(re.sub(r"(?m)^  admin:.*\n(    .*\n)*", "", text))
        (found,) = await _found(folder / "fixed.yaml")
    assert (found.level, found.message) == (Level.WARNING, WITHOUT_WORD)


async def test_another_program_is_not_asked_whose_it_is(folder: Path) -> None:
    async with _answering(f'{{"configuration": "{folder}/fixed.yaml"}}', "nginx") as port:
        (found,) = await _found(_on(folder, {"admin": port}, "fixed.yaml"))
    assert (found.level, found.way_out) == (Level.ERROR, "stop the other program, or choose another port")


def test_another_program_on_an_address_and_an_address_elsewhere_are_errors(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        path = _on(folder, {"https": other.getsockname()[1]}, "fixed.yaml")
        (taken,) = check_ports(load_config(path))
    assert (taken.level, taken.way_out) == (Level.ERROR, "stop the other program, or choose another port")
    path.write_text(path.read_text().replace("address: 127.0.0.1", "address: 192.0.2.7", 1))
    (elsewhere,) = check_ports(load_config(path))
    assert "this machine does not have that address" in elsewhere.message
    assert elsewhere.way_out.startswith(f"correct it in {path}:")
