"""What the tests share: an environment, copies of the project, a stand-in for the OpenAI API."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE

import psutil
from mcp.client.stdio import get_default_environment
from werkzeug import Response

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = (ROOT / "sample.txt").read_text(encoding="utf-8")
KEY = "sk-test-0123456789-abcdefghij"


def readme_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


# README.md holds what is expected: the output of a run without a key, a request and its answer.
OUTPUT = readme_blocks("text")[0].splitlines()
STEP_1, STEP_2, STEP_3, WISHES, NO_KEY, STEP_4, _, _, STAND_IN, _ = OUTPUT
REQUEST, ANSWER = map(json.loads, readme_blocks("json"))
SYSTEM_PROMPT = REQUEST["params"]["systemPrompt"]
PROMPT = "Summarize the following document:\n\n"

# What a test shows must not depend on what its reader has set: a proxy, colours, the width of a
# terminal, a key. This process, before it imports FastMCP, and all that it starts have these alone.
ENVIRONMENT = {
    **get_default_environment(),  # PATH, HOME and the like
    "COLUMNS": "200",
    "NO_PROXY": "*",  # a proxy of the system's settings neither
    "UV_PROJECT_ENVIRONMENT": sys.prefix,  # uv takes the environment of the tests, and no network
    "UV_OFFLINE": "1",
}
os.environ.clear()
os.environ.update(ENVIRONMENT)
# This process imports client.py where it stands: the .env that a developer keeps there is closed.
os.environ.update(PYTHON_DOTENV_DISABLED="1", FASTMCP_ENV_FILE=os.devnull)

# Where a shell starts the tests in the background, Ctrl-C is ignored, and so by every child.
signal.signal(signal.SIGINT, signal.default_int_handler)


def write_env(folder, **variables):
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    (folder / ".env").write_text(text, encoding="utf-8")


def edit(path, old, new):
    """Replace the one place in a file where old stands."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(command, cwd, stderr=PIPE, **env):
    """Run a command of README.md, say; with stderr=STDOUT in one pipe, as in a terminal."""
    pipes = {"stdin": DEVNULL, "stdout": PIPE, "stderr": stderr, "encoding": "utf-8"}
    return subprocess.run(command, cwd=cwd, env={**ENVIRONMENT, **env}, **pipes, timeout=120)


def servers(clone):
    found, script = psutil.process_iter(["cmdline"]), str(clone / "server.py")
    return [process for process in found if script in (process.info["cmdline"] or [])]


def check_no_server(clone):
    deadline = time.monotonic() + 30
    while servers(clone):
        assert time.monotonic() < deadline, "the server has not ended within 30 seconds"
        time.sleep(0.05)


def completion(content, finish_reason="stop"):
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    answer = {"id": "1", "object": "chat.completion", "model": "gpt-4o", "choices": choices}
    return Response(json.dumps(answer), mimetype="application/json")


def stand_in(httpserver, response):
    """Have the stand-in answer so. Returns the variables that lead to it, a key among them."""
    handler = (lambda request: response) if isinstance(response, Response) else response
    httpserver.expect_request("/v1/chat/completions", method="POST").respond_with_handler(handler)
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": httpserver.url_for("/v1")}


WATCH = """import os, sys
log = open(os.environ["WATCH_LOG"], "a", encoding="utf-8", buffering=1)
def watch(event, args):
    if event == "socket.connect" or event == "import" and args[0].startswith("litellm"):
        print(event, args[1] if event == "socket.connect" else args[0], file=log)
sys.addaudithook(watch)
"""


def watch(folder):
    """Variables that make a Python process log its connections, and what it imports of LiteLLM."""
    (folder / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    log = folder / "log.txt"
    log.touch()
    return {"PYTHONPATH": str(folder), "WATCH_LOG": str(log)}, log
