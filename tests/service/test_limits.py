"""What the service refuses, how it says so, and that nothing is left behind."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from gmme_edge.service.limits import RateLimiter, RefusedError
from gmme_edge.workflows.settings.serving import LimitSettings
from tests.service.running import Running, running

RAW = "?rate_hz=8000"
SOUND = (np.random.default_rng(0).uniform(-0.5, 0.5, 8000) * 32_767).astype(np.int16).tobytes()
TIGHT = LimitSettings(max_body_mb=0.1, max_duration_s=5, max_requests=2, max_streams=1, max_rate=0)
IMPATIENT = LimitSettings(max_rate=0, patience_s=0.3)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the service puts what it receives."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def service(tmp_path: Path, temporary: Path) -> Iterator[Running]:
    with running(tmp_path / "bundle", TIGHT) as one:
        yield one
    assert list(temporary.iterdir()) == []


@pytest.fixture
def impatient(tmp_path: Path, temporary: Path) -> Iterator[Running]:
    with running(tmp_path / "bundle", IMPATIENT) as one:
        yield one
    assert list(temporary.iterdir()) == []


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service")) as one:
        yield one


def wait_until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def ask(service: Running, head: str, body: bytes = b"") -> bytes:
    """What the service answers to bytes of our own, until it hangs up."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        client.sendall(head.replace("\n", "\r\n").encode() + body)
        answer = b""
        while part := client.recv(65_536):
            answer += part
        return answer


@pytest.mark.parametrize(
    ("content", "query", "status", "text"),
    [
        (bytes(200_000), RAW, 413, "at most 0.1 MB"),
        (bytes(90_000), RAW, 413, "longer than 5 s"),
        (b"garbage", "", 422, "cannot be decoded"),
        (b"", "", 422, "is empty"),
        (b"", RAW, 422, "no samples"),
        (b"abc", RAW, 422, "multiple of 2"),
        (b"\0\0\xc0\x7f", f"{RAW}&sample_format=float32", 422, "NaN"),
        (SOUND, "?rate_hz=5", 400, "rate_hz is 5"),
        (SOUND, "?rate_hz=fast", 400, "rate_hz"),
        (SOUND, f"{RAW}&sample_format=int7", 400, "int16, int32, float32"),
        (SOUND, "?channels=2", 400, "channels without rate_hz"),
        (SOUND, f"{RAW}&tpo=3", 400, "'tpo'"),
    ],
)
def test_a_request_out_of_bounds_is_told_why(
    service: Running, content: bytes, query: str, status: int, text: str
) -> None:
    answer = service.classify(content, query)
    assert answer.status_code == status
    assert text in " ".join(answer.json()["error"].values())
    assert service.classify(SOUND, RAW).status_code == 200


def test_a_body_without_a_length_is_cut_off_at_the_limit(service: Running) -> None:
    endless = (bytes(10_000) for _ in range(100))
    answer = service.client.post(f"/v1/classify{RAW}", content=endless)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


def test_unknown_paths_and_methods_are_json_too(service: Running) -> None:
    for method, path, status in (("GET", "/v1/classify", 405), ("POST", "/v2", 404)):
        answer = service.client.request(method, path)
        assert answer.status_code == status and answer.json()["error"]["expected"]


def test_more_requests_at_once_than_allowed_are_told_to_come_again(service: Running) -> None:
    service.session.free.clear()
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(service.classify(SOUND, RAW).status_code))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: service.listener.requests.used == 2)
    answer = service.classify(SOUND, RAW)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert service.client.get("/health").status_code == 200  # it still answers
    service.session.free.set()
    for thread in threads:
        thread.join(20)
    assert found == [200, 200]


def test_a_refused_stream_leaves_no_error_in_the_log(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{service.stream_url}?rate_hz=0", proxy=None)
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body or b"")["error"]["got"] == "rate_hz is 0."
    assert service.classify(SOUND, RAW).status_code == 200  # what was logged is logged by now
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_more_streams_at_once_than_allowed_are_refused(service: Running) -> None:
    address = f"{service.stream_url}{RAW}"
    with connect(address, proxy=None), pytest.raises(InvalidStatus) as refused:
        connect(address, proxy=None)
    assert refused.value.response.status_code == 429
    assert b"streams at once" in (refused.value.response.body or b"")


def test_a_client_that_asks_too_often_waits_and_others_do_not() -> None:
    now_s = [0.0]
    limiter = RateLimiter(2, lambda: now_s[0])
    limiter.check("a")
    limiter.check("a")
    with pytest.raises(RefusedError, match="asks too often") as refused:
        limiter.check("a")
    assert (refused.value.status, refused.value.retry_s) == (429, 1)
    limiter.check("b")
    now_s[0] = 0.5
    limiter.check("a")
    with pytest.raises(RefusedError):
        limiter.check("a")


def test_the_rate_counts_over_requests_and_streams(tmp_path: Path) -> None:
    with running(tmp_path, LimitSettings(max_rate=0.01)) as service:
        assert service.classify(SOUND, RAW).status_code == 200
        assert service.classify(SOUND, RAW).status_code == 429
        with pytest.raises(InvalidStatus, match="429"):
            connect(f"{service.stream_url}{RAW}", proxy=None)


