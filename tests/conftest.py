"""What the tests share: copies of the project, a stand-in for the OpenAI API, ways to run."""

import json
import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

ROOT = Path(__file__).parent.parent
KEY = "sk-test-0123456789-abcdefghij"
NO_KEY = "OPENAI_API_KEY is not set, so no model was called."
CHAT = "/v1/chat/completions"

# No test may depend on what a developer has set, or on the .env that they keep. Processes that
# tests start get this environment; in the process of the tests the two .env files are closed.
for name in list(os.environ):
    if name.startswith(("OPENAI_", "LITELLM_", "FASTMCP_", "PYTHON")):
        del os.environ[name]
ENVIRONMENT = dict(os.environ)
os.environ["PYTHON_DOTENV_DISABLED"] = "1"
os.environ["FASTMCP_ENV_FILE"] = os.devnull

# In a clone of the project, uv takes the environment of the tests, and no network.
UV = {"UV_PROJECT_ENVIRONMENT": sys.prefix, "UV_OFFLINE": "1"}

# Where a shell starts the tests in the background, Ctrl-C is ignored, and so by every child.
signal.signal(signal.SIGINT, signal.default_int_handler)


def copy_project(folder: Path) -> Path:
    """Copy the files that a run needs to folder/project, without a .env."""
    project = folder.resolve() / "project"
    project.mkdir()
    for name in ("server.py", "client.py", "sample.txt", ".env.example"):
        shutil.copy(ROOT / name, project)
    return project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as a reader has it after `git clone`, but for its tests."""
    clone = tmp_path.resolve() / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    shutil.copy(ROOT / ".env.example", clone)
    return clone


def write_env(folder: Path, variables: dict[str, str]) -> None:
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    (folder / ".env").write_text("".join(lines), encoding="utf-8")


def edit(path: Path, old: str, new: str) -> None:
    """Replace the one place in a file where old stands."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@dataclass
class Run:
    """What a run of client.py left: its exit status and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The last line of stderr."""
        return self.stderr.rstrip("\n").rpartition("\n")[2]

    def check_failure(self, status: int = 1) -> None:
        """Check what every failure has in common."""
        assert self.status == status
        assert "Summary:" not in self.stdout
        for text in (self.stdout, self.stderr):
            for unwanted in ("Traceback", "validation error", "Give Feedback", KEY):
                assert unwanted not in text


