"""What the tests share: copies of the project, a stand-in for the OpenAI API, ways to run."""

import json
import os
import re
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
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

ROOT = Path(__file__).parent.parent
KEY = "sk-test-0123456789-abcdefghij"
NO_KEY = "OPENAI_API_KEY is not set, so no model was called. Set it in .env, see .env.example."
CHAT = "/v1/chat/completions"
STEPS = [
    "[1] client: calls the server's tool summarize_document",
    "[2] server: asks the client for a completion",
    "[3] client: is asked for a completion, and chooses a model",
    "[4] server: has the completion, and ends the tool call",
]
FAILED = "the client's model call failed"
NO_TEXT = "the client's model returned no text"
SYSTEM_PROMPT = """You are an expert summarizer. \
Find the key ideas of a document and state them clearly and briefly."""
PROMPT = "Summarize the following document:\n\n"
SAMPLE = (ROOT / "sample.txt").read_text(encoding="utf-8")

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


def copy_clone(folder: Path) -> Path:
    """Copy the project, but for its tests, to folder/clone, as a reader has it: without a .env."""
    clone = folder.resolve() / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    shutil.copy(ROOT / ".env.example", clone)
    return clone


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copy_clone(tmp_path)


def write_env(folder: Path, **variables: str) -> None:
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    (folder / ".env").write_text(text, encoding="utf-8")


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

    def check_failure(self, clone: Path, last_line: str = "", status: int = 1) -> None:
        assert self.status == status
        if last_line:
            assert re.fullmatch(last_line, self.stderr.splitlines()[-1])
        assert "Summary:" not in self.stdout
        assert "Traceback" not in self.stdout + self.stderr
        assert KEY not in self.stdout + self.stderr
        check_no_server(clone)


def start_client(clone: Path, *args: str, cwd: Path | None = None, **env: str) -> subprocess.Popen:
    command, env = [sys.executable, str(clone / "client.py"), *args], {**ENVIRONMENT, **env}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=env, **pipes, encoding="utf-8")


def finish(process: subprocess.Popen) -> Run:
    """Wait for a process. The server holds the same stderr: this waits for its end as well."""
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    return Run(process.returncode, stdout, stderr)


@pytest.fixture
def run_here(clone: Path, monkeypatch, capfd) -> Callable[..., Run]:
    """Run client.py whole in this process, where LiteLLM is imported; the server has its own."""

    def run(*args: str, **env: str) -> Run:
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
        return Run(status, *capfd.readouterr())

    return run


def servers(clone: Path) -> list[psutil.Process]:
    found, script = psutil.process_iter(["cmdline"]), str(clone / "server.py")
    return [process for process in found if script in (process.info["cmdline"] or [])]


def check_no_server(clone: Path) -> None:
    wait_until(lambda: not servers(clone))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "not so within 5 seconds"
        time.sleep(0.05)


async def greet(log: Path, command: str, args: list[str], cwd: Path, **env: str) -> str:
    """Call the server's tool from the SDK's own client, and return its stderr."""
    parameters = StdioServerParameters(command=command, args=args, cwd=cwd, env=env)

    async def sampling_callback(context, params):
        content = types.TextContent(type="text", text=f"{params.maxTokens} tokens")
        return types.CreateMessageResult(role="assistant", model="mine", content=content)

    with log.open("w", encoding="utf-8") as errlog:
        async with (
            stdio_client(parameters, errlog=errlog) as streams,
            ClientSession(*streams, sampling_callback=sampling_callback) as session,
        ):
            assert (await session.initialize()).serverInfo.name == "Document Assistant"
            result = await session.call_tool("summarize_document", {"document_text": SAMPLE})
    assert result.content[0].text == "Summary:\n300 tokens" and not result.isError
    return log.read_text(encoding="utf-8")


def completion(content: str | None, finish_reason: str = "stop") -> dict:
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    return {**answer, "choices": choices, "usage": usage}


def provider_error(status: int) -> Response:
    """An error as a provider words it, with a masked piece of the key. Retries need not wait."""
    words = {"error": {"message": f"Refused. Your key: {KEY[:8]}*****{KEY[-4:]}."}}
    return Response(json.dumps(words), status, {"retry-after-ms": "1"}, "application/json")


def respond(httpserver: HTTPServer, *responses: dict | Response | Callable) -> None:
    """Let the stand-in answer with each in turn, and with the last for ever."""

    def handle(request: Request) -> Response:
        response = responses[min(len(httpserver.log), len(responses) - 1)]
        if not isinstance(response, dict | Response):
            response = response(request)
        return Response(json.dumps(response)) if isinstance(response, dict) else response

    httpserver.expect_request(CHAT, method="POST").respond_with_handler(handle)


def with_key(httpserver: HTTPServer) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": httpserver.url_for("/v1")}


CONNECTION_LOG = """
import os, sys
log = open(os.environ["CONNECTION_LOG"], "a", encoding="utf-8", buffering=1)
sys.addaudithook(lambda event, args: event == "socket.connect" and print(args[1], file=log))
"""


def log_connections(folder: Path) -> tuple[dict[str, str], Path]:
    """Variables that make a Python process log the addresses it connects to, and the log."""
    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(CONNECTION_LOG, encoding="utf-8")
    log = folder / "connections.txt"
    log.touch()
    return {"PYTHONPATH": str(folder / "hooks"), "CONNECTION_LOG": str(log)}, log


@pytest.fixture(scope="session")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """README.md's `uv run client.py` without a key, both streams in one pipe."""
    clone = copy_clone(tmp_path_factory.mktemp("keyless"))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    env, command = {**ENVIRONMENT, **UV}, ["uv", "run", "client.py"]
    run = subprocess.run(command, cwd=clone, env=env, **pipes, encoding="utf-8")
    check_no_server(clone)
    return Run(run.returncode, run.stdout, "")