def test_without_the_token_nothing_is_heard_or_counted(tmp_path: Path) -> None:
    token = "a-long-secret"
    bearer = {"Authorization": f"Bearer {token}"}
    with running(tmp_path, token=token) as service:
        for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": token}):
            answer = service.classify(SOUND, RAW, headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert service.client.get("/metrics", headers=headers).status_code == 401
        assert service.classify(SOUND, RAW, headers=bearer).status_code == 200
        assert service.client.get("/metrics", headers=bearer).status_code == 200
        assert service.client.get("/health").status_code == 200
        assert service.client.get("/openapi.json").json()["components"]["securitySchemes"]
        address = f"{service.stream_url}{RAW}"
        with pytest.raises(InvalidStatus, match="401"):
            connect(address, proxy=None)
        with connect(address, additional_headers=bearer, proxy=None):
            pass
        named = ["gmme-edge", f"bearer.{token}"]
        with connect(address, subprotocols=named, proxy=None) as browser:  # type: ignore[arg-type]
            assert browser.subprotocol == "gmme-edge"


def test_a_page_of_another_site_opens_no_stream(service: Running) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"{service.stream_url}{RAW}", origin="http://elsewhere", proxy=None)  # type: ignore[arg-type]
    with connect(f"{service.stream_url}{RAW}", origin=service.url, proxy=None):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("GET /health HTTP/1.1\nHost: x\nX-Slow: ", b""),
        ("", b""),
        ("POST /v1/classify HTTP/1.1\nHost: x\nContent-Length: 90000\n\n", b"RIFF"),
    ],
)
def test_a_client_that_never_finishes_is_let_go(impatient: Running, head: str, body: bytes) -> None:
    assert ask(impatient, head, body).startswith(b"HTTP/1.1 408")
    assert impatient.listener.requests.used == 0


def test_a_second_request_that_never_finishes_is_let_go(impatient: Running) -> None:
    whole = "GET /health HTTP/1.1\nHost: x\n\n"
    answer = ask(impatient, whole + "GET /health HTTP/1.1\nHo")
    assert answer.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 408" in answer


def test_a_stream_without_sound_is_ended(impatient: Running) -> None:
    with connect(f"{impatient.stream_url}{RAW}", proxy=None) as client:
        assert json.loads(client.recv())["kind"] == "stream"
        assert "was silent for 0.3 s" in json.loads(client.recv())["error"]["got"]
        with pytest.raises(ConnectionClosedError):
            client.recv()


@pytest.mark.parametrize(
    "content",
    [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\0" * 100_000],
    ids=["tls", "no version", "zeros"],
)
def test_what_is_no_http_is_told_so(service: Running, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        client.sendall(content)
        try:
            answer = client.recv(65_536)
        except ConnectionResetError:  # it did not read all of it
            answer = b"HTTP/1.1 400"
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408"))
    assert service.client.get("/health").status_code == 200


def cut_connections(service: Running, times: int) -> None:
    """Clients that go away in the middle of whatever they do."""
    head = b"POST /v1/classify?rate_hz=8000 HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n"
    for i in range(times):
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
            client.sendall([b"", head[:20], head, head + SOUND[:99], head + SOUND][i % 5])
        if i % 5 == 0:
            with connect(f"{service.stream_url}{RAW}", proxy=None) as stream:
                stream.send(SOUND[:1000])
                stream.socket.shutdown(socket.SHUT_RDWR)


def held(service: Running) -> tuple[int, int]:
    """Places that are taken, and connections that are open."""
    used = service.listener.requests.used + service.listener.streams.used
    return used, len(service.server.server_state.connections)


def test_cut_connections_leave_nothing_behind(open_service: Running) -> None:
    cut_connections(open_service, 10)
    wait_until(lambda: held(open_service)[0] == 0)
    assert open_service.classify(SOUND, RAW).status_code == 200


@pytest.mark.slow
def test_a_thousand_reconnects_leave_nothing_behind(open_service: Running) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    cut_connections(open_service, 50)  # threads and caches are there now
    wait_until(lambda: held(open_service) <= (0, 1))
    files, threads = open_files(), threading.active_count()
    cut_connections(open_service, 1000)
    wait_until(lambda: held(open_service) <= (0, 1))
    wait_until(lambda: open_files() <= files + 2)
    assert threading.active_count() <= threads + 4
    assert open_service.classify(SOUND, RAW).status_code == 200


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from(["/v1/classify", "/v1/embed"]),
    query=st.dictionaries(
        st.sampled_from(["rate_hz", "sample_format", "channels", "top"]) | st.text(max_size=8),
        st.integers().map(str)
        | st.sampled_from(["int16", "float32", "", "nan"])
        | st.text(max_size=8),
        max_size=4,
    ),
    content=st.binary(max_size=2000) | st.binary(max_size=400).map(lambda b: b"RIFF" + b),
)
def test_no_request_is_answered_by_a_fault(
    open_service: Running, path: str, query: dict[str, str], content: bytes
) -> None:
    answer = open_service.client.post(path, params=query, content=content)
    assert answer.status_code in (200, 400, 413, 422), answer.text
    assert answer.status_code == 200 or answer.json()["error"]["got"]
