import pytest

from qwenvl.api.refused import REFUSED, refuse_unsupported
from qwenvl.errors import UserError


@pytest.mark.parametrize("name", REFUSED)
def test_each_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_unsupported({name: {"x": 1}})
    assert caught.value.param == name
    assert name in caught.value.message


@pytest.mark.parametrize("name", REFUSED)
def test_null_asks_for_nothing(name: str) -> None:
    refuse_unsupported({name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", []),
        ("tool_choice", "none"),
        ("response_format", {"type": "text"}),
        ("modalities", ["text"]),
        ("logit_bias", {}),
        ("min_p", 0),
        ("min_p", 0.0),
        ("skip_special_tokens", True),
        ("echo", False),
    ],
)
def test_neutral_values(name: str, value: object) -> None:
    refuse_unsupported({name: value})


@pytest.mark.parametrize(("name", "value"), [("modalities", ["audio"]), ("min_p", 0.1), ("tool_choice", "auto")])
def test_asking_values(name: str, value: object) -> None:
    with pytest.raises(UserError):
        refuse_unsupported({name: value})
