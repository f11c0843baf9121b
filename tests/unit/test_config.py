import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.eventhub import parse_connection_string
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore

from aks_audit.config.load import ConfigError, load
from aks_audit.config.settings import (
    BlobLocation,
    CheckpointConfig,
    Config,
    Directory,
    EventsConfig,
    Exhausted,
    HubConfig,
    LogConfig,
    LogLevel,
    Secret,
    SinkConfig,
    SqliteFile,
    StartAt,
    StatsConfig,
    StreamReset,
)
from aks_audit.config.variables import VARIABLES
from tests.configs import BLOB, GOOD, HUB, URL, problem, problems, with_

ROOT = Path(__file__).parents[2]


def test_defaults_are_those_of_the_design() -> None:
    assert load(GOOD) == Config(
        hub=HubConfig(
            connection_string=Secret(HUB),
            namespace="x.servicebus.windows.net",
            name="insights-logs-kube-audit",
            consumer_group="$Default",
            start_position=StartAt.LATEST,
            stream_reset=StreamReset.EARLIEST,
        ),
        checkpoint=CheckpointConfig(BlobLocation(Secret(BLOB), "kubeauditlogcontainer"), 5),
        dead_letters=BlobLocation(Secret(BLOB), "kubeauditlogcontainer"),
        events=EventsConfig(
            salvage=True, dedup_window=65536, annotate_cluster=False, routes=(), filters=None
        ),
        sink=SinkConfig(
            url=Secret(URL),
            display_url=URL,
            max_retries=5,
            retry_delay_s=1,
            exhausted=Exhausted.HOLD,
            timeout_s=30,
            concurrency=4,
            batch_max_events=400,
            batch_max_bytes=8 * 1024 * 1024,
            max_event_bytes=262_144,
            keepalive=True,
            indoubt_bodies=51,
            indoubt_s=3,
            rate_events_per_s=None,
            burst=50,
        ),
        inflight_max_bytes=64 * 1024 * 1024,
        shutdown_grace_s=20,
        stats=StatsConfig(host="0.0.0.0", port=9000),
        log=LogConfig(level=LogLevel.INFO, format=None),
        warnings=(),
    )


def test_every_problem_is_reported_at_once() -> None:
    found = problems({"POSTTIMEOUT": "soon", "LOGLEVEL": "loud", "KEEPALIVE": "maybe"})
    assert set(found) == {
        "EHUBNAMESPACECONNECTIONSTRING",
        "BLOBSTORAGECONNECTIONSTRING",
        "WEBSINKURL",
        "POSTTIMEOUT",
        "LOGLEVEL",
        "KEEPALIVE",
    }
    assert found["WEBSINKURL"] == "is not set"
    assert found["POSTTIMEOUT"].startswith('"soon" is not a duration')


def test_every_example_is_a_right_value() -> None:
    for variable in VARIABLES:
        variable.parse(variable.example.replace("=KEY", "=a2V5"))


def test_every_default_is_a_right_value() -> None:
    for variable in VARIABLES:
        if variable.default is not None:
            variable.parse(variable.default)


