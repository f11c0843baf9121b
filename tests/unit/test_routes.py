import pytest

from aks_audit.config.load import ConfigError, load
from aks_audit.config.routes import RouteError, parse
from tests.helpers import ENVIRONMENT

TEXT = """
[[route]]
name = "prod"
cluster = "Prod-*"
category = "kube-audit*"
url = "http://user:s3cr3t@falco.prod/k8s-audit?token=s3cr3t"

[[route]]
cluster = "prod-eu"
url = "https://falco.eu/k8s-audit"

[[route]]
name = "scaling"
category = "cluster-autoscaler"
url = "http://falco.x/"
"""


def test_a_route_shows_nothing_secret() -> None:
    first, second, _ = parse(TEXT)
    assert "s3cr3t" not in repr(first)
    assert first.url.display == "http://falco.prod/k8s-audit"
    assert (second.name, second.cluster, second.category) == ("route-2", "prod-eu", "*")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "holds something other than [[route]] tables"),
        ("x = 1", "holds something other than [[route]] tables"),
        (TEXT + "\n[more]\n", "holds something other than [[route]] tables"),
        ("route = 7", "holds something other than [[route]] tables"),
        ("[route]\nurl='http://s3cr3t/'", "holds something other than [[route]] tables"),
        ("route = [1]", "has a route that is not a table"),
        ("route = ['s3cr3t']", "has a route that is not a table"),
        ("[[route]]\nurl = s3cr3t", "is not TOML at line 2, column 7"),
        ("[[route]]\nurl = 's3cr3t", "is not TOML at end of document"),
        ('[[route]]\n"s3cr3t"', "is not TOML at "),
        ("[[route]]\n's3cr3t' = 1\n's3cr3t' = 2", "is not TOML at "),
        ("[[route]]\n's3cr3t' = 1", "route 1 has a key that is not one of category, cluster,"),
        ("[[route]]\nurl = 7\ncluster='x'", "route 1 has a value that is not a string"),
        ("[[route]]\nurl = 'http://s3cr3t/'", "route 1 has neither cluster nor category"),
        ("[[route]]\ncluster='x'", "route 1: its url "),
        ("[[route]]\ncluster='x'\nurl='ftp://s3cr3t/'", "route 1: its url "),
        ("[[route]]\ncluster='x'\nurl='s3cr3t'", "route 1: its url "),
        ("[[route]]\ncluster='x'\nname='A'\nurl='http://h/'", "route 1 has a name that"),
        ("[[route]]\ncluster='x'\nname='default'\nurl='http://h/'", "route 1 has a name that"),
        (TEXT + "[[route]]\ncluster='x'\n", "route 4: its url "),
        (
            TEXT + "[[route]]\ncluster='x'\nurl='http://h/'\nname='prod'",
            "names a route twice: prod",
        ),
    ],
)
def test_an_error_names_the_route_and_never_a_url(text: str, wrong: str) -> None:
    with pytest.raises(RouteError) as raised:
        parse(text)
    assert str(raised.value).startswith(wrong)
    assert "s3cr3t" not in str(raised.value)
    with pytest.raises(ConfigError) as problem:
        load(ENVIRONMENT | {"ROUTES": text or " \n#"})
    assert "s3cr3t" not in str(problem.value)


def test_the_secrets_of_routes_are_known_to_the_log() -> None:
    config = load(ENVIRONMENT | {"ROUTES": TEXT})
    assert "s3cr3t" in config.secret_values()
    assert [route.name for route in config.events.routes] == ["prod", "route-2", "scaling"]


def test_an_inline_table_is_a_route_as_well() -> None:
    (one,) = parse('route = [{category = "kube-audit", url = "http://h/"}]')
    assert (one.name, one.cluster, one.category) == ("route-1", "*", "kube-audit")
