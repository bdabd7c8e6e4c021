"""The extension's client: bounded requests, stepped transfers, and answers that may be anything."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import service_photos as photos
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_server import NastyServer, answer, answering, health, patiently, silent, status, until, unused_port
from service_process import ServiceProcess

from blender_addon.engine.answers import (
    parse_accepted,
    parse_failure,
    parse_health,
    parse_models,
    parse_status,
)
from blender_addon.engine.client import SHORT_SECONDS, Client
from blender_addon.engine.connection import Connection, parse_connection, published_connections
from blender_addon.engine.errors import EngineError, plain
from blender_addon.engine.transfer import HEAD_LIMIT, Answer, Transfer

PARSERS = (parse_health, parse_models, parse_status, parse_accepted, parse_connection)
MODEL = {"name": "a", "summary": "b", "licence": "c", "present": True, "default": True}
RESULT = {"camera": [0.5] * 25, "iso_level": 10, "provenance": {"warnings": []}}
HANDSHAKE = {"url": "http://127.0.0.1:8000", "token": "abc", "contract": 1, "pid": 7}
GOOD = [
    health(),
    [{**MODEL, "size": 1, "sha256": "d", "problem": None}],
    status(state="done", result=RESULT, warnings=[{"code": "low", "message": "The face is small."}]),
    {"id": "ab12"},
    HANDSHAKE,
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400)
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """One of the engine's true answers, with one value in it replaced by anything."""
    value: Any = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    place: Any = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    place[key] = draw(json_values)
    return value


def only_engine_errors(work: Callable[[], Any]) -> EngineError | None:
    try:
        work()
    except EngineError as error:
        return error if error.message and error.code else pytest.fail("an error that says nothing")
    return None


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"), tiny)
    yield running
    running.end()


@pytest.fixture
def client(service: ServiceProcess) -> Client:
    return Client(Connection(**service.connection))


class TestParsing:
    @given(st.binary())
    def test_any_bytes(self, body: bytes) -> None:
        for parse in PARSERS:
            only_engine_errors(lambda parse=parse: parse(body))
        assert isinstance(parse_failure(500, body), EngineError)

    @given(json_values | damaged())
    @settings(max_examples=500)
    def test_any_json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        for parse in PARSERS:
            only_engine_errors(lambda parse=parse: parse(body))
        assert isinstance(parse_failure(404, body), EngineError)

    @pytest.mark.parametrize(
        "body", [b"[" * 100_000, b"1" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"\xff\xfe"]
    )
    def test_json_that_breaks_parsers(self, body: bytes) -> None:
        for parse in PARSERS:
            assert only_engine_errors(lambda parse=parse: parse(body)) is not None

    def test_true_answers(self) -> None:
        bodies = [json.dumps(value).encode() for value in GOOD]
        assert parse_health(bodies[0]).worker == "idle"
        assert parse_models(bodies[1])[0].size == 1
        done = parse_status(bodies[2])
        assert (done.state, done.warnings[0].message) == ("done", "The face is small.")
        assert done.facts is not None
        assert (len(done.facts.camera), done.facts.iso_level) == (25, 10.0)
        assert parse_accepted(bodies[3]) == "ab12"
        assert parse_connection(bodies[4]).port == 8000

    @given(st.lists(st.binary(), max_size=8))
    def test_any_answer_in_any_pieces(self, pieces: list[bytes]) -> None:
        incoming = Answer(1000)
        error = only_engine_errors(lambda: [incoming.feed(piece) for piece in [*pieces, b""]])
        assert error is not None or incoming.complete

    @given(st.binary(max_size=40), st.data())
    @settings(max_examples=300)
    def test_damaged_answers(self, noise: bytes, data: st.DataObject) -> None:
        good = answer(200, health())
        at = data.draw(st.integers(0, len(good)))
        bad = good[:at] + noise + good[at + data.draw(st.integers(0, 10)) :]
        incoming = Answer(10_000)

        def read() -> None:
            incoming.feed(bad)
            incoming.feed(b"")

        assert only_engine_errors(read) is not None or incoming.complete

    @given(st.binary(min_size=1), st.integers(1, 60))
    def test_true_answers_in_pieces(self, body: bytes, size: int) -> None:
        whole, incoming = answer(200, body), Answer(10_000)
        for start in range(0, len(whole), size):
            incoming.feed(whole[start : start + size])
        assert (incoming.complete, incoming.status, incoming.body) == (True, 200, body)

    def test_answers_without_an_end(self) -> None:
        for endless in (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * HEAD_LIMIT, b"HTTP/1.1 200 " + b"x" * 2 * HEAD_LIMIT):
            with pytest.raises(EngineError) as error:
                Answer(1000).feed(endless)
            assert error.value.code == "bad_answer"

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ],
    )
    def test_heads_that_are_refused(self, head: bytes) -> None:
        with pytest.raises(EngineError):
            Answer(1000).feed(head)

    @given(st.text())
    def test_what_is_shown_is_one_plain_line(self, text: str) -> None:
        line = plain(text, 50)
        assert len(line) <= 50
        assert all(character.isprintable() or not character.isascii() for character in line)
        line.encode("utf-8")


