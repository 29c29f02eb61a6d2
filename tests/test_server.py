"""server.py, in memory: a client in this process calls its tool, and answers its request."""

from unittest.mock import Mock

import pytest
from fastmcp import Client
from fastmcp.exceptions import ToolError
from mcp.types import CreateMessageResult, ImageContent, TextContent

import server

IMAGE = ImageContent(type="image", data="AAAA", mimeType="image/png")


async def summarize(document, handler):
    """Call the tool from a client that has this sampling handler. Returns the tool's text."""
    async with Client(server.mcp, sampling_handler=handler) as client:
        result = await client.call_tool("summarize_document", {"document_text": document})
    return result.content[0].text


async def test_the_only_tool_takes_a_text():
    async with Client(server.mcp) as client:
        (tool,) = await client.list_tools()
    assert tool.name == "summarize_document"
    assert tool.description.startswith(
        "Summarize a plain text with the language model of the client"
    )
    assert tool.inputSchema["properties"] == {"document_text": {"type": "string"}}
    assert tool.outputSchema is None


async def test_the_client_is_asked_for_a_summary_of_the_document():
    handler = Mock(return_value="Stars are suns.")
    await summarize("Every star is a sun.\n", handler)
    _messages, request, _context = handler.call_args.args
    prompt = "Summarize the following document:\n\nEvery star is a sun.\n"
    assert request.model_dump(exclude_none=True) == {
        "messages": [{"role": "user", "content": {"type": "text", "text": prompt}}],
        "systemPrompt": "You are an expert summarizer. "
        "Find the key ideas of a document and state them clearly and briefly.",
        "temperature": 0.7,
        "maxTokens": 300,
        "modelPreferences": {"hints": [{"name": "gpt-4o"}]},
    }


async def test_the_result_is_the_completion_without_the_space_around_it():
    handler = Mock(return_value="\n  One.\n\nTwo. \n")
    assert await summarize("Every star is a sun.", handler) == "Summary:\nOne.\n\nTwo."


async def test_nothing_is_printed_to_stdout(capsys):
    await summarize("Every star is a sun.", Mock(return_value="Stars are suns."))
    assert capsys.readouterr().out == ""


async def test_an_empty_document_is_refused_and_the_client_not_asked():
    handler = Mock(return_value="Stars are suns.")
    with pytest.raises(ToolError, match=r"^The document is empty: there is nothing to summarize$"):
        await summarize(" \n\t", handler)
    handler.assert_not_called()


async def test_a_client_that_cannot_sample_is_told_so():
    with pytest.raises(ToolError, match=r"^Sampling failed: Client does not support sampling$"):
        await summarize("Every star is a sun.", handler=None)


async def test_a_refusal_of_the_client_is_passed_on_in_its_words():
    handler = Mock(side_effect=RuntimeError("The user said no"))
    with pytest.raises(ToolError, match=r"^Sampling failed: The user said no$"):
        await summarize("Every star is a sun.", handler)


async def test_a_malformed_completion_is_an_error():
    text = TextContent(type="text", text="Stars are suns.")
    nameless = CreateMessageResult.model_construct(role="assistant", content=text)  # no model
    with pytest.raises(ToolError, match=r"^Sampling failed: 1 validation error for "):
        await summarize("Every star is a sun.", Mock(return_value=nameless))


@pytest.mark.parametrize(
    "completion", [" \n", CreateMessageResult(role="assistant", model="painter", content=IMAGE)]
)
async def test_a_completion_without_text_is_an_error(completion):
    with pytest.raises(ToolError, match=r"^Sampling failed: the completion holds no text$"):
        await summarize("Every star is a sun.", Mock(return_value=completion))
