"""vLLM's options, with the defaults that a gateway wants."""

import pytest

from qwenvl.engine.arguments import serve_parser


@pytest.mark.parametrize(
    ("arguments", "policy"), [([], "priority"), (["--scheduling-policy", "fcfs"], "fcfs")], ids=["default", "chosen"]
)
def test_requests_run_by_priority_unless_the_user_chose(arguments: list[str], policy: str) -> None:
    assert serve_parser("test").parse_args(arguments).scheduling_policy == policy
