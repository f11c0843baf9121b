"""What this is: the versions that logs, metrics and ``--version`` tell."""

import importlib.metadata
import importlib.resources
import platform


def version() -> str:
    """The version of the installed distribution."""
    return importlib.metadata.version("aks-audit-log")


def commit() -> str:
    """The commit that an executable was built from; "source" where it runs from the source."""
    file = importlib.resources.files(__package__) / "commit"
    return file.read_text().strip() if file.is_file() else "source"


def python_version() -> str:
    """The version of the running Python."""
    return platform.python_version()


def sdk_version() -> str:
    """The version of azure-eventhub."""
    return importlib.metadata.version("azure-eventhub")