class TestNames:
    def test_the_mixed_case_of_sysdig_works(self) -> None:
        config = load(
            {
                "EhubNamespaceConnectionString": HUB,
                "EventHubName": "hub",
                "BlobStorageConnectionString": BLOB,
                "BlobContainerName": "box",
                "WebSinkURL": URL,
                "VerboseLevel": "4",
            }
        )
        assert config.hub.name == "hub"
        assert config.checkpoint.location == BlobLocation(Secret(BLOB), "box")
        assert config.log.level is LogLevel.DEBUG

    def test_two_spellings_with_one_value_agree(self) -> None:
        assert with_(EventHubName="hub", EVENTHUBNAME=" hub ").hub.name == "hub"

    def test_two_spellings_with_two_values_contradict(self) -> None:
        found = problems(GOOD | {"EventHubName": "one", "EVENTHUBNAME": "two"})
        assert "more than once" in found["EVENTHUBNAME"]

    @pytest.mark.parametrize("blank", ["", "  ", "\n"])
    def test_blank_is_not_set(self, blank: str) -> None:
        assert with_(EVENTHUBNAME=blank, CHECKPOINTFILE=blank) == load(GOOD)
        assert problem(WEBSINKURL=blank) == "is not set"

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("POSTMAXRETRY", "POSTMAXRETRIES"),
            ("LOG_LEVEL", "LOGLEVEL"),
            ("WebSinkURI", "WEBSINKURL"),
            ("EVENTHUB_NAME_FILE", "EVENTHUBNAME"),
        ],
    )
    def test_a_name_close_to_ours_is_warned_of_without_its_value(
        self, name: str, meant: str
    ) -> None:
        (warning,) = with_(**{name: "hunter2"}).warnings
        assert warning == f"{name} is not a variable of this program; do you mean {meant}?"

    def test_foreign_names_are_not_warned_of(self) -> None:
        foreign = ("PATH", "HOME", "HOSTNAME", "FALCO_SERVICE_HOST", "LOGNAME", "KUBERNETES_PORT")
        assert with_(**dict.fromkeys(foreign, "x")).warnings == ()

    def test_a_misspelt_name_is_a_hint_beside_the_problem_it_explains(self) -> None:
        environ = GOOD | {"WEB_SINK_URL": URL}
        del environ["WEBSINKURL"]
        with pytest.raises(ConfigError, match=r"hint: WEB_SINK_URL .* do you mean WEBSINKURL"):
            load(environ)


class TestFiles:
    def test_every_variable_can_come_from_a_file(self, tmp_path: Path) -> None:
        environ = {}
        for name, value in GOOD.items():
            (tmp_path / name).write_text(value + "\r\n")
            environ[f"{name}_FILE"] = str(tmp_path / name)
        assert load(environ) == load(GOOD)

    def test_the_twin_knows_no_case_either(self, tmp_path: Path) -> None:
        (tmp_path / "name").write_text("\ufeffhub\n", encoding="utf-8")
        assert with_(EventHubName_File=str(tmp_path / "name")).hub.name == "hub"

    def test_a_variable_and_its_twin_contradict(self, tmp_path: Path) -> None:
        (tmp_path / "url").write_text(URL)
        found = problems(GOOD | {"WEBSINKURL_FILE": str(tmp_path / "url")})
        assert found == {"WEBSINKURL": "is set, and WEBSINKURL_FILE as well: unset one of them"}

    def test_what_is_wrong_with_a_file_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_text(" \n")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        (tmp_path / "huge").write_bytes(b"x" * 70_000)
        reasons = {
            "missing": "no such file",
            ".": "no such file",
            "n" * 300: "File name too long",
            "empty": "an empty file",
            "binary": "not UTF-8",
            "huge": "more than 65536 bytes",
        }
        for name, reason in reasons.items():
            assert reason in problem(EVENTHUBNAME_FILE=f"{tmp_path}/{name}")

    def test_a_secret_given_as_a_path_is_not_repeated(self) -> None:
        found = problems({"EHUBNAMESPACECONNECTIONSTRING_FILE": "/hunter2/hunter2"})
        assert "cannot be read" in found["EHUBNAMESPACECONNECTIONSTRING_FILE"]
        assert "hunter2" not in str(found)

    def test_a_value_from_a_file_is_checked_like_any(self, tmp_path: Path) -> None:
        (tmp_path / "n").write_text("many")
        found = problems(GOOD | {"POSTMAXRETRIES_FILE": str(tmp_path / "n")})
        assert found == {"POSTMAXRETRIES": '"many" is not a whole number'}


