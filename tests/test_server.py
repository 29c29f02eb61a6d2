"""server.py, in memory and as a process of its own under a client that is not FastMCP's."""

import ast
import sys
from pathlib import Path
from unittest.mock import Mock

import conftest as c
import pytest
from fastmcp import Client
from fastmcp.exceptions import McpError, ToolError
from mcp import types

import server


async def summarize(document: str, handler: Mock | None) -> str:
    async with Client(server.mcp, sampling_handler=handler) as client:
        result = await client.call_tool("summarize_document", {"document_text": document})
    return result.data


async def test_the_sampling_request_has_exactly_these_values_and_the_whole_document(capfd):
    handler = Mock(return_value="\n  One.\n\nTwo. \n")
    assert await summarize(c.SAMPLE, handler) == "Summary:\nOne.\n\nTwo."  # stripped
    (_, request, _), _ = handler.call_args
    assert request.model_dump(exclude_none=True) == {
        "messages": [{"role": "user", "content": {"type": "text", "text": c.PROMPT + c.SAMPLE}}],
        "systemPrompt": c.SYSTEM_PROMPT,
        "temperature": 0.7,
        "maxTokens": 300,
        "modelPreferences": {"hints": [{"name": "gpt-4o"}]},
    }
    assert capfd.readouterr() == ("", f"{c.STEPS[1]}\n{c.STEPS[3]}\n")


async def test_one_tool_with_one_argument_and_a_description():
    async with Client(server.mcp) as client:
        (tool,) = await client.list_tools()
    assert tool.name == "summarize_document"
    assert tool.inputSchema["required"] == ["document_text"]
    assert tool.inputSchema["properties"] == {"document_text": {"type": "string"}}
    assert tool.description.startswith("Summarize a plain text with the language model of the")


IMAGE = types.ImageContent(type="image", data="AAAA", mimeType="image/png")
PICTURE = types.CreateMessageResult(role="assistant", model="painter", content=IMAGE)
NO_TEXT = "Sampling failed: the completion holds no text"
EMPTY = "The document is empty: there is nothing to summarize"
DENIAL = RuntimeError("I would rather not")
REJECTION = McpError(types.ErrorData(code=-1, message="User rejected sampling request"))


@pytest.mark.parametrize(
    ("document", "handler", "words", "steps"),
    [
        (" \n\t", Mock(), EMPTY, []),
        (c.SAMPLE, None, "Sampling failed: Client does not support sampling", c.STEPS[1:2]),
        (c.SAMPLE, Mock(side_effect=DENIAL), "Sampling failed: I would rather not", c.STEPS[1:2]),
        (c.SAMPLE, Mock(side_effect=REJECTION), f"Sampling failed: {REJECTION}", c.STEPS[1:2]),
        (c.SAMPLE, Mock(return_value=" \n"), NO_TEXT, c.STEPS[1:2]),
        (c.SAMPLE, Mock(return_value=PICTURE), NO_TEXT, c.STEPS[1:2]),
    ],
    ids=["blank", "cannot sample", "denies", "rejects", "blank text", "image"],
)
async def test_what_fails_is_a_tool_error_told_on_one_line(document, handler, words, steps, capfd):
    with pytest.raises(ToolError) as error:
        await summarize(document, handler)
    assert str(error.value) == words
    assert not handler or handler.call_count == len(steps)
    *before, line = capfd.readouterr().err.splitlines()
    assert before == steps
    assert "Error calling tool 'summarize_document'" in line


def test_its_code_imports_fastmcp_alone_and_opens_nothing():
    nodes = list(ast.walk(ast.parse((c.ROOT / "server.py").read_text(encoding="utf-8"))))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    assert modules == {"sys", "fastmcp", "fastmcp.exceptions"}
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert not names & {"open", "exec", "eval", "__import__"}


async def test_under_the_sdk_s_own_client_from_any_folder_it_connects_to_nothing(tmp_path: Path):
    hooks, connections = c.log_connections(tmp_path)
    script = str(c.ROOT / "server.py")
    env = {**hooks, "COLUMNS": "200"}
    stderr = await c.greet(tmp_path / "log.txt", sys.executable, [script], tmp_path, **env)
    start, *steps = stderr.splitlines()  # no banner
    assert "Starting MCP server 'Document Assistant' with transport 'stdio'" in start
    assert steps == [c.STEPS[1], c.STEPS[3]]
    assert connections.read_text(encoding="utf-8") == ""