class TestConnections:
    @pytest.mark.parametrize(
        "change",
        [
            {"url": "http://localhost:8000"},
            {"url": "http://10.0.0.1:8000"},
            {"url": "http://127.0.0.1:8000@evil.example"},
            {"url": "http://127.0.0.1:0"},
            {"url": "http://127.0.0.1:65536"},
            {"url": "https://127.0.0.1:8000"},
            {"token": ""},
            {"token": "a\r\nHost: evil"},
            {"pid": True},
            {"pid": -1},
            {"contract": "1"},
        ],
    )
    def test_what_leads_elsewhere_is_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(EngineError):
            parse_connection(json.dumps({**HANDSHAKE, **change}))

    def test_those_in_a_cache_folder(self, tmp_path: Path) -> None:
        contents = [json.dumps(HANDSHAKE), "", "[]", "x" * 10_000, json.dumps({**HANDSHAKE, "pid": 8})]
        for number, content in enumerate(contents):
            (tmp_path / f"service-{number}").mkdir()
            (tmp_path / f"service-{number}" / "connection.json").write_text(content)
        (tmp_path / "service-7").mkdir()
        assert [connection.pid for connection in published_connections(tmp_path)] == [7, 8]
        assert published_connections(tmp_path / "missing") == []


class TestNastyServers:
    @given(st.binary(max_size=200))
    @settings(max_examples=40, deadline=None)
    def test_garbage_on_the_wire(self, garbage: bytes) -> None:
        with NastyServer(lambda connection, _: connection.sendall(garbage)) as server:
            assert only_engine_errors(Client(server.connection).health) is not None

    def test_one_that_never_answers_holds_up_nobody(self) -> None:
        with NastyServer(silent) as server:
            for _ in range(5):
                started = time.perf_counter()
                with pytest.raises(EngineError) as error:
                    Client(server.connection).health()
                assert error.value.code == "slow"
                assert SHORT_SECONDS <= time.perf_counter() - started < SHORT_SECONDS + 0.05

    def test_one_that_drips(self) -> None:
        def drip(connection: socket.socket, _: bytes) -> None:
            for byte in answer(200, health()):
                connection.sendall(bytes([byte]))
                time.sleep(0.01)

        with NastyServer(drip) as server:
            started = time.perf_counter()
            with pytest.raises(EngineError) as error:
                Client(server.connection).health()
            assert error.value.code == "slow"
            assert time.perf_counter() - started < SHORT_SECONDS + 0.05
            transfer = Transfer(server.connection, "GET", "/v1/health")
            until(lambda: transfer.step(0.02))
            assert parse_health(transfer.body).model == "tiny"

    @pytest.mark.parametrize("length", [0, 5, 30, 60])
    def test_one_that_cuts_off(self, length: int) -> None:
        with NastyServer(lambda connection, _: connection.sendall(answer(200, health())[:length])) as server:
            with pytest.raises(EngineError) as error:
                Client(server.connection).health()
            assert error.value.code == "unreachable"

    def test_nobody(self) -> None:
        with pytest.raises(EngineError) as error:
            Client(Connection(f"http://127.0.0.1:{unused_port()}", "token", 1, 1)).health()
        assert error.value.code == "unreachable"

    @pytest.mark.parametrize("code", [301, 404, 500])
    def test_another_program(self, code: int) -> None:
        with NastyServer(answering(code, b"<html>Not Found</html>")) as server:
            with pytest.raises(EngineError) as error:
                Client(server.connection).health()
            assert error.value.code == "bad_answer"
            assert str(code) in error.value.message

    def test_one_that_says_too_much(self) -> None:
        with NastyServer(lambda connection, _: connection.sendall(answer(200, health()) + b"more")) as server:
            assert only_engine_errors(Client(server.connection).health) is not None

    def test_an_upload_that_is_refused_before_its_end(self) -> None:
        def refuse(connection: socket.socket, _: bytes) -> None:
            connection.sendall(answer(413, {"code": "too_large", "message": "Use a smaller copy."}))
            connection.shutdown(socket.SHUT_WR)
            silent(connection, b"")

        with NastyServer(refuse) as server:
            transfer = Client(server.connection).upload(bytes(30_000_000), {})
            with pytest.raises(EngineError, match="smaller copy") as error:
                until(lambda: transfer.step(0.02))
            assert error.value.code == "too_large"

    def test_an_upload_that_nobody_reads_is_stepped(self) -> None:
        with NastyServer(lambda connection, _: time.sleep(1.0)) as server:
            transfer = Client(server.connection).upload(bytes(30_000_000), {})
            longest = 0.0
            for _ in range(10):
                started = time.perf_counter()
                assert not transfer.step(0.02)
                longest = max(longest, time.perf_counter() - started)
            assert longest < 0.07
            assert not transfer.sent
            assert 0 < transfer.fraction < 1
            transfer.close()

    def test_ids_from_a_file_stay_in_their_place(self) -> None:
        with NastyServer(answering(404, {"code": "not_found", "message": "No."})) as server:
            client = Client(server.connection)
            for id in ("a b\r\nHost: evil", "../../shutdown?", "\ud800", "ü"):
                with pytest.raises(EngineError) as error:
                    client.status(id)
                assert error.value.code == "not_found"
            assert all(request.count(" ") == 2 and request.count("/") == 4 for request in server.requests)

    def test_proxies_are_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
        with NastyServer(answering(200, health())) as server:
            assert Client(server.connection).health().contract == 1


