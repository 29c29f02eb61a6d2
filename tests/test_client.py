"""client.py's sampling handler: asked by a server in this process, it asks a provider over HTTP."""

import asyncio
import json
import socket
import sys
import traceback

import pytest
from fastmcp import Client
from fastmcp.exceptions import ToolError
from mcp import types
from mcp.server.fastmcp import Context
from mcp.server.fastmcp import FastMCP as SDKServer  # of another make, and can ask for anything

import client
import server

TEXT = {"type": "text", "text": "Hello"}
HELLO = {"messages": [{"role": "user", "content": TEXT}], "maxTokens": 300}
MINI = {"hints": [{"name": "mini"}]}
PARAMS = types.CreateMessageRequestParams(**HELLO)
TWO_KEYS = {"gpt-4o": "OPENAI_API_KEY", "gpt-4o-mini": "MINI_KEY"}


async def ask(**request):
    """Send the client the request HELLO, changed so. Returns its answer, or raises ToolError."""
    params = types.CreateMessageRequestParams(**(HELLO | request))
    asker = SDKServer("Asker")

    @asker.tool()
    async def tool(ctx: Context) -> str:
        message = types.ServerRequest(types.CreateMessageRequest(params=params))
        answer = await ctx.session.send_request(message, types.CreateMessageResult)
        return answer.model_dump_json(exclude_none=True)

    async with Client(asker, sampling_handler=client.sampling_handler) as session:
        result = await session.call_tool("tool")
    return json.loads(result.content[0].text)


@pytest.mark.parametrize(
    ("hints", "chosen"),
    [
        (["mini"], "gpt-4o-mini"),  # part of a name is enough
        (["gpt"], "gpt-4o"),  # of two that fit, the first in the client's list
        (["mini", "gpt-4o"], "gpt-4o-mini"),  # the server's first hint comes first
        (["claude", "mini"], "gpt-4o-mini"),  # a hint that fits no model is passed over
        (["LLAMA"], "Llama-3"),  # in capitals or not
        (["gpt-4o-mini-2024-07-18"], "gpt-4o"),  # more than a name fits none: the first model
        ([None, "", "mini"], "gpt-4o-mini"),  # a hint may be empty
    ],
)
def test_the_first_hint_that_is_part_of_a_name_chooses_the_model(hints, chosen, monkeypatch):
    monkeypatch.setattr(client, "MODELS", {"gpt-4o": "A", "gpt-4o-mini": "B", "Llama-3": "C"})
    preferences = types.ModelPreferences(hints=[types.ModelHint(name=hint) for hint in hints])
    assert client.choose_model(preferences) == chosen


@pytest.mark.parametrize("preferences", [None, {"costPriority": 1}, {"hints": []}])
async def test_without_hints_the_first_model_is_chosen(provider, preferences):
    provider.answers("Hi.")
    answer = await ask(modelPreferences=preferences)
    assert answer["model"] == "gpt-4o"


async def test_the_model_is_sent_all_that_the_server_asked_for(provider):
    provider.answers("Hi.")
    await ask(
        messages=[
            {"role": "assistant", "content": TEXT},
            {"role": "user", "content": [TEXT, {"type": "text", "text": "— “World”"}]},
        ],
        systemPrompt="Be kind.",
        modelPreferences=MINI,
        temperature=0,
        maxTokens=7,
        stopSequences=["END"],
    )
    (request,) = provider.requests
    assert request.json == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Hello\n— “World”"},
        ],
        "temperature": 0,
        "max_tokens": 7,
        "stop": ["END"],
    }


async def test_the_model_is_sent_nothing_else(provider):
    provider.answers("Hi.")
    await ask()
    (request,) = provider.requests
    messages = [{"role": "user", "content": "Hello"}]
    assert request.json == {"model": "gpt-4o", "messages": messages, "max_tokens": 300}


async def test_an_empty_system_prompt_is_not_sent(provider):
    provider.answers("Hi.")
    await ask(systemPrompt="")
    (request,) = provider.requests
    assert request.json["messages"] == [{"role": "user", "content": "Hello"}]


async def test_a_temperature_is_left_out_for_a_model_that_takes_none(provider, monkeypatch):
    monkeypatch.setattr(client, "MODELS", {"gpt-5": "OPENAI_API_KEY"})
    provider.answers("Hi.")
    await ask(temperature=0.7)
    (request,) = provider.requests
    assert "temperature" not in request.json


async def test_the_answer_names_the_model_that_was_chosen(provider):
    provider.answers("Hi.")
    content = {"type": "text", "text": "Hi."}
    answer = await ask(modelPreferences=MINI)
    assert answer == {"role": "assistant", "content": content, "model": "gpt-4o-mini"}


