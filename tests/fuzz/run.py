"""Fuzz under atheris: ``make fuzz``; what breaks something is kept where the tests try it from then on.

Each target runs in a process of its own, for libFuzzer ends the one that it runs in.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import atheris

from tests.fuzz.target import targets

CORPORA = Path(".fuzz")


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target; does not return."""
    with atheris.instrument_imports(include=["ca", "policies", "server"]):
        (target,) = (each for each in targets() if each.name == name)
    corpus = CORPORA / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate((*target.seeds, *target.kept())):
        (corpus / f"seed-{number}").write_bytes(seed)
    target.folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", "-timeout=10", "-max_len=70000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={target.folder}/", str(corpus)], target.run)
    atheris.Fuzz()


def main() -> None:
    """Fuzz the targets whose names begin as told, one after the other; fail when one of them broke."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--alone", help="the name of the one target to fuzz in this process")
    parser.add_argument("beginnings", nargs="*", help="of names of targets; all without any")
    asked = parser.parse_args()
    if asked.alone:
        fuzz(asked.alone, asked.seconds)
    broken = []
    for target in targets():
        if asked.beginnings and not target.name.startswith(tuple(asked.beginnings)):
            continue
        print(f"== {target.name}: {asked.seconds} s", flush=True)  # noqa: T201 - a program for people
        command = [sys.executable, "-m", "tests.fuzz.run", "--seconds", str(asked.seconds), "--alone", target.name]
        if subprocess.run(command, check=False).returncode:
            broken.append(target.name)
        elif target.folder.exists() and not any(target.folder.iterdir()):
            target.folder.rmdir()
    sys.exit(f"broken: {', '.join(broken)}; the octets are in tests/vectors/fuzz" if broken else 0)


if __name__ == "__main__":
    main()
