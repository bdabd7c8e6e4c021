"""Nobody else on the machine or the network gets anything out of the service, or into it."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
import service_photos as photos
from service_process import ServiceProcess

CAPTURES = "/v1/captures"


def refused(service: ServiceProcess, headers: dict[str, str], status: int) -> None:
    for method, path, body in (
        ("GET", "/v1/health", None),
        ("GET", "/v1/openapi.json", None),
        ("GET", "/nowhere", None),
        ("POST", CAPTURES, photos.portrait()),
        ("POST", "/v1/shutdown", b""),
    ):
        answer = service.ask(method, path, body, headers)
        assert (answer.status, set(answer.json)) == (status, {"code", "message"})
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.fixture(autouse=True)
def no_work_is_done(service: ServiceProcess):
    yield
    assert not list((service.cache_folder / "service-0").glob("jobs/*"))
    assert service.process.poll() is None


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer x", "Basic {}", "bearer {}", "Bearer {}x", "{}", "Bearer ä"]
)
def test_without_the_token(service: ServiceProcess, authorization: str | None) -> None:
    token = service.connection["token"]
    headers = {} if authorization is None else {"Authorization": authorization.format(token)}
    refused(service, headers, 401)


def test_the_token_is_not_taken_from_the_address(service: ServiceProcess) -> None:
    assert service.ask("GET", f"/v1/health?token={service.connection['token']}", headers={}).status == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{}", "0.0.0.0:{}", "[::1]:{}"]
)
def test_under_another_name(service: ServiceProcess, host: str) -> None:
    refused(service, {**service.headers(), "Host": host.format(service.port)}, 403)


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://localhost", "http://127.0.0.1:1", "file://"]
)
def test_from_a_web_page(service: ServiceProcess, origin: str) -> None:
    refused(service, {**service.headers(), "Origin": origin}, 403)


def test_from_its_own_page_and_name(service: ServiceProcess) -> None:
    own = f"localhost:{service.port}"
    assert service.ask("GET", "/v1/health", headers={**service.headers(), "Host": own}).status == 200
    origin = {"Origin": f"http://{own}"}
    assert service.ask("GET", "/v1/health", headers={**service.headers(), **origin}).status == 200


def test_no_page_may_ask_first(service: ServiceProcess) -> None:
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = service.ask("OPTIONS", CAPTURES, headers={**service.headers(), **asking})
    assert answer.status == 403
    assert service.ask("OPTIONS", CAPTURES).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/v1/captures/../../../etc/passwd",
        "/v1/captures/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/captures/%2e%2e/mesh.npz",
        "/v1/captures/..%5c..%5cwindows/mesh.npz",
        "/v1/captures/x/mesh.npz/../../../etc/passwd",
        "/v1/captures/%00/mesh.npz",
        "/v1/captures/x/mesh.%2fetc%2fpasswd",
        "//etc/passwd",
        "/v1/captures/" + "a" * 5000,
    ],
)
def test_paths_are_only_names(service: ServiceProcess, path: str) -> None:
    answer = service.get(path)
    assert answer.status in (404, 422)
    assert b"root:" not in answer.body


def test_a_body_that_says_it_is_too_large(service: ServiceProcess) -> None:
    answer = service.ask("POST", CAPTURES, None, {**service.headers(), "Content-Length": str(65 * 2**20)})
    assert (answer.status, answer.json["code"]) == (413, "too_large")
    answer = service.ask("POST", CAPTURES, b"\xff\xd8\xff" + bytes(65 * 2**20))
    assert (answer.status, answer.json["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("path", "start"), [(CAPTURES, b"\xff\xd8\xff"), (CAPTURES, b"no picture"), ("/v1/release", b"")]
)
def test_a_body_without_end(service: ServiceProcess, path: str, start: bytes) -> None:
    expected = 415 if start == b"no picture" else 413
    assert endless(service, path, start, authorized=True).startswith(f"HTTP/1.1 {expected} ".encode())


def test_a_body_without_end_from_a_stranger(service: ServiceProcess) -> None:
    assert endless(service, CAPTURES, b"\xff\xd8\xff", authorized=False).startswith(b"HTTP/1.1 401 ")


def endless(service: ServiceProcess, path: str, start: bytes, *, authorized: bool) -> bytes:
    """Send a body until the service has had enough; the answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nTransfer-Encoding: chunked\r\n"
    if authorized:
        head += f"Authorization: Bearer {service.connection['token']}\r\n"
    block = b"10000\r\n" + start.ljust(65536, b"x") + b"\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(head.encode() + b"\r\n")
        answer = b""
        while not answer:
            connection.sendall(block)
            connection.setblocking(False)
            with suppress(BlockingIOError):
                answer = connection.recv(65536)
            connection.settimeout(60)
    return answer


def test_a_request_that_breaks_off(service: ServiceProcess) -> None:
    head = f"POST {CAPTURES} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Length: 1000000\r\n"
    head += f"Authorization: Bearer {service.connection['token']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(head.encode() + photos.portrait()[:10000])
    assert service.get("/v1/health").status == 200


@pytest.mark.parametrize("request_", [b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"A" * 100000])
def test_what_is_no_request(service: ServiceProcess, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(request_)
        assert connection.recv(65536).startswith(b"HTTP/1.1 4")
    assert service.get("/v1/health").status == 200


def test_refusals_are_in_the_log_and_secrets_are_not(service: ServiceProcess) -> None:
    service.ask("GET", "/v1/health?forged=%0aline", headers={})
    log = service.log()
    assert "GET /v1/health 401" in log
    assert "refused: unauthorized" in log
    assert service.connection["token"] not in log
    assert "forged" not in log


def test_only_the_user_can_read_the_token(service: ServiceProcess) -> None:
    published = service.cache_folder / "service-0" / "connection.json"
    assert published.stat().st_mode & 0o077 == 0
    assert published.parent.stat().st_mode & 0o077 == 0
    assert service.connection["token"] in published.read_text(encoding="utf-8")
