"""What policy files cost."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from policies.decision import Approved
from server.bench.policy import many, measure_deciding, measure_loading, question
from server.commands.bench import app

TEXT = """\
version: 1
profiles:
  # a comment
  pump:
    endpoints: [est/plant]
    issuer: issuing
    evidence: {any: [password]}
    key: {allowed: ["ec:P-256"]}
    subject: {allowed: {CN: {like: ["*"]}}}
    extended_key_usage: {forced: [clientAuth]}
    validity: {default: 90d}
tests:
  - name: a pump
    given: {endpoint: est/plant, subject: CN=pump}
    expect: {decision: approved}
"""


def test_many_files_are_made_of_few_and_read_with_their_tests() -> None:
    loading = measure_loading(many([TEXT], 20))
    assert (loading.profiles, loading.tests) == (20, 20)
    assert min(loading.reading, loading.testing) > 0
    asked = question("pump-7", endpoint="est/plant", subject="CN=pump")
    assert isinstance(loading.loaded.decide(asked), Approved)
    assert 0 < measure_deciding(loading.loaded, asked, 20) < 1


def test_a_file_that_fails_its_own_tests_gives_no_figures() -> None:
    with pytest.raises(ValueError, match="expected denied"):
        measure_loading(many([TEXT.replace("approved", "denied")], 1))


def test_a_file_without_a_profile_gives_no_figures() -> None:
    with pytest.raises(ValueError, match="begin with one profile"):
        many(["version: 1\n"], 1)


def test_the_command_prints_each_figure_with_its_budget() -> None:
    done = CliRunner().invoke(app, ["policy", "--profiles", "14", "--count", "10"])
    assert done.exit_code == 0, done.output
    for words in (
        "reading 14 profiles",
        "tests inside them, read and run",
        "by EST",
        "by SCEP",
        "by ACME",
        "CEL",
        "0.100 ms",
    ):
        assert words in done.output
