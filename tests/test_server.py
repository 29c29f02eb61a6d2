"""server.py, in memory."""

import copy
from unittest.mock import Mock

import helpers as h
import pytest
from fastmcp import Client
from fastmcp.exceptions import ToolError
from mcp import types

import server


async def summarize(document: str, handler: Mock | None) -> str:
    async with Client(server.mcp, sampling_handler=handler) as client:
        result = await client.call_tool("summarize_document", {"document_text": document})
    assert result.structured_content is None  # the text stands in one place
    return result.content[0].text


async def test_the_sampling_request_is_the_one_that_readme_md_shows(capfd):
    handler = Mock(return_value="\n  One.\n\nTwo. \n")
    assert await summarize(h.SAMPLE, handler) == "Summary:\nOne.\n\nTwo."  # stripped
    (_, request, _), _ = handler.call_args
    shown = copy.deepcopy(h.REQUEST["params"])
    content, whole = shown["messages"][0]["content"], h.PROMPT + h.SAMPLE
    assert content["text"].endswith("...") and whole.startswith(content["text"][:-3])
    content["text"] = whole
    assert request.model_dump(exclude_none=True) == shown
    assert capfd.readouterr() == ("", f"{h.STEP_2}\n{h.STEP_4}\n")


async def test_one_tool_with_one_argument_and_a_description():
    async with Client(server.mcp) as client:
        (tool,) = await client.list_tools()
    assert tool.inputSchema["required"] == ["document_text"]
    assert tool.inputSchema["properties"] == {"document_text": {"type": "string"}}
    assert tool.description.startswith("Summarize a plain text with the language model of the")


IMAGE = types.ImageContent(type="image", data="AAAA", mimeType="image/png")
PICTURE = types.CreateMessageResult(role="assistant", model="painter", content=IMAGE)
NO_TEXT = "Sampling failed: the completion holds no text"


@pytest.mark.parametrize(
    ("document", "handler", "words"),
    [
        (" \n\t", Mock(), "The document is empty: there is nothing to summarize"),
        (h.SAMPLE, None, "Sampling failed: Client does not support sampling"),
        (h.SAMPLE, Mock(side_effect=RuntimeError("I won't")), "Sampling failed: I won't"),
        (h.SAMPLE, Mock(return_value=" \n"), NO_TEXT),
        (h.SAMPLE, Mock(return_value=PICTURE), NO_TEXT),
    ],
)
async def test_what_fails_is_a_tool_error_told_on_one_line(document, handler, words, capfd):
    with pytest.raises(ToolError) as error:
        await summarize(document, handler)
    assert str(error.value) == words
    *steps, line = capfd.readouterr().err.splitlines()
    assert "Error calling tool 'summarize_document'" in line
    if document == h.SAMPLE:
        assert steps == [h.STEP_2]
    else:
        assert steps == [] and not handler.called
