"""The configuration as a shell and a new process see it."""

import subprocess
import sys
from pathlib import Path

from aks_audit.config.load import load
from aks_audit.config.variables import VARIABLES
from tests.configs import GOOD, problems

ROOT = Path(__file__).parents[2]


def test_loading_does_not_import_the_sdk() -> None:
    # The error path has to be quick, and the SDK takes longer than all the rest.
    code = "import sys, aks_audit.config.settings; print('azure.eventhub' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def _sourced_example() -> dict[str, str]:
    command = "set -eu; . ./.envrc.example; env -0"
    done = subprocess.run(
        ["env", "-i", "/bin/sh", "-c", command], cwd=ROOT, capture_output=True, check=True
    )
    pairs = (entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    return {name: value for name, value in pairs if name not in {"PWD", "OLDPWD", "_", "SHLVL"}}


class TestExample:
    def test_it_has_every_variable_with_its_default(self) -> None:
        environ = _sourced_example()
        assert list(environ.keys() ^ {variable.name for variable in VARIABLES}) == []
        for variable in VARIABLES:
            if "required" not in variable.absent:
                assert environ[variable.name] == (variable.default or "")

    def test_unmodified_it_names_exactly_what_is_to_be_filled_in(self) -> None:
        wrong = "still holds the example's placeholder: fill in your own value"
        assert problems(_sourced_example()) == dict.fromkeys(GOOD, wrong)

    def test_filled_in_it_is_the_default_configuration(self) -> None:
        assert load(_sourced_example() | GOOD) == load(GOOD)

    def test_every_variable_has_a_comment(self) -> None:
        text = (ROOT / ".envrc.example").read_text()
        for variable in VARIABLES:
            comment, _, _ = text.partition(f"export {variable.name}=")
            paragraph = comment.rpartition("\n\n")[2].replace("\n# ", " ")
            assert paragraph.startswith(f"# {variable.doc}")