class TestHub:
    def test_the_emulator(self) -> None:
        text = HUB.replace("x.servicebus.windows.net/", "localhost:5999")
        config = with_(EHUBNAMESPACECONNECTIONSTRING=text + ";UseDevelopmentEmulator=true;")
        assert config.hub.namespace == "localhost:5999"

    def test_an_entity_path_names_the_hub(self) -> None:
        assert with_(EHUBNAMESPACECONNECTIONSTRING=HUB + ";EntityPath=mine").hub.name == "mine"

    def test_an_entity_path_may_be_repeated_but_not_contradicted(self) -> None:
        entity = {"EHUBNAMESPACECONNECTIONSTRING": HUB + ";EntityPath=mine"}
        assert with_(**entity, EVENTHUBNAME="Mine").hub.name == "Mine"
        assert "differs from the EntityPath" in problem(**entity, EVENTHUBNAME="yours")

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            (BLOB, "is a storage account's"),
            (f'"{HUB}"', "quotation marks"),
            (HUB.replace("a2V5a2V5", "<key>"), "placeholder"),
            (HUB.replace("SharedAccessKey=a2V5a2V5", "SharedAccessKey"), "was it cut"),
            (HUB.replace(";SharedAccessKey=a2V5a2V5", ""), "has neither a SharedAccessKey nor"),
            (HUB.replace("SharedAccessKeyName=listen;", ""), "has no SharedAccessKeyName"),
            (HUB + ";SharedAccessSignature=SharedAccessSignature sr=x", "has both"),
            (HUB + ";sharedaccesskey=x", "the same name twice"),
            (HUB.replace("sb:", "https:"), "is not sb://"),
            (HUB.replace("sb://", "sb://user@"), "is not sb:// with a host"),
            (HUB.replace("Endpoint=", "Host="), "has no Endpoint"),
            (HUB + ";EntityPath=a b", "has an EntityPath that is not"),
            (HUB + ";UseDevelopmentEmulator=True", "UseDevelopmentEmulator"),
            (HUB.replace(";", ";\n"), "line break"),
            (HUB.replace("a2V5", "\u201ca2V5"), "outside ASCII"),
            ("RW5kcG9pbnQ9c2I6Ly94Lw==", "base64"),
            ("x.servicebus.windows.net", "not a list of Name=value"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, wrong: str) -> None:
        assert wrong in problem(EHUBNAMESPACECONNECTIONSTRING=text)

    @pytest.mark.parametrize(
        "text",
        [
            HUB,
            HUB + ";EntityPath=hub;",
            HUB.replace("x.servicebus.windows.net/", "[::1]:5672"),
            "Endpoint=sb://h/;SharedAccessSignature=SharedAccessSignature sr=h&sig=s%3d&se=1&skn=p",
        ],
    )
    def test_the_sdk_reads_the_same(self, text: str) -> None:
        ours = with_(EHUBNAMESPACECONNECTIONSTRING=text).hub
        theirs = parse_connection_string(text)
        assert ours.namespace == theirs.fully_qualified_namespace
        assert ours.name == (theirs.eventhub_name or "insights-logs-kube-audit")

    @pytest.mark.parametrize("name", ["-a", "a-", "a/b", "a b", "a" * 257])
    def test_hub_names_obey_azure(self, name: str) -> None:
        assert "is not an event hub's name" in problem(EVENTHUBNAME=name)

    def test_consumer_groups_obey_azure(self) -> None:
        assert with_(CONSUMERGROUP="$default").hub.consumer_group == "$Default"
        assert with_(CONSUMERGROUP="falco-1").hub.consumer_group == "falco-1"
        assert "is not a consumer group's" in problem(CONSUMERGROUP="$other")
        assert "is not a consumer group's" in problem(CONSUMERGROUP="a" * 51)

    def test_start_positions(self) -> None:
        assert with_(STARTPOSITION="Earliest").hub.start_position is StartAt.EARLIEST
        moment = datetime(2024, 5, 1, 10, 30, 0, 250_000, tzinfo=UTC)
        for text in (
            "2024-05-01T10:30:00.25Z",
            "2024-05-01t10:30:00.250000000z",
            "2024-05-01t12:30:00.250+02:00",
        ):
            position = with_(STARTPOSITION=text).hub.start_position
            assert position == moment
            assert isinstance(position, datetime)
            assert position.tzinfo is UTC

    @pytest.mark.parametrize(
        "text",
        [
            "2024-05-01T10:30:00",
            "2024-05-01 10:30:00Z",
            "2024-05-01",
            "now",
            "2024-02-30T00:00:00Z",
            "1999-12-31T23:59:59Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "-1",
        ],
    )
    def test_wrong_start_positions(self, text: str) -> None:
        assert problem(STARTPOSITION=text)


