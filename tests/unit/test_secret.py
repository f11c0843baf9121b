import copy
import dataclasses
import pickle
from collections.abc import Callable

import msgspec
import pytest

from aks_audit.config.settings import Secret
from tests.configs import with_


class TestSecret:
    secret = Secret("hunter2")

    def test_shows_itself_only_when_asked(self) -> None:
        shown = [str(self.secret), repr(self.secret), f"{self.secret}", f"{[self.secret]}"]
        assert not any("hunter2" in text for text in shown)
        assert self.secret.reveal() == "hunter2"

    @pytest.mark.parametrize(
        "serialize", [dataclasses.asdict, copy.deepcopy, msgspec.json.encode, pickle.dumps]
    )
    def test_serializers_do_not_look_into_it(self, serialize: Callable[[object], object]) -> None:
        with pytest.raises(TypeError):
            serialize(with_(WEBSINKURL="http://u:hunter2@h/"))

    def test_is_a_value(self) -> None:
        assert self.secret == Secret("hunter2")
        assert self.secret != Secret("other")
        assert len({self.secret, Secret("hunter2")}) == 1
        with pytest.raises(AttributeError):
            self.secret._value = "x"
