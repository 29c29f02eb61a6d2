"""client.py whole, and what README.md says to do: real processes, real HTTP to a stand-in."""

import importlib.util
import json
import re
import shutil
import signal
import sys
import threading
from pathlib import Path
from subprocess import STDOUT

import helpers as h
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from werkzeug import Response

# Seconds for a whole run, the server's start included: on an idle machine it takes one or two.
LIMIT = 10
DOCUMENT, SUMMARY = "Ein Satz — “drei”.\n東京", "要約: 東京 — “été” 🔭"


def test_without_a_key_a_run_tells_its_story_as_readme_md_does(clone, tmp_path):
    """In order, where both processes print to one pipe."""
    env, log = h.watch(tmp_path)
    h.write_env(tmp_path, OPENAI_API_KEY="of the folder above")
    run = h.run(["uv", "run", "client.py"], clone, stderr=STDOUT, **env)
    h.check_no_server(clone)
    _, _, *lines = run.stdout.splitlines()  # FastMCP's own line takes two
    assert lines == h.OUTPUT
    assert log.read_text(encoding="utf-8") == ""  # LiteLLM is not imported, no connection made


def test_with_a_key_the_provider_alone_is_sent_it_and_this_request(clone, tmp_path, httpserver):
    """Whatever other .env files there are, the document's name, and the system's code page."""
    elsewhere, packages = tmp_path / "elsewhere", tmp_path / "packages"
    for folder in (elsewhere, packages):
        folder.mkdir()
        h.write_env(folder, OPENAI_ORGANIZATION="of somebody else")
    (elsewhere / "Überblick 東京.txt").write_text(DOCUMENT, encoding="utf-8")
    env, log = h.watch(tmp_path)
    if sys.platform != "win32":  # where it takes a right to make a symbolic link
        (packages / "litellm").symlink_to(Path(importlib.util.find_spec("litellm").origin).parent)
        env["PYTHONPATH"] += f":{packages}"

    environments = []  # of the server, while the model is called

    def answer(request):
        environments.extend(server.environ() for server in h.servers(clone))
        return h.completion(SUMMARY)

    env |= h.stand_in(httpserver, answer)  # this key wins over the file's
    h.write_env(clone, OPENAI_BASE_URL=env.pop("OPENAI_BASE_URL"), OPENAI_API_KEY="sk-unused")
    command = [sys.executable, clone / "client.py", "Überblick 東京.txt"]
    run = h.run(command, elsewhere, **env, PYTHONIOENCODING="cp1252")
    h.check_no_server(clone)
    assert run.returncode == 0
    lines = [line for line in h.OUTPUT if line not in (h.STEP_2, h.NO_KEY, h.STEP_4)]
    assert run.stdout.splitlines() == [line.replace(h.STAND_IN, SUMMARY) for line in lines]
    assert run.stderr.splitlines()[2:] == [h.STEP_2, h.STEP_4]
    ((request, _),) = httpserver.log
    assert request.headers["Authorization"] == f"Bearer {h.KEY}"
    assert "OpenAI-Organization" not in request.headers
    system = {"role": "system", "content": h.SYSTEM_PROMPT}
    messages = [system, {"role": "user", "content": h.PROMPT + DOCUMENT}]
    sent = {"model": "gpt-4o", "messages": messages, "temperature": 0.7, "max_tokens": 300}
    assert request.json == sent
    imported, *lines = log.read_text(encoding="utf-8").splitlines()
    connections = [line for line in lines if line.startswith("socket.connect ")]
    assert imported == "import litellm" and connections
    assert all(f", {httpserver.port}" in address for address in connections)
    (environment,) = environments
    assert "PATH" in environment and h.KEY not in "".join(environment.values())


def test_the_other_commands_that_need_no_key(clone):
    run_client, copy_env = "".join(h.readme_blocks("sh")).splitlines()
    assert run_client == "uv run client.py"  # above
    assert copy_env == "cp .env.example .env"
    shutil.copy(clone / ".env.example", clone / ".env")
    (clone / "my-document.txt").write_text("Every star is a sun.", encoding="utf-8")
    (own,) = re.findall(r"`(uv run client\.py .+?)`", h.README)
    length = len(h.SYSTEM_PROMPT + h.PROMPT) + 20
    assert f"The chat has {length} characters." in h.run(own.split(), clone).stdout
    (elsewhere,) = re.findall(r"`(uv run --directory .+?)`", h.README)
    command = elsewhere.replace("/path/to/this/folder", str(clone)).split()
    assert "Starting MCP server 'Document" in h.run(command, clone.parent).stderr
    (tests,) = re.findall(r"`(uv run pytest)`", h.README)
    assert f"\n{tests}\n" in (h.ROOT / ".ci" / "run").read_text(encoding="utf-8")


async def test_vs_code_starts_a_server_that_needs_no_model(clone, tmp_path):
    text = (h.ROOT / ".vscode" / "mcp.json").read_text(encoding="utf-8")
    (entry,) = json.loads(text)["servers"].values()
    watch, log = h.watch(tmp_path)
    env, errors = {**h.ENVIRONMENT, **watch}, tmp_path / "stderr.txt"
    transport = StdioTransport(**entry, env=env, cwd=str(clone), log_file=errors)
    async with Client(transport, sampling_handler=lambda *_: "Mine.") as client:
        result = await client.call_tool("summarize_document", {"document_text": h.SAMPLE})
    assert result.content[0].text == "Summary:\nMine."
    start, *steps = errors.read_text(encoding="utf-8").splitlines()
    assert "Starting MCP server 'Document Assistant' with transport 'stdio'" in start  # no banner
    assert steps == [h.STEP_2, h.STEP_4]
    assert log.read_text(encoding="utf-8") == ""  # it connects to nothing, and imports no LiteLLM


