"""README.md: what it shows is what happens, and what it says to do works."""

import json
import re
import subprocess
from ast import literal_eval
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from textwrap import indent
from unittest.mock import AsyncMock, Mock

from fastmcp import Client, Context, FastMCP

import client
import server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of the page in this language, from the top."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(title):
    """The text of the page below this heading."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def run(command, folder=ROOT):
    """Run a command. Returns what a terminal shows."""
    pipes = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "encoding": "utf-8"}
    return subprocess.run(command, cwd=folder, timeout=60, check=True, **pipes).stdout


async def ask_server(document, handler):
    """Have server.py summarize a document, for a client with this sampling handler."""
    async with Client(server.mcp, sampling_handler=handler) as session:
        await session.call_tool("summarize_document", {"document_text": document})


async def test_the_shortened_code_works():
    asks, answers, *_ = blocks("python")
    names = {"Context": Context, "choose_model": Mock(), "ask_model": AsyncMock(return_value="Hi.")}
    exec("async def tool(document_text: str, ctx: Context):\n" + indent(asks, "    "), names)
    exec(answers, names)
    mcp = FastMCP("The shortened server")
    mcp.tool(names["tool"])
    async with Client(mcp, sampling_handler=names["sampling_handler"]) as session:
        await session.call_tool("tool", {"document_text": "Every star is a sun."})
    _model, (message,) = names["ask_model"].call_args.args
    assert message.content.text == "Summarize the following document:\n\nEvery star is a sun."


def test_the_output_is_that_of_the_command_above_it():
    (command,) = blocks("sh")
    output = run(command.split())
    log, shown = output[: output.index("[1]")], output[output.index("[1]") :]
    assert "Starting MCP server" in log.splitlines()[0]  # no banner
    assert shown == blocks("text")[0]


def test_a_document_of_ones_own_is_summarized(project):
    assert "`uv run client.py my-document.txt`" in README
    (project / "my-document.txt").write_text("Every star is a sun.", encoding="utf-8")
    output = run(["uv", "run", "client.py", "my-document.txt"], project)
    assert "[No model was called. The request has 153 characters.]\n" in output


def test_the_command_for_the_tests_is_the_one_that_a_change_must_pass():
    assert "`uv run pytest`" in README
    assert "\nuv run pytest\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_arrows_of_the_diagram_lead_from_who_asks_to_who_answers_and_back():
    (diagram,) = blocks("mermaid")
    assert re.findall(r"^ +(\w+)-+>>[+-]?(\w+): (.+)$", diagram, re.MULTILINE) == [
        ("main", "tool", "[1] tools/call"),
        ("tool", "handler", "[2] sampling/createMessage"),
        ("handler", "model", "messages, key"),
        ("model", "handler", "completion"),
        ("handler", "tool", "answer to [2]: the completion"),
        ("tool", "main", "[4] answer to [1]: the summary"),
    ]


async def test_the_request_in_json_is_what_the_server_sends():
    handler = Mock(return_value="Stars are suns.")
    await ask_server("Why We Look Up...", handler)  # the document, cut short
    _messages, params, context = handler.call_args.args
    request, _answer = blocks("json")
    assert json.loads(request) == {
        "jsonrpc": "2.0",
        "id": context.request_id,
        "method": "sampling/createMessage",
        "params": params.model_dump(exclude_none=True),
    }


async def test_the_answer_in_json_is_what_the_client_sends_without_a_key():
    answers = {}

    async def handler(messages, params, context):
        answers[context.request_id] = await client.sampling_handler(messages, params, context)
        return answers[context.request_id]

    await ask_server((ROOT / "sample.txt").read_text(encoding="utf-8"), handler)
    _request, answer = blocks("json")
    assert json.loads(answer) == {
        "jsonrpc": "2.0",
        "id": 0,
        "result": answers[0].model_dump(exclude_none=True),
    }


def test_each_link_into_the_code_leads_to_what_it_names():
    links = re.findall(r"\[`(.+?)`\]\((.+\.py)#L(\d+)\)", README)
    assert len(links) == 5
    for name, script, number in links:
        line = (ROOT / script).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert f"def {name}(" in line or f"completion = await {name}(" in line


def test_the_note_links_to_the_section_on_where_sampling_stands():
    assert "](#where-sampling-stands)" in README
    assert "\n## Where sampling stands\n" in README


def test_the_settings_file_to_copy_has_the_variable_that_the_client_reads():
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert "\nOPENAI_API_KEY=\n" in text
    assert client.MODELS["gpt-4o"] == "OPENAI_API_KEY"


async def test_the_edit_for_another_provider_takes_its_key_there(httpserver, monkeypatch):
    another_provider = blocks("python")[2]
    monkeypatch.setattr(client, "MODELS", literal_eval(another_provider.removeprefix("MODELS = ")))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-mine")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", httpserver.url_for(""))
    text = {"type": "text", "text": "Stars are suns."}
    message = {"role": "assistant", "model": "claude-sonnet-5", "content": [text]}
    ending = {"stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
    httpserver.expect_request("/v1/messages").respond_with_json(message | ending)
    await ask_server("Every star is a sun.", client.sampling_handler)
    ((request, _response),) = httpserver.log
    assert request.json["model"] == "claude-sonnet-5"
    assert request.headers["X-Api-Key"] == "sk-ant-mine"


async def test_the_edits_for_a_local_model_call_it_by_its_name(provider, monkeypatch):
    local_model = blocks("python")[3]
    monkeypatch.setattr(client, "MODELS", literal_eval(local_model.removeprefix("MODELS = ")))
    (settings,) = blocks("ini")
    assert settings == "OPENAI_BASE_URL=http://localhost:11434/v1\nOPENAI_API_KEY=dummy\n"
    monkeypatch.setenv("OPENAI_BASE_URL", provider.address)
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")
    provider.answers("Stars are suns.")
    await ask_server("Every star is a sun.", client.sampling_handler)
    (request,) = provider.requests
    assert request.json["model"] == "llama3.2"
    assert request.headers["Authorization"] == "Bearer dummy"


def test_the_commands_for_other_clients_start_the_server():
    assert " -- uv run --directory /path/to/this/folder server.py`" in README
    assert "Starting MCP server" in run(["uv", "run", "--directory", ROOT, "server.py"], "/")
    text = (ROOT / ".vscode" / "mcp.json").read_text(encoding="utf-8")
    assert json.loads(text)["servers"]["document-assistant"] == {
        "type": "stdio",
        "command": "uv",
        "args": ["run", "server.py"],
        "cwd": "${workspaceFolder}",
    }


def test_what_is_said_of_other_clients_bears_a_date():
    assert "as tried in November 2026:" in section("In other clients")


def test_the_layout_names_files_that_are_there():
    layout = blocks("text")[1].splitlines()
    assert len(layout) == 9
    for line in layout:
        name, *_meaning = line.split()
        assert (ROOT / name).exists()


def test_each_failure_explained_stands_in_a_test_that_provokes_it():
    explained = re.findall(r"`([^`]+)`[,:]", section("When something goes wrong"))
    assert len(explained) == 9
    tests = Path(__file__).parent
    code = (tests / "test_client.py").read_text(encoding="utf-8")
    code += (tests / "test_run.py").read_text(encoding="utf-8")
    for words in explained:
        assert words in code
