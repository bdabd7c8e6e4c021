"""A tiny model with random weights, and a service that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_process import ServiceProcess
from tiny_model import tiny_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"), weights)
    yield running
    running.end()
