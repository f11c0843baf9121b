"""One SQLite file, and several processes that use it."""

import json
import subprocess
import sys
from pathlib import Path

from aks_audit.checkpoints.sqlite import SqliteStore

SCOPE = ("x.servicebus.windows.net", "insights-logs-kube-audit", "$Default")


def owners(store: SqliteStore) -> dict[str, str]:
    return {one["partition_id"]: one["owner_id"] for one in store.list_ownership(*SCOPE)}


def checkpoints(store: SqliteStore) -> dict[str, tuple[int, str]]:
    return {
        one["partition_id"]: (one["sequence_number"], one["offset"])
        for one in store.list_checkpoints(*SCOPE)
    }


RIVAL = """
import json, sys
from pathlib import Path
from aks_audit.model import Position
from aks_audit.checkpoints.sqlite import SqliteStore

file, me = sys.argv[1:]
store = SqliteStore(Path(file))
scope = ("x.servicebus.windows.net", "insights-logs-kube-audit", "$Default")
names = ("fully_qualified_namespace", "eventhub_name", "consumer_group", "partition_id")
print("ready", flush=True)
sys.stdin.readline()
won = []
for number in range(25):
    key = dict(zip(names, (*scope, str(number))))
    won += [one["partition_id"] for one in store.claim_ownership([{**key, "owner_id": me}])]
    for name in ("shared", me):
        store.create((*scope, name), Position(0, "7"))
    store.fence((*scope, me), me)
    store.advance((*scope, me), me, Position(number + 1, "7"))
print(json.dumps(won))
"""


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.db"
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(file), me],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in ("a", "b")
    ]
    try:
        for rival in rivals:
            assert rival.stdout is not None
            assert rival.stdout.readline() == "ready\n"
        answers = []
        for rival in rivals:
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        for rival in rivals:
            answer, _ = rival.communicate(timeout=180)
            assert rival.returncode == 0
            answers.append(json.loads(answer))
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate()
    won = sorted(answers[0] + answers[1], key=int)
    assert won == [str(number) for number in range(25)]  # each by exactly one of them
    store = SqliteStore(file)
    assert owners(store) == dict.fromkeys(answers[0], "a") | dict.fromkeys(answers[1], "b")
    assert checkpoints(store) == {"shared": (0, "7"), "a": (25, "7"), "b": (25, "7")}
