"""What is fuzzed: a name, a function that takes any octets, and octets to begin with.

``TARGETS`` of each module in ``targets/`` takes part: in the tests, which try each seed and changes of it that are the
same each time, and in ``make fuzz``, which looks for more under atheris. Octets that once broke something are kept in
``tests/vectors/fuzz/NAME``, where both find them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODULES = Path(__file__).resolve().parent / "targets"
KEPT = MODULES.parents[1] / "vectors" / "fuzz"


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder.

    Attributes:
        name: the protocol, a dot, and what is decoded; also the name of the folder of kept octets.
        run: decodes, and checks what must hold of the result. Whatever it raises is a fault.
        seeds: octets of which most are well-formed: the deeper they lead, the better.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]

    @property
    def folder(self) -> Path:
        """Where octets that once broke it are kept."""
        return KEPT / self.name

    def kept(self) -> list[bytes]:
        """Return them."""
        return [path.read_bytes() for path in sorted(self.folder.glob("*"))]


def tolerant(decode: Callable[[bytes], object], *refusals: type[Exception]) -> Callable[[bytes], object]:
    """Return the decoder for a target: it may refuse octets in its own ways, and in no other."""

    def run(octets: bytes) -> object:
        try:
            return decode(octets)
        except refusals:
            return None

    return run


def targets() -> tuple[Target, ...]:
    """Return all of them."""
    names = sorted(path.stem for path in MODULES.glob("*.py"))
    modules = [importlib.import_module(f"tests.fuzz.targets.{name}") for name in names]
    return tuple(target for module in modules for target in module.TARGETS)


def variants(seed: bytes) -> Iterator[bytes]:
    """Yield octets near the seed, the same each time: cut, changed, doubled, with a hole."""
    yield seed
    yield seed + seed
    size = len(seed)
    for place in range(0, size, max(1, size // 24)):
        yield seed[:place]
        yield seed[place:]
        yield seed[:place] + seed[place + 1 :]
    for place in range(0, size, max(1, size // 96)):
        for change in (0x01, 0x20, 0x80, 0xFF):
            yield seed[:place] + bytes((seed[place] ^ change,)) + seed[place + 1 :]
