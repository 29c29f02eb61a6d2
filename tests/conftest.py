"""The fixtures that the tests share."""

import importlib
import os
import runpy
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import helpers as h
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project, but for its tests, as a reader has it: without a .env."""
    folder = tmp_path.resolve() / "clone"
    shutil.copytree(h.ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    shutil.copy(h.ROOT / ".env.example", folder)
    return folder


@pytest.fixture
def run_here(clone: Path, monkeypatch, capfd) -> Callable[..., CompletedProcess]:
    """Run client.py whole in this process; the server has its own."""
    # With LiteLLM imported before, a limit of time is one for the model alone.
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")
    importlib.import_module("litellm")

    def run(*args: str, **env: str) -> CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["client.py", *args])
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        status = 0
        try:
            runpy.run_path(str(clone / "client.py"), run_name="__main__")
        except SystemExit as exit:  # as the interpreter does: words go to stderr, with status 1
            if isinstance(exit.code, str):
                print(exit.code, file=sys.stderr)
            status = exit.code if isinstance(exit.code, int) else 1
        return CompletedProcess(sys.argv, status, *capfd.readouterr())

    return run


@pytest.fixture
def hanging(httpserver: HTTPServer) -> Iterator[threading.Event]:
    """Set once the stand-in was asked. It does not answer as long as the test lasts."""
    asked, over = threading.Event(), threading.Event()

    def wait(request: Request) -> Response:
        asked.set()
        over.wait(60)
        return h.completion("Too late.")

    h.respond(httpserver, wait)
    yield asked
    over.set()
