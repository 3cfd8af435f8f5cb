"""Foreign clients that are not installed."""

from __future__ import annotations

import pytest

from tests.wire.running import require_program, run


def test_a_client_that_is_not_installed_skips_the_test_that_runs_it_and_says_what_to_install() -> None:
    with pytest.raises(pytest.skip.Exception, match="no-such-client is not installed: apt-get install no-such-client"):
        run("no-such-client", "--version")


def test_a_package_may_have_another_name_than_its_program() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"apt-get install clients$"):
        require_program("no-such-client", "apt-get install clients")