class TestService:
    def test_short_requests(self, client: Client, service: ServiceProcess) -> None:
        told = patiently(client.health)
        assert (told.contract, told.pid, told.model) == (1, service.process.pid, "tiny")
        assert [model.name for model in patiently(client.models) if model.default] == ["tiny"]
        for ask in (client.status, client.cancel, client.forget):
            with pytest.raises(EngineError, match="no such capture") as error:
                patiently(lambda ask=ask: ask("nobody"))
            assert error.value.code == "not_found"

    def test_a_wrong_token(self, client: Client) -> None:
        values = {**vars(client.connection), "token": "wrong"}
        with pytest.raises(EngineError) as error:
            patiently(Client(Connection(**values)).health)
        assert error.value.code == "unauthorized"

    def test_a_photo_there_and_a_picture_back(self, client: Client) -> None:
        upload = client.upload(photos.portrait(), {"name": "Ännchen & Söhne.jpg", "level": "false"})
        until(lambda: upload.step(0.02))
        id = client.accepted(upload)
        until(lambda: patiently(lambda: client.status(id)).state == "done")
        facts = patiently(lambda: client.status(id)).facts
        assert facts is not None
        assert len(facts.camera) == 25
        download = client.download(id, "crop.png")
        until(lambda: download.step(0.02))
        assert download.body.startswith(b"\x89PNG")
        assert download.fraction == 1.0
        patiently(lambda: client.forget(id))
        with pytest.raises(EngineError, match="no such capture"):
            patiently(lambda: client.status(id))

    def test_refused_photos(self, client: Client) -> None:
        for photo, query, code in (
            (b"no picture at all", {}, "not_an_image"),
            (photos.tiny(), {"face": "99"}, "option"),
            (photos.tiny(), {"model": "nobody"}, "option"),
        ):
            upload = client.upload(photo, query)
            with pytest.raises(EngineError) as error:
                until(lambda upload=upload: upload.step(0.02))
            assert error.value.code == code


def test_helpers_agree_with_the_service(service: ServiceProcess) -> None:
    assert set(service.health()) == set(health())
    id = service.submit(photos.tiny())
    assert set(service.over(id)) == set(status())
