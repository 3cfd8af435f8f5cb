"""Make the development deployment in this folder: what `certwright init` makes, beside this script and its README."""

from __future__ import annotations

import sys
from pathlib import Path

from server.clock import system_clock
from server.deployment.hints import first_steps
from server.deployment.making import DeploymentRefused, create

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Make it and say what was made; 1 when there is one already."""
    try:
        deployment = create(HERE, clock=system_clock, beside=("README.md", Path(__file__).name))
    except DeploymentRefused as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{first_steps(deployment)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
