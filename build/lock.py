"""Write the locked requirements, or check that they agree with pyproject.toml.

There is one file for each purpose, each for all platforms and for Python 3.11 and
newer, with hashes and without index addresses. (3.14 was checked: all pins have
wheels for it, except qpid-proton, which is built from source.) Pins do not change
without ``--upgrade``.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = "requirements.txt"
GROUPS = {
    "requirements-binary.txt": "binary",
    "requirements-deploy.txt": "deploy",
    "requirements-dev.txt": "dev",
    "requirements-supply.txt": "supply",
}
"""The files beside `RUNTIME`, and the dependency group that each adds to it."""


def compile_into(folder: Path, *, upgrade: bool) -> None:
    """Resolve all files in a folder; existing pins are kept."""
    runtime = folder / RUNTIME
    _compile(runtime, upgrade=upgrade)
    for file, group in GROUPS.items():
        _compile(folder / file, "--group", group, "--constraints", str(runtime), upgrade=upgrade)


def _compile(file: Path, *extra: str, upgrade: bool) -> None:
    uv = Path(sys.executable).with_name("uv")
    command = [
        str(uv), "pip", "compile", "pyproject.toml", "--quiet", "--universal",
        "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url",
        "--no-annotate", "--custom-compile-command", "make lock",
        *extra, "--output-file", str(file),
    ]  # fmt: skip
    if upgrade:
        command.append("--upgrade")
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def check() -> int:
    """Compile copies of the locked files; if there is a difference, the files are stale."""
    files = (RUNTIME, *GROUPS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in files:
            shutil.copy(ROOT / "build" / file, folder)
        compile_into(folder, upgrade=False)
        stale = [
            file
            for file in files
            if (folder / file).read_text() != (ROOT / "build" / file).read_text()
        ]
    for file in stale:
        print(f"build/{file} is not what pyproject.toml asks for: run `make lock`", file=sys.stderr)
    return 1 if stale else 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if stale")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    compile_into(ROOT / "build", upgrade=arguments.upgrade)
    return 0


if __name__ == "__main__":
    sys.exit(main())
