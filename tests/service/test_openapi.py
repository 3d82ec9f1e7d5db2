"""What the service does with requests that were made from its own OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gmme_edge.service.app import make_app
from gmme_edge.service.listener import open_listener
from gmme_edge.workflows.settings.running import BackendSettings
from gmme_edge.workflows.settings.serving import LimitSettings
from tests.bundles import make_bundle

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
TOKEN = "a-token-of-the-tests"
# No schema says which bytes are a recording, and test_limits.py asks with wrong tokens.
_NOT_MEANT = [checks.positive_data_acceptance, checks.ignored_auth]


@pytest.fixture(scope="module", params=["", TOKEN], ids=["open", "token"])
def operations(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Every operation of the document, over the application in this process: no socket."""
    bundle = make_bundle(tmp_path_factory.mktemp("bundle"))
    listener = open_listener(
        bundle.path, BackendSettings(threads=1), limits=LimitSettings(max_rate=0)
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(listener, request.param))
    yield {found.ok().path: found.ok() for found in schema.get_all_operations()}
    listener.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/v1/classify", "positive"),
        ("/v1/classify", "negative"),
        ("/v1/embed", "positive"),
        ("/v1/embed", "negative"),
        ("/v1/stream", "positive"),
        ("/health", "positive"),
        ("/metrics", "positive"),
    ],
)
def test_every_request_is_answered_as_the_document_says(
    operations: dict[str, Any], path: str, mode: str
) -> None:
    """Statuses, media types and bodies; and queries that the document excludes are refused."""
    kind = schemathesis.GenerationMode(mode)

    @settings(
        max_examples=60, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operations[path].as_strategy(generation_mode=kind), st.booleans())
    def ask(case: Any, known: bool) -> None:  # noqa: ANN401 - no stubs
        headers = {"authorization": f"Bearer {TOKEN}"} if known else {}
        assume(mode == "positive" or _is_sent(case, known))
        case.call_and_validate(headers=headers, excluded_checks=_NOT_MEANT)

    ask()


def _is_sent(case: Any, known: bool) -> bool:  # noqa: ANN401 - no stubs
    """Whether what is wrong with a request reaches the service.

    A header is replaced where the test gives its own, and an empty list in a query is not sent.
    """
    wrong = {place.value for place, part in case.meta.components.items() if part.mode.is_negative}
    wrong -= {"header"} if known else set()
    return bool(wrong) and [] not in case.query.values()


def test_the_document_names_every_operation(operations: dict[str, Any]) -> None:
    assert set(operations) == {"/v1/classify", "/v1/embed", "/v1/stream", "/health", "/metrics"}
