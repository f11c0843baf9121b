"""Run the fast tests on each supported Python on this machine, and name those that are missing.

Each Python has a virtual environment of its own in .work/, with the same locked requirements as
.venv. The classifiers of pyproject.toml name the Pythons on which this has passed, and only these.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
"""The Pythons for which the lock has wheels or sources."""
LOCK = ROOT / "build" / "requirements-dev.txt"
PROJECT = ROOT / "pyproject.toml"
FAST_TESTS = ("tests/unit", "tests/property")
NOT_HERE, PASSED, FAILED = "not here", "passed", "failed"


def candidates(version: str) -> Iterator[Path]:
    """Yield where an interpreter may be: in PATH, among those of pyenv, among those of uv."""
    in_path = shutil.which(f"python{version}")
    if in_path is not None:
        yield Path(in_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    data = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", data / "uv" / "python"))
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"))


def is_version(python: Path, version: str) -> bool:
    """Whether it runs with that version: pyenv has shims in PATH for versions that are missing."""
    tell = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([python, "-c", tell], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and asked.stdout.strip() == version


def find(version: str) -> Path | None:
    """Find an interpreter of a version."""
    return next((python for python in candidates(version) if is_version(python, version)), None)


def installed(python: Path, version: str) -> Path:
    """Install the locked requirements and this project; return the environment's interpreter."""
    environment = ROOT / ".work" / f"python-{version}"
    inside, stamp = environment / "bin" / "python", environment / ".installed"
    made_of = "\n".join((str(python), PROJECT.read_text(), LOCK.read_text()))
    if stamp.is_file() and stamp.read_text() == made_of:
        return inside
    subprocess.run([python, "-m", "venv", "--clear", environment], check=True)
    pip = (inside, "-m", "pip", "install", "--quiet")
    subprocess.run([*pip, "--require-hashes", "-r", LOCK], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", ROOT], check=True)
    stamp.write_text(made_of)
    return inside


def test(version: str, options: Sequence[str]) -> str:
    """Run the fast tests on one version, and return the result."""
    python = find(version)
    if python is None:
        return NOT_HERE
    print(f"== Python {version}: {python}", flush=True)
    try:
        command = [str(installed(python, version)), "-m", "pytest", *FAST_TESTS, *options]
        subprocess.run(command, cwd=ROOT, check=True)
    except subprocess.CalledProcessError:
        return FAILED
    return PASSED


def main() -> int:
    """Run the command line: 1 if a version failed, or if none is on this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", nargs="*", help="what pytest is given")
    options = parser.parse_args().options
    results = {version: test(version, options) for version in VERSIONS}
    print()
    for version, result in results.items():
        print(f"Python {version}: {result}")
    return 1 if FAILED in results.values() or PASSED not in results.values() else 0


if __name__ == "__main__":
    sys.exit(main())