def start_client(project: Path, *args: str, cwd: Path | None = None, **env: str):
    """Start client.py as a process of its own, as `uv run client.py` does."""
    return subprocess.Popen(
        [sys.executable, str(project / "client.py"), *args],
        cwd=cwd,
        env={**ENVIRONMENT, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen) -> Run:
    """Wait for a process. The server holds the same stderr: this waits for its end as well."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    return Run(process.returncode, stdout, stderr)


def run_client(project: Path, *args: str, cwd: Path | None = None, **env: str) -> Run:
    return finish(start_client(project, *args, cwd=cwd, **env))


@pytest.fixture
def run_here(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Run]:
    """Run the whole of client.py in this process, where LiteLLM is imported already.

    The server is a process of its own all the same.
    """

    def run(*args: str, **env: str) -> Run:
        monkeypatch.setattr(sys, "argv", ["client.py", *args])
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        status = 0
        try:
            runpy.run_path(str(project / "client.py"), run_name="__main__")
        except SystemExit as exit:  # as the interpreter does: words go to stderr, with status 1
            if isinstance(exit.code, str):
                print(exit.code, file=sys.stderr)
            status = exit.code if isinstance(exit.code, int) else 1
        finally:
            logging.disable(logging.NOTSET)
        return Run(status, *capfd.readouterr())

    return run


def servers(project: Path) -> list[psutil.Process]:
    """The server processes of this copy of the project."""
    script = str(project / "server.py")
    return [p for p in psutil.process_iter(["cmdline"]) if script in (p.info["cmdline"] or [])]


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} seconds"
        time.sleep(0.05)


def check_no_server(project: Path) -> None:
    wait_until(lambda: not servers(project), seconds=5)


def greet(command: list[str], cwd: Path, env: dict[str, str]) -> Run:
    """Start the server as a foreign client would, check its answers, return what else came."""
    initialize = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {}},
        "clientInfo": {"name": "a foreign client", "version": "1"},
    }
    requests = [
        {"id": "a", "method": "initialize", "params": initialize},
        {"method": "notifications/initialized"},
        {"id": "b", "method": "tools/list"},
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8"
    ) as process:
        for request in requests:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **request}) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        rest, stderr = process.communicate(timeout=30)
    assert [answer["id"] for answer in answers] == ["a", "b"]
    assert answers[0]["result"]["protocolVersion"] == "2025-11-25"
    assert answers[0]["result"]["serverInfo"]["name"] == "Document Assistant"
    assert [tool["name"] for tool in answers[1]["result"]["tools"]] == ["summarize_document"]
    return Run(process.returncode, rest, stderr)


def completion(content: str | None, finish_reason: str = "stop") -> dict:
    """A chat completion as the OpenAI API answers it."""
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1764000000,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def answer(content: str) -> Response:
    return Response(json.dumps(completion(content)), mimetype="application/json")


def with_key(httpserver: HTTPServer) -> dict[str, str]:
    """The variables that lead LiteLLM to the stand-in."""
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": httpserver.url_for("/v1")}


def calls(httpserver: HTTPServer) -> int:
    """How often the model was called."""
    return len(httpserver.log)


def answer_and_watch(httpserver: HTTPServer, project: Path, content: str) -> list[dict[str, str]]:
    """Answer every call with content. The list fills with the server's environments meanwhile."""
    environments: list[dict[str, str]] = []

    def watch(request: Request) -> Response:
        environments.extend(server.environ() for server in servers(project))
        return answer(content)

    httpserver.expect_request(CHAT, method="POST").respond_with_handler(watch)
    return environments


# The two runs that several tests look at, and that README.md and the notebook show.

SUMMARY = "Astronomy explains where we come from, serves society and is open to everyone."

CONNECTION_LOG = """
import os, sys

def hook(event, args):
    if event == "socket.connect":
        with open(os.environ["CONNECTION_LOG"], "a", encoding="utf-8") as log:
            print(args[1], file=log)

sys.addaudithook(hook)
"""


def log_connections(folder: Path) -> tuple[dict[str, str], Path]:
    """Variables that make a Python process log the addresses it connects to, and the log."""
    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(CONNECTION_LOG, encoding="utf-8")
    log = folder / "connections.txt"
    log.touch()
    return {"PYTHONPATH": str(folder / "hooks"), "CONNECTION_LOG": str(log)}, log


@dataclass
class SharedRun(Run):
    url: str  # of the stand-in
    requests: list[Request]  # what the stand-in was sent
    server_environments: list[dict[str, str]]  # seen while the model was called
    connections: list[str]  # the addresses that the client connected to


def shared_run(folder: Path, **env: str) -> SharedRun:
    """Run client.py with a key in .env, from a folder that holds another .env."""
    project = copy_project(folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    write_env(elsewhere, {"OPENAI_API_KEY": "sk-elsewhere"})
    hooks, log = log_connections(folder)
    with HTTPServer() as httpserver:
        server_environments = answer_and_watch(httpserver, project, f"\n{SUMMARY}\n")
        write_env(project, with_key(httpserver))
        run = run_client(project, cwd=elsewhere, **hooks, **env)
        return SharedRun(
            **vars(run),
            url=httpserver.url_for(""),
            requests=[request for request, _ in httpserver.log],
            server_environments=server_environments,
            connections=log.read_text(encoding="utf-8").splitlines(),
        )


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> SharedRun:
    return shared_run(tmp_path_factory.mktemp("keyed"))


@pytest.fixture(scope="session")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> SharedRun:
    """A variable that is set to nothing wins over the key in .env."""
    return shared_run(tmp_path_factory.mktemp("keyless"), OPENAI_API_KEY="")
