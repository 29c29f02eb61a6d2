"""What the tests share: copies of the project, a stand-in for the OpenAI API, ways to run."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess
from unittest.mock import AsyncMock

import psutil
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

ROOT = Path(__file__).parent.parent
KEY = "sk-test-0123456789-abcdefghij"
STEPS = [
    "[1] client: calls the server's tool summarize_document",
    "[2] server: asks the client for a completion",
    "[3] client: is asked for a completion, and chooses a model",
    "[4] server: has the answer, and ends the tool call",
]
REQUEST = ["Model: gpt-4o", "Temperature: 0.7", "Max tokens: 300"]
NO_KEY = "No OPENAI_API_KEY (see .env.example): gpt-4o is not called"
STAND_IN = "[No model was called. The chat has {} characters.]"
SYSTEM_PROMPT = """You are an expert summarizer. \
Find the key ideas of a document and state them clearly and briefly."""
PROMPT = "Summarize the following document:\n\n"
SAMPLE = (ROOT / "sample.txt").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = 'MODELS = ["gpt-4o", "gpt-4o-mini"]'

# No test may depend on what a developer has set, or on the .env that they keep. Processes that
# tests start get this environment; in the process of the tests the two .env files are closed.
for name in list(os.environ):
    if name.startswith(("OPENAI_", "ANTHROPIC_", "LITELLM_", "FASTMCP_", "PYTHON")):
        del os.environ[name]
# In a clone of the project, uv takes the environment of the tests, and no network.
UV = {**os.environ, "UV_PROJECT_ENVIRONMENT": sys.prefix, "UV_OFFLINE": "1"}
os.environ["PYTHON_DOTENV_DISABLED"] = "1"
os.environ["FASTMCP_ENV_FILE"] = os.devnull

# Where a shell starts the tests in the background, Ctrl-C is ignored, and so by every child.
signal.signal(signal.SIGINT, signal.default_int_handler)


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def write_env(folder: Path, **variables: str) -> None:
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    (folder / ".env").write_text(text, encoding="utf-8")


def edit(path: Path, old: str, new: str) -> None:
    """Replace the one place in a file where old stands."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(command: list[str], cwd: Path, stderr: int = PIPE, **env: str) -> CompletedProcess:
    """Run a command of README.md, say; with stderr=STDOUT in one pipe, as in a terminal."""
    pipes = {"stdin": DEVNULL, "stdout": PIPE, "stderr": stderr, "encoding": "utf-8"}
    return subprocess.run(command, cwd=cwd, env={**UV, **env}, **pipes, timeout=60)


def check_failure(run: CompletedProcess, clone: Path, last_line: str, status: int = 1) -> None:
    assert run.returncode == status
    assert re.fullmatch(last_line, run.stderr.splitlines()[-1])
    assert "Summary:" not in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    assert KEY not in run.stdout + run.stderr
    check_no_server(clone)


async def greet(command: str, args: list[str], cwd: Path, **env: str) -> str:
    """Call the server's tool from the SDK's own client, and return the server's stderr."""
    parameters = StdioServerParameters(command=command, args=args, cwd=cwd, env=env)
    content = types.TextContent(type="text", text="Mine.")
    answer = types.CreateMessageResult(role="assistant", model="mine", content=content)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        async with (
            stdio_client(parameters, errlog=log) as streams,
            ClientSession(*streams, sampling_callback=AsyncMock(return_value=answer)) as session,
        ):
            assert (await session.initialize()).serverInfo.name == "Document Assistant"
            result = await session.call_tool("summarize_document", {"document_text": SAMPLE})
        assert result.content[0].text == "Summary:\nMine." and not result.isError
        log.seek(0)
        return log.read()


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


def completion(content: str | None, finish_reason: str = "stop") -> Response:
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    answer = {"id": "1", "object": "chat.completion", "model": "gpt-4o", "choices": choices}
    return Response(json.dumps(answer), mimetype="application/json")


def respond(httpserver: HTTPServer, response: Response | Callable[[Request], Response]) -> None:
    handler = (lambda request: response) if isinstance(response, Response) else response
    httpserver.expect_request("/v1/chat/completions", method="POST").respond_with_handler(handler)


def with_key(httpserver: HTTPServer) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": httpserver.url_for("/v1")}


WATCH = """
import os, sys
log = open(os.environ["WATCH_LOG"], "a", encoding="utf-8", buffering=1)
def watch(event, args):
    if event == "socket.connect" or event == "import" and args[0].startswith("litellm"):
        print(event, args[1] if event == "socket.connect" else args[0], file=log)
sys.addaudithook(watch)
"""


def watch(folder: Path) -> tuple[dict[str, str], Path]:
    """Variables that make a Python process log its connections, and what it imports of LiteLLM."""
    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    log = folder / "hooks" / "log.txt"
    log.touch()
    return {"PYTHONPATH": str(folder / "hooks"), "WATCH_LOG": str(log)}, log