class TestCheckpoint:
    def test_a_file_replaces_blob_storage(self) -> None:
        environ = GOOD | {"BLOBSTORAGECONNECTIONSTRING": "", "CHECKPOINTFILE": "./a.sqlite"}
        assert load(environ).checkpoint.location == SqliteFile(Path("a.sqlite"))

    def test_both_contradict(self) -> None:
        assert "unset one" in problem(CHECKPOINTFILE="a.sqlite")

    def test_a_directory_is_not_a_file(self) -> None:
        environ = GOOD | {"BLOBSTORAGECONNECTIONSTRING": ""}
        for path in ("/data/", "/", "..", "."):
            assert problems(environ | {"CHECKPOINTFILE": path}) == {
                "CHECKPOINTFILE": "its value names a directory, not a file"
                if "/" in path
                else f'"{path}" names a directory, not a file'
            }

    @pytest.mark.parametrize(
        "text",
        [
            BLOB,
            BLOB + ";EndpointSuffix=core.chinacloudapi.cn",
            "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=s",
            "AccountName=acct;SharedAccessSignature=sv=1&sig=s",
            "UseDevelopmentStorage=true",
        ],
    )
    def test_the_sdk_takes_it(self, text: str) -> None:
        location = with_(BLOBSTORAGECONNECTIONSTRING=text).checkpoint.location
        assert isinstance(location, BlobLocation)
        secret = location.connection_string
        BlobCheckpointStore.from_connection_string(secret.reveal(), "box").close()

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            (HUB, "is an Event Hubs connection string"),
            (f"'{BLOB}'", "quotation marks"),
            ("AccountName=<account>;AccountKey=a2V5", "placeholder"),
            ("AccountName=acct", "has neither an AccountKey nor"),
            ("AccountKey=a2V5", "no AccountName"),
            ("AccountName=acct;AccountKey=a2V5a", "not base64"),
            ("AccountName=UPPER;AccountKey=a2V5", "has an AccountName that"),
            ("SharedAccessSignature=sv=1", "has neither a BlobEndpoint nor an AccountName"),
            (BLOB.replace("https", "ftp"), "has a DefaultEndpointsProtocol that"),
            (BLOB + ";EndpointSuffix=a/b", "has an EndpointSuffix that"),
            (BLOB + ";BlobEndpoint=acct", "has a BlobEndpoint that does not begin with http"),
            (BLOB + ";BlobSecondaryEndpoint=https://a", "has a BlobSecondaryEndpoint but no"),
            ("UseDevelopmentStorage=yes", "UseDevelopmentStorage"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, wrong: str) -> None:
        assert wrong in problem(BLOBSTORAGECONNECTIONSTRING=text)

    @pytest.mark.parametrize("name", ["ab", "Abc", "-abc", "abc-", "a--b", "a_b", "a" * 64])
    def test_container_names_obey_azure(self, name: str) -> None:
        assert "is not a blob container's name" in problem(BLOBCONTAINERNAME=name)
        location = with_(BLOBCONTAINERNAME="a-1").checkpoint.location
        assert location == BlobLocation(Secret(BLOB), "a-1")


