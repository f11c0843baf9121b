"""Settings that are right, and what is wrong with others."""

import pytest

from aks_audit.config.load import ConfigError, load
from aks_audit.config.settings import Config

HUB = "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=a2V5a2V5"
BLOB = "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=YmxvYmtleQ=="
URL = "http://falco:9765/k8s-audit"
GOOD = {
    "EHUBNAMESPACECONNECTIONSTRING": HUB,
    "BLOBSTORAGECONNECTIONSTRING": BLOB,
    "WEBSINKURL": URL,
}


def with_(**more: str) -> Config:
    return load(GOOD | more)


def problems(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    error = caught.value
    for problem in error.problems:
        assert problem.variable in str(error)
        assert problem.wrong in str(error)
        assert problem.example in str(error)
    return {problem.variable: problem.wrong for problem in error.problems}


def problem(**more: str) -> str:
    """The one problem that these settings make; it belongs to the last of them."""
    found = problems(GOOD | more)
    assert list(found) == [list(more)[-1]]
    return found.popitem()[1]
