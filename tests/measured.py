"""A pytest plugin, loaded by `make coverage` only: measures processes with an exact environment.

coverage tells the processes that the tests start, in an environment variable, that they are
measured too. Most forwarders are started with exactly the environment that a test gives them, so
the variable is added there.
"""

import os
import subprocess
from collections.abc import Mapping
from typing import Any

VARIABLE = "COVERAGE_PROCESS_CONFIG"

_popen: Any = subprocess.Popen
_start = _popen.__init__


def _start_measured(
    process: "subprocess.Popen[Any]",
    *args: Any,
    env: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> None:
    if env is not None:
        env = {**env, VARIABLE: os.environ[VARIABLE]}
    _start(process, *args, env=env, **kwargs)


_popen.__init__ = _start_measured