def test_each_link_leads_to_what_it_names():
    links = re.findall(r"\[`(.+?)`\]\((\w+\.py)#L(\d+)\)", h.README)
    assert len(links) == h.README.count(".py#L") == 5
    assert "](#where-sampling-stands)" in h.README and "\n## Where sampling stands\n" in h.README
    for name, script, number in links:
        line = (h.ROOT / script).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert re.match(rf"\s*(async )?(def )?(completion = await )?{re.escape(name)}\(", line)


def test_a_key_that_the_provider_refuses(httpserver, fail):
    """Its words, with a piece of the key, are printed by the client, and not by the server."""
    words = f"Refused. Your key: {h.KEY[:8]}*****{h.KEY[-4:]}."
    answer = Response(json.dumps({"error": {"message": words}}), 401)
    last_line, out, err = fail(**h.stand_in(httpserver, answer))
    kind = "the client's model call failed (AuthenticationError)"
    assert last_line == f"ToolError: Sampling failed: {kind}"
    assert out.splitlines() == [h.STEP_1, h.STEP_3, h.WISHES]
    asks, printed, server = err.splitlines()[2:]
    assert asks == h.STEP_2
    assert printed.startswith("The model call failed: litellm.AuthenticationError: ")
    assert printed.endswith(words)
    assert "Error calling tool 'summarize_document'" in server


def test_a_document_that_cannot_be_read(clone, tmp_path):
    command = [sys.executable, clone / "client.py", "document.txt"]
    missing = h.run(command, tmp_path)
    (tmp_path / "document.txt").write_bytes("été".encode("latin-1"))
    not_utf_8 = h.run(command, tmp_path)
    assert re.fullmatch(r"FileNotFoundError: .*document\.txt'\n", missing.stderr)
    assert re.fullmatch("UnicodeDecodeError: 'utf-8' codec .*\n", not_utf_8.stderr)
    for run in (missing, not_utf_8):
        assert run.returncode == 1 and run.stdout == ""


def test_a_mistake_in_the_code_keeps_its_traceback(clone, fail):
    h.edit(clone / "client.py", "print(result)\n", "print(resutl)\n")
    with pytest.raises(NameError, match="resutl") as error:
        fail()
    assert str(error.traceback[-1].statement).strip() == "print(resutl)"


MODELS = 'MODELS = {"gpt-4o": "OPENAI_API_KEY", "gpt-4o-mini": "OPENAI_API_KEY"}'
RESULT = {"protocolVersion": "1999", "capabilities": {}, "serverInfo": {"name": "", "version": ""}}
OLD = f"input(); print({json.dumps({'jsonrpc': '2.0', 'id': 0, 'result': RESULT})!r})"
CAUSES = {
    # what is seen: an edit, or the provider's answer (else it cannot be reached)
    "Connection error": None,
    "LLM Provider NOT provided": ("client.py", MODELS, 'MODELS = {"llama3.2": "OPENAI_API_KEY"}'),
    "model returned no text (length)": h.completion(None, "length"),
    "model returned no text (stop)": h.completion(" \n"),
    "model call failed (IndexError)": Response('{"choices": []}'),
    "Connection closed": ("server.py", "import sys\n", "import sys,\n"),
    "Unsupported protocol version": ("server.py", "mcp.run(show_banner=False)", OLD),
}


@pytest.mark.parametrize("message", CAUSES)
def test_a_failure_says_what_it_is_and_ends_in_one_line(message, clone, httpserver, fail):
    cause = CAUSES[message]
    env = h.stand_in(httpserver, cause)
    if not isinstance(cause, Response):
        env["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"  # where nobody listens
    if isinstance(cause, tuple):
        file, old, new = cause
        h.edit(clone / file, old, new)
    last_line, _, err = fail(**env)
    assert re.fullmatch("(McpError|RuntimeError|ToolError): .+", last_line)
    assert message in err + last_line


def test_each_failure_that_readme_md_explains_is_provoked_here():
    section = h.README.partition("\n## When something goes wrong\n")[2].partition("\n## ")[0]
    explained = re.findall(r"^- `(.+?)`: ", section, re.MULTILINE)
    provoked = "\n".join([*CAUSES, "Timed out", "AuthenticationError"])
    assert len(explained) == 6 and all(words in provoked for words in explained)


EVENTS = {
    # what happens while the model is called: the status, or the last line where it is 1
    "time runs out": rf"McpError: Timed out .+ Waited {LIMIT}\.0 seconds\.",
    "the server dies": "McpError: (Connection closed|Timed out .+)",
    "Ctrl-C": "130",
}


@pytest.mark.parametrize("event", EVENTS)
def test_what_happens_while_the_model_is_called(event, clone, httpserver, fail):
    if event == "Ctrl-C" and sys.platform == "win32":
        pytest.skip("needs POSIX signals")
    asked, over = threading.Event(), threading.Event()

    def answer(request):
        asked.set()
        if event == "Ctrl-C":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        if event == "the server dies":
            h.servers(clone)[0].kill()
            h.check_no_server(clone)
        else:
            over.wait(60)
        return h.completion("Too late.")

    h.edit(clone / "client.py", "timeout=300", f"timeout={LIMIT}")
    end, _, _ = fail(**h.stand_in(httpserver, answer))
    over.set()
    assert re.fullmatch(EVENTS[event], str(end))
    assert asked.is_set()
