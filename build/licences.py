"""Collect the licence texts of everything that the executable bundles.

Run with the interpreter of the build environment; takes the names of the locked
runtime requirements, and the output file. Exits with 1 if a package does
not contain a licence text: then a person has to look for it.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

_LICENCE = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)


def bundled(requirements: Path) -> list[str]:
    """The names of the locked packages that are installed here."""
    names = re.findall(r"^([A-Za-z0-9._-]+)==", requirements.read_text(), re.MULTILINE)
    found = []
    for name in names:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python
        found.append(name)
    return found


def texts(name: str) -> list[str]:
    """The licence files of a package."""
    distribution = importlib.metadata.distribution(name)
    return [
        Path(str(file.locate())).read_text(errors="replace")
        for file in distribution.files or []
        if ".dist-info" in str(file) and _LICENCE.search(file.name)
    ]


def main() -> int:
    """Write the file."""
    requirements, output = Path(sys.argv[1]), Path(sys.argv[2])
    missing = []
    with output.open("w") as file:
        file.write("aks-audit-log bundles Python (PSF-2.0) and these packages:\n")
        for name in bundled(requirements):
            metadata = importlib.metadata.metadata(name).json
            licence = str(metadata.get("license_expression") or metadata.get("license") or "")
            file.write(
                f"\n{'=' * 78}\n{name} {metadata['version']}  {licence.partition(chr(10))[0]}\n\n"
            )
            found = texts(name)
            file.write("\n".join(found))
            if not found:
                missing.append(name)
    if missing:
        print(f"no licence text: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
