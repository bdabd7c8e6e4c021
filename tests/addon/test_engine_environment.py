"""The engine's own environment, with real Pythons and real pip, from wheels made here in a moment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nasty_server import NastyServer, until

from blender_addon.engine import environment, pythons, torch_build
from blender_addon.engine.child import Child
from blender_addon.engine.environment import MARK, Environment, EnvironmentJob, InstallSource, find_base_pythons
from blender_addon.engine.errors import EngineError

BASE = Path(sys.base_prefix) / "bin" / "python3"
MODULES = {
    "tpn_engine/__init__.py": "",
    "server/__init__.py": "",
    "server/front.py": "",
    "server/__main__.py": "",
}


@pytest.fixture(scope="module", autouse=True)
def no_settings_of_this_machine() -> Iterator[None]:
    """Where pip is told of other folders or held to other versions, it would not take these wheels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        for name in ("PIP_FIND_LINKS", "PIP_CONSTRAINT"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything a tiny engine needs."""
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "torch", "9999.0", {"torch/__init__.py": ""})
    wheel(folder, "fastapi", "9999.0", {"fastapi/__init__.py": ""})
    engine(folder, "1.0")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """An environment that was set up."""
    environment = Environment(tmp_path_factory.mktemp("user") / "with spaces and ü" / "engine")
    job = over(environment.set_up(BASE, InstallSource(None, wheels, online=False)))
    assert (job.state, job.error) == ("done", "")
    return environment


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[NastyServer]:
    """Whoever asks the package index talks to this server."""

    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with NastyServer(talk) as index:
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.setenv(name, index.connection.url)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setattr(environment, "torch_index", lambda: f"{index.connection.url}/torch-index")
        yield index


def wheel(folder: Path, name: str, version: str, files: dict[str, str], requires: str = "") -> Path:
    information = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n{requires}"
    contents = {
        **files,
        f"{information}/METADATA": metadata,
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*contents, f"{information}/RECORD"))
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for inside, text in {**contents, f"{information}/RECORD": record}.items():
            file.writestr(inside, text)
    return path


def engine(folder: Path, version: str, **changes: str) -> Path:
    files = {**MODULES, "tpn_engine/version.py": f"__version__ = {version!r}\n", **changes}
    requires = "Requires-Dist: torch\nProvides-Extra: server\nRequires-Dist: fastapi; extra == 'server'\n"
    return wheel(folder, "tpn_engine", version, files, requires)


def over(job: EnvironmentJob) -> EnvironmentJob:
    longest = 0.0

    def step() -> bool:
        nonlocal longest
        before = time.perf_counter()
        finished = job.step()
        longest = max(longest, time.perf_counter() - before)
        return finished

    until(step)
    assert longest < 0.5
    return job


class TestSetUp:
    def test_made_from_a_folder_of_wheels(self, made: Environment) -> None:
        assert made.installed == "1.0"
        assert not made.half_made
        asked = subprocess.run(
            [made.python, "-c", "import sys, torch, fastapi; print(sys.prefix)"], capture_output=True, text=True
        )
        assert Path(asked.stdout.strip()) == made.folder

    def test_nothing_is_asked_of_the_network(
        self, tmp_path: Path, wheels: Path, offline: NastyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        monkeypatch.setenv("PIP_TARGET", str(elsewhere))
        monkeypatch.setenv("PIP_USER", "1")
        monkeypatch.setenv("PYTHONPATH", str(elsewhere))
        home = Environment(tmp_path / "engine")
        job = over(home.set_up(BASE, InstallSource(wheels / "tpn_engine-1.0-py3-none-any.whl", wheels, True)))
        assert (job.state, job.error) == ("done", "")
        assert job.fraction == 1.0
        assert any("Successfully installed" in line for line in job.lines)
        assert any("Making the environment" in line for line in job.lines)
        assert not elsewhere.exists()
        assert offline.requests == []

    def test_update_repair_and_remove(self, made: Environment, wheels: Path, tmp_path: Path) -> None:
        newer = engine(tmp_path, "2.0")
        job = over(made.update(InstallSource(newer, wheels, online=False)))
        assert (job.state, made.installed) == ("done", "2.0")
        (tmp_path / "broken").mkdir()
        broken = engine(tmp_path / "broken", "3.0", **{"server/front.py": "raise OSError('no such thing')"})
        job = over(made.update(InstallSource(broken, wheels, online=False)))
        assert job.state == "failed"
        assert "does not run: press Repair" in job.error
        assert "no such thing" in job.error
        assert (made.installed, made.half_made) == (None, True)
        job = over(made.repair(BASE, InstallSource(None, wheels, online=False)))
        assert (job.state, made.installed) == ("done", "1.0")
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept").write_text("kept")
        (made.folder / "link").symlink_to(outside)
        job = over(made.remove())
        assert (job.state, made.folder.exists(), made.installed) == ("done", False, None)
        assert (outside / "kept").exists()
        assert over(made.remove()).state == "done"
        assert "no environment to update" in over(made.update(InstallSource(None, wheels, False))).error

    def test_cancelled_half_way(self, tmp_path: Path, wheels: Path) -> None:
        home = Environment(tmp_path / "engine")
        job = home.set_up(BASE, InstallSource(None, wheels, online=False))
        until(lambda: job.step() or "Making" in job.stage)
        until(lambda: job.step() or home.half_made)
        child = psutil.Process(job._child.pid if job._child else 0)
        family = [child, *child.children(recursive=True)]
        job.cancel()
        assert (job.state, job.step()) == ("cancelled", True)
        psutil.wait_procs(family, timeout=10)
        assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)
        assert (home.installed, home.half_made) == (None, True)
        assert over(home.remove()).state == "done"


class TestRefusals:
    def refusal(self, home: Environment, base: Path, source: InstallSource) -> str:
        job = over(home.set_up(base, source))
        assert job.state == "failed"
        assert home.installed is None
        return job.error

    def test_nowhere_to_install_from(self, tmp_path: Path, wheels: Path) -> None:
        home, some_wheel = Environment(tmp_path / "engine"), wheels / "tpn_engine-1.0-py3-none-any.whl"
        for source, message in (
            (InstallSource(some_wheel, None, online=False), "allow online access"),
            (InstallSource(None, None, online=True), "Choose the engine's wheel"),
            (InstallSource(tmp_path / "none.whl", None, online=True), "no wheel at"),
            (InstallSource(None, tmp_path / "none", online=True), "no wheel folder"),
        ):
            assert message in self.refusal(home, BASE, source)
        assert not home.folder.exists()

    def test_pythons_that_do_not_do(self, tmp_path: Path, wheels: Path) -> None:
        home, source = Environment(tmp_path / "engine"), InstallSource(None, wheels, online=False)
        for name, said, message in (
            ("old", "print('[[3, 8], true]')", "Python 3.8; the engine needs"),
            ("small", "print('[[3, 11], false]')", "64-bit"),
            ("debian", "raise ModuleNotFoundError(\"No module named 'ensurepip'\")", "python3-venv"),
            ("mad", "print('[[[[')", "not a Python that works"),
        ):
            program = tmp_path / name
            program.write_text(f"#!{BASE}\n{said}\n")
            program.chmod(0o700)
            assert message in self.refusal(home, program, source)
        assert "can't be started" in self.refusal(home, tmp_path / "nowhere", source)
        assert not home.folder.exists()

    def test_a_folder_of_other_files_is_not_touched(self, tmp_path: Path, wheels: Path) -> None:
        (tmp_path / "engine").mkdir()
        precious = tmp_path / "engine" / "precious.blend"
        precious.write_text("precious")
        home = Environment(tmp_path / "engine")
        assert "other files" in self.refusal(home, BASE, InstallSource(None, wheels, online=False))
        job = over(home.remove())
        assert (job.state, precious.read_text()) == ("failed", "precious")

    def test_marks_that_are_damaged(self, tmp_path: Path) -> None:
        home = Environment(tmp_path)
        for content in ("", "[]", "{}", '{"version": 1}', '{"version": "1.0"}', "[" * 100_000):
            (tmp_path / MARK).write_text(content)
            assert home.installed is None  # the last one has no interpreter
            assert home.half_made

    def test_a_base_that_was_uninstalled(self, tmp_path: Path, bare_python: Path) -> None:
        home = Environment(bare_python.parent.parent)
        (home.folder / MARK).write_text(json.dumps({"version": "1.0"}))
        assert home.installed == "1.0"
        settings = home.folder / "pyvenv.cfg"
        before = settings.read_text()
        settings.write_text(f"home = {tmp_path / 'gone'}\n")
        assert (home.installed, home.half_made) == (None, True)
        settings.write_text(before)
        (home.folder / MARK).unlink()


class TestPip:
    """With the environment there is: what pip says becomes a sentence."""

    @pytest.fixture
    def home(self, tmp_path: Path, wheels: Path) -> Environment:
        """One whose pip is borrowed, so that it is made in no time."""
        home = Environment(tmp_path / "engine")
        subprocess.run([BASE, "-m", "venv", "--without-pip", home.folder], check=True)
        import pip

        site = next(home.folder.glob("lib/python*/site-packages"))
        (site / "pip").symlink_to(Path(pip.__file__).parent)
        return home

    def test_a_package_that_is_missing(self, home: Environment, tmp_path: Path, offline: NastyServer) -> None:
        alone = engine(tmp_path, "1.0")
        job = over(home.update(InstallSource(alone, tmp_path, online=True)))
        assert "The wheel folder has no" in job.error
        assert offline.requests == []
        job = over(home.update(InstallSource(alone, None, online=True)))
        assert "There is no" in job.error
        first, *others = [request for request in offline.requests if "/pip/" not in request]
        assert "/torch-index/torch/" in first
        assert any("/torch/" in request or "/fastapi/" in request for request in others)

    def test_a_network_that_is_down(
        self, home: Environment, tmp_path: Path, offline: NastyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIP_RETRIES", "1")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:1/")
        monkeypatch.setattr(environment, "torch_index", lambda: "http://127.0.0.1:1/")
        job = over(home.update(InstallSource(engine(tmp_path, "1.0"), None, online=True)))
        assert "check the network" in job.error

    def test_the_bar_follows_downloads(self, home: Environment, offline: NastyServer, tmp_path: Path) -> None:
        big = engine(tmp_path, "1.0", **{"tpn_engine/big.txt": "".join(map(str, range(300_000)))}).read_bytes()
        name = b"tpn_engine-1.0-py3-none-any.whl"
        links = b'<a href="/%s">%s</a>' % (name, name)

        def talk(connection: socket.socket, request: bytes) -> None:
            path = request.split(b" ")[1]
            kind, body = ("application/zip", big) if path.endswith(b".whl") else ("text/html", links)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            head += "Connection: close\r\n\r\n"
            connection.sendall(head.encode())
            for start in range(0, len(body), 100_000):
                connection.sendall(body[start : start + 100_000])
                time.sleep(0.05)

        seen: set[float] = set()
        with NastyServer(talk) as index:
            requirements = ["tpn-engine", "--no-deps", "--index-url", index.connection.url]
            plan = home._install(InstallSource(None, tmp_path, online=False), requirements, "Python 3")
            job = EnvironmentJob(plan, home.folder)
            until(lambda: seen.add(job.fraction or 0.0) or job.step())
        assert len(seen) > 3
        assert not any(line.startswith("Progress ") for line in job.lines)

    def test_a_wheel_that_is_damaged(self, home: Environment, tmp_path: Path, wheels: Path) -> None:
        for name in ("tpn_engine-1.0-py3-none-any.whl", "tpn_engine-1.0-cp27-cp27m-win32.whl"):
            (tmp_path / name).write_bytes(b"no wheel")
            job = over(home.update(InstallSource(tmp_path / name, wheels, online=False)))
            assert job.state == "failed"
            assert len(job.error) > 30


class TestTorchBuild:
    @pytest.mark.parametrize(
        ("platform", "nvidia", "index"),
        [
            ("linux", True, None),
            ("linux", False, "https://download.pytorch.org/whl/cpu"),
            ("win32", True, "https://download.pytorch.org/whl/cu128"),
            ("win32", False, None),
            ("darwin", False, None),
        ],
    )
    def test_index(self, monkeypatch: pytest.MonkeyPatch, platform: str, nvidia: bool, index: str | None) -> None:
        monkeypatch.setattr(torch_build.sys, "platform", platform)
        monkeypatch.setattr(torch_build, "has_nvidia_driver", lambda: nvidia)
        assert torch_build.torch_index() == index

    def test_driver(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        expected = Path("/proc/driver/nvidia/version").is_file()
        monkeypatch.setenv("PATH", str(tmp_path))
        assert torch_build.has_nvidia_driver() is expected
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
        (tmp_path / "nvidia-smi").chmod(0o700)
        assert torch_build.has_nvidia_driver()


class TestPythons:
    def test_this_one_is_found(self) -> None:
        found = find_base_pythons()
        assert BASE.resolve() in found
        assert len(found) == len(set(found))

    def test_order_and_names(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("python3.9", "python3.10", "python3.11-config", "python3.13", "python3.14", "python3.11"):
            (tmp_path / name).write_text("python")
        (tmp_path / "python3.12").write_text("")
        (tmp_path / "python3").symlink_to(tmp_path / "python3.11")
        (tmp_path / "shims").mkdir()
        (tmp_path / "shims" / "python3.11").write_text("a script")
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), "", str(tmp_path / "shims")]))
        here = [path.name for path in pythons.find_base_pythons() if path.parent == tmp_path]
        assert here == ["python3.11", "python3.13", "python3.10"]


class TestChild:
    def test_lines_of_any_kind(self, tmp_path: Path) -> None:
        said = r"b'\x1b[31mred\x1b[0m\n\xff\xfe\n' + b'x' * 10000 + b'\nlast without end'"
        child = Child([sys.executable, "-c", f"import sys; sys.stdout.buffer.write({said})"], tmp_path)
        until(lambda: child.returncode is not None)
        lines = child.new_lines()
        assert lines[0] == "red"
        assert lines[-1] == "last without end"
        assert max(map(len, lines)) <= 4096

    def test_a_grandchild_that_holds_the_pipe(self, tmp_path: Path) -> None:
        code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1).pid)"
        hold = code.replace("input()", "import time; time.sleep(1000)")
        child = Child([sys.executable, "-c", hold], tmp_path)
        until(lambda: child.returncode == 0, 30.0)
        psutil.Process(int(child.new_lines()[0])).kill()

    def test_blenders_own_settings_are_not_passed_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", "/blender")
        code = "import os; print(os.environ.get('PYTHONPATH'), os.environ['PYTHONUNBUFFERED'])"
        child = Child([sys.executable, "-c", code], tmp_path)
        until(lambda: child.returncode is not None)
        assert child.new_lines() == ["None 1"]

    def test_no_such_program(self, tmp_path: Path) -> None:
        for name in ("nowhere", "nul\0"):
            with pytest.raises(EngineError) as error:
                Child([tmp_path / name], tmp_path)
            assert error.value.code == "environment"