class TestSink:
    def test_credentials_stay_out_of_the_displayed_url(self) -> None:
        url = "https://user:pass@[2001:db8::1]:9765/k8s-audit?token=abcd#frag"
        config = with_(WEBSINKURL=url)
        assert config.sink.display_url == "https://[2001:db8::1]:9765/k8s-audit"
        assert config.sink.url.reveal() == url

    @pytest.mark.parametrize("url", ["http://falco:9765", "http://falco:9765/"])
    def test_a_missing_path_is_warned_of(self, url: str) -> None:
        assert with_(WEBSINKURL=url).warnings == (
            "WEBSINKURL has no path; Falco's default is /k8s-audit",
        )

    @pytest.mark.parametrize(
        ("url", "wrong"),
        [
            ("falco:9765/k8s-audit", "does not begin with http"),
            ("ftp://falco/", "does not begin with http"),
            ("http:///k8s-audit", "has no host"),
            ("http://falco:99999/", "has no host, or something beside"),
            ("http://falco:port/", "has no host, or something beside"),
            ("http://1.2.3.400/", "has no host"),
            ("http://[::1/", "is not a URL"),
            ("http://fal co/", "holds a blank"),
            ("http://b\u00fccher/", "outside ASCII"),
            ("http://u:a/b@falco/", "something beside host and port"),
            ("http://token/b@falco/", "holds an @ after the host"),
            ("http://token?b@falco/", "holds an @ after the host"),
            ('"http://falco/"', "quotation marks"),
        ],
    )
    def test_what_is_wrong_is_said(self, url: str, wrong: str) -> None:
        assert wrong in problem(WEBSINKURL=url)

    def test_what_follows_the_last_retry(self) -> None:
        assert with_(POSTEXHAUSTED="Drop").sink.exhausted is Exhausted.DROP
        assert with_(POSTEXHAUSTED="deadletter").sink.exhausted is Exhausted.DEADLETTER
        assert "hold, deadletter and drop" in problem(POSTEXHAUSTED="forget")

    def test_dead_letters_lie_beside_the_checkpoints(self) -> None:
        blob = with_()
        assert blob.dead_letters == blob.checkpoint.location
        file = with_(BLOBSTORAGECONNECTIONSTRING="", CHECKPOINTFILE="/x/c.db").dead_letters
        assert file == Directory(Path("/x/c.db.deadletters"))
        assert with_(DEADLETTERPATH="/y").dead_letters == Directory(Path("/y"))

    def test_an_event_fits_into_a_batch(self) -> None:
        assert with_(POSTBATCHMAXBYTES="64KiB").sink.max_event_bytes == 64 * 1024
        assert "POSTBATCHMAXBYTES" in problem(POSTBATCHMAXBYTES="64KiB", MAXEVENTBYTES="65KiB")

    @pytest.mark.parametrize(
        ("text", "rate"), [("0", None), ("0.0", None), ("10", 10), ("2.5", 2.5), ("1000000", 1e6)]
    )
    def test_rates(self, text: str, rate: float | None) -> None:
        assert with_(RATELIMITEREVENTSPERSECONDS=text).sink.rate_events_per_s == rate

    @pytest.mark.parametrize("text", ["-1", "1e3", "1000001", "nan", "inf", "."])
    def test_wrong_rates(self, text: str) -> None:
        assert problem(RATELIMITEREVENTSPERSECONDS=text)


def test_a_batch_fits_into_what_is_in_flight() -> None:
    assert with_(INFLIGHTMAXBYTES="8MiB").inflight_max_bytes == 8 << 20
    found = problems(GOOD | {"INFLIGHTMAXBYTES": "8388607"})
    assert found == {"POSTBATCHMAXBYTES": "is larger than INFLIGHTMAXBYTES"}


def test_secret_values_are_the_wholes_and_their_secret_parts() -> None:
    url = "http://user:p%40ss@falco/k8s-audit?code=c0de"
    hub = "Endpoint=sb://h/;SharedAccessSignature=SharedAccessSignature sr=h&sig=s1g%3d&se=1&skn=p"
    config = with_(EHUBNAMESPACECONNECTIONSTRING=hub, WEBSINKURL=url)
    assert config.secret_values() == {
        hub,
        "SharedAccessSignature sr=h&sig=s1g%3d&se=1&skn=p",
        "s1g=",
        BLOB,
        "YmxvYmtleQ==",
        url,
        "p%40ss",
        "p@ss",
        "c0de",
    }
    assert URL not in load(GOOD).secret_values()


def test_the_documentation_has_every_variable_with_its_default() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+)` \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [
        (
            variable.name,
            variable.absent if variable.default is None else f"`{variable.default}`",
            variable.doc,
        )
        for variable in VARIABLES
    ]
