"""What every test gets: no hub, no telemetry, no network but this machine, few threads, and a ready MLflow database."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
)
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // max(2, WORKERS))))
# A busy machine is no defect of the code under test.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")


class NetworkBlockedError(AssertionError):
    """A test tried to reach another machine."""


def is_local(address: object) -> bool:
    """Unix sockets and loopback addresses."""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in ("localhost", "", None):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses connections and name look-ups that leave the machine."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(address: object) -> None:
        if not is_local(address):
            raise NetworkBlockedError(f"tests must not connect to {address!r}; only this machine is allowed")

    def guarded_connect(self: socket.socket, address: object) -> None:
        check(address)
        return connect(self, address)  # type: ignore[arg-type]

    def guarded_connect_ex(self: socket.socket, address: object) -> int:
        check(address)
        return connect_ex(self, address)  # type: ignore[arg-type]

    def guarded_getaddrinfo(host: object, *args: object, **kwargs: object) -> object:
        check((host.decode() if isinstance(host, bytes) else host,))
        return getaddrinfo(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty MLflow database, made once because its migrations take seconds."""
    from harness.mlflowstore import default_uri, init_store

    folder = tmp_path_factory.mktemp("mlflow-template")
    init_store(default_uri(folder))
    return folder / "mlflow.db"


@pytest.fixture
def mlflow_uri(mlflow_template: Path, tmp_path: Path) -> str:
    """The URI of a fresh, migrated MLflow database of this test's own, beside an `mlartifacts` folder."""
    from harness.mlflowstore import default_uri

    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(mlflow_template, folder / "mlflow.db")
    return default_uri(folder)
