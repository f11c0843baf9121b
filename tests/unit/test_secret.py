import copy
import dataclasses
import pickle

import msgspec
import pytest

from aks_audit.config.settings import (
    Secret,
)
from tests.configs import with_


class TestSecret:
    secret = Secret("hunter2")

    def test_shows_itself_only_when_asked(self) -> None:
        shown = [str(self.secret), repr(self.secret), f"{self.secret}", f"{[self.secret]}"]
        assert not any("hunter2" in text for text in shown)
        assert self.secret.reveal() == "hunter2"

    def test_serializers_do_not_look_into_it(self) -> None:
        config = with_(WEBSINKURL="http://u:hunter2@h/")
        assert "hunter2" not in str(dataclasses.asdict(config))
        with pytest.raises(TypeError):
            msgspec.json.encode(config)
        with pytest.raises(TypeError):
            pickle.dumps(self.secret)

    def test_is_a_value(self) -> None:
        assert self.secret == Secret("hunter2")
        assert self.secret != Secret("other")
        assert len({self.secret, Secret("hunter2")}) == 1
        assert copy.deepcopy(self.secret) is self.secret
        with pytest.raises(AttributeError):
            self.secret._value = "x"