async def test_without_a_key_a_stand_in_answers_in_its_own_name(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")  # as in .env.example
    answer = await ask(systemPrompt="Be kind.")
    text = "[No model was called. The request has 13 characters.]"
    content = {"type": "text", "text": text}
    assert answer == {"role": "assistant", "content": content, "model": "stand-in"}


async def test_a_model_is_called_with_its_own_key(provider, monkeypatch):
    monkeypatch.setattr(client, "MODELS", TWO_KEYS)
    monkeypatch.setenv("MINI_KEY", "sk-mini")
    provider.answers("Hi.")
    await ask(modelPreferences=MINI)
    (request,) = provider.requests
    assert request.headers["Authorization"] == "Bearer sk-mini"


async def test_a_model_is_not_called_with_the_key_of_another(provider, monkeypatch):
    monkeypatch.setattr(client, "MODELS", TWO_KEYS)
    answer = await ask(modelPreferences=MINI)
    assert answer["model"] == "stand-in"
    assert provider.requests == []


IMAGE = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}
TOOL_USE = {"type": "tool_use", "id": "1", "name": "search", "input": {}}


@pytest.mark.parametrize("content", [IMAGE, [IMAGE, TEXT], [TEXT, AUDIO], [TOOL_USE]])
async def test_what_is_not_text_is_refused(provider, content):
    with pytest.raises(ToolError, match=r": this client passes on text only$"):
        await ask(messages=[{"role": "assistant", "content": content}])
    assert provider.requests == []


SEARCH = {"name": "search", "inputSchema": {}}


@pytest.mark.parametrize(
    "tools", [{"tools": [SEARCH]}, {"tools": []}, {"toolChoice": {"mode": "auto"}}]
)
async def test_tools_for_the_model_are_refused(provider, tools):
    with pytest.raises(ToolError, match=r"this client has not declared sampling\.tools$"):
        await ask(**tools)
    assert provider.requests == []


async def test_nothing_is_printed_of_a_request_that_is_refused(capsys):
    with pytest.raises(ToolError):
        await ask(tools=[SEARCH])
    assert capsys.readouterr().out == ""


async def test_a_completion_that_was_cut_off_is_returned_and_said_to_be(provider, capsys):
    provider.answers("Stars are", finish_reason="length")
    answer = await ask()
    assert answer["content"] == {"type": "text", "text": "Stars are"}
    assert "gpt-4o has answered (finish reason: length)\n" in capsys.readouterr().out


async def test_a_completion_that_is_empty_makes_the_tool_fail(provider):
    provider.answers(None, finish_reason="length")
    async with Client(server.mcp, sampling_handler=client.sampling_handler) as session:
        with pytest.raises(ToolError, match=r"^Sampling failed: the completion holds no text$"):
            await session.call_tool("summarize_document", {"document_text": "Hello"})


async def test_the_providers_words_are_printed_and_only_their_kind_is_raised(provider, capsys):
    provider.refuses(401, "Incorrect API key provided: sk-mine")
    with pytest.raises(RuntimeError) as error:
        await client.sampling_handler(PARAMS.messages, PARAMS, context=None)
    assert str(error.value) == "the client's model call failed (AuthenticationError)"
    assert "sk-mine" not in "".join(traceback.format_exception(error.value))
    assert "Incorrect API key provided: sk-mine" in capsys.readouterr().err


async def test_an_answer_without_a_completion_is_a_failed_call(provider):
    provider.chat.respond_with_json({"object": "chat.completion", "choices": []})
    with pytest.raises(ToolError, match=r": the client's model call failed \(IndexError\)$"):
        await ask()


async def test_a_litellm_that_cannot_be_imported_is_a_failed_call(provider, monkeypatch):
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ToolError, match=r"the client's model call failed \(ModuleNotFoundError\)$"):
        await ask()


async def test_a_model_that_the_provider_does_not_have_is_said_to_be_not_found(provider, capsys):
    provider.refuses(404, "The model does not exist")
    with pytest.raises(ToolError):
        await ask()
    assert "NotFoundError" in capsys.readouterr().err


async def test_a_model_whose_name_lacks_its_provider_is_said_to_lack_it(
    provider, capsys, monkeypatch
):
    monkeypatch.setattr(client, "MODELS", {"llama3.2": "OPENAI_API_KEY"})
    with pytest.raises(ToolError):
        await ask()
    assert "LLM Provider NOT provided" in capsys.readouterr().err


async def test_an_address_that_nobody_answers_is_a_connection_error(provider, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")  # nobody listens there
    with pytest.raises(ToolError):
        await ask()
    assert "Connection error" in capsys.readouterr().err


async def test_a_provider_that_cannot_be_reached_is_said_to_be_so(provider, capsys, monkeypatch):
    monkeypatch.setattr(client, "MODELS", {"anthropic/claude-sonnet-5": "OPENAI_API_KEY"})
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:9")
    with pytest.raises(ToolError):
        await ask()
    assert "Cannot connect" in capsys.readouterr().err


async def test_a_call_of_the_model_can_be_cancelled(monkeypatch):
    with socket.create_server(("localhost", 0)) as silent:  # takes a connection, answers nothing
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://localhost:{silent.getsockname()[1]}/v1")
        call = asyncio.create_task(client.ask_model("gpt-4o", [], PARAMS, "sk-mine"))
        await asyncio.to_thread(silent.accept)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
