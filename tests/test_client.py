"""client.py's parts, over real HTTP to a stand-in for the OpenAI API."""

from pathlib import Path

import helpers as h
import pytest
from mcp import types
from pytest_httpserver import HTTPServer
from werkzeug import Response

import client


def hints(*names: str | None) -> types.ModelPreferences:
    return types.ModelPreferences(hints=[types.ModelHint(name=name) for name in names])


@pytest.mark.parametrize(
    ("preferences", "model"),
    [
        (None, "gpt-4o"),  # every part may be absent
        (types.ModelPreferences(costPriority=1), "gpt-4o"),
        (hints(None, "mini"), "gpt-4o-mini"),  # a part of a name
        (hints("", "mini"), "gpt-4o-mini"),
        (hints("gpt-4o-mini-2024-07-18"), "gpt-4o"),  # not the other way round
        (hints("gpt"), "gpt-4o"),  # in the order of the client's list
        (hints("gpt-4o-mini", "gpt-4o"), "gpt-4o-mini"),  # hints in their order
        (hints("MINI"), "gpt-4o-mini"),  # in capitals or not
        (hints("GPT-4O-MINI"), "gpt-4o-mini"),
        (hints("llama"), "Llama-3"),
        (hints("claude-opus-5", "o1-pro", "openai/gpt-4o-mini"), "gpt-4o"),  # else the default
    ],
)
def test_choose_model(preferences, model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "MODELS", [*client.MODELS, "Llama-3"])
    assert client.choose_model(preferences) == model


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def request(*messages: tuple, **params) -> types.CreateMessageRequestParams:
    return types.CreateMessageRequestParams(
        messages=[types.SamplingMessage(role=role, content=content) for role, content in messages],
        **{"maxTokens": 300, **params},
    )


async def sample(params: types.CreateMessageRequestParams) -> str:
    return await client.sampling_handler(params.messages, params, None)


@pytest.fixture
def openai(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    """The stand-in, with LiteLLM led to it."""
    for name, value in h.with_key(httpserver).items():
        monkeypatch.setenv(name, value)
    return httpserver


HELLO = request(("user", text("Hello")), systemPrompt="", temperature=0.0)
EVERYTHING = request(
    ("user", text("Hello")),
    ("assistant", text("Hi")),
    ("user", [text("One"), text("two — “three”")]),
    systemPrompt="Be kind.",
    temperature=0.2,
    maxTokens=7,
    stopSequences=["END"],
    modelPreferences=hints("mini"),
)
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "One\ntwo — “three”"},
]
LITTLE_SENT = {"model": "gpt-4o", "messages": CHAT[1:2], "max_tokens": 300}
ALL_SENT = {"model": "gpt-4o-mini", "messages": CHAT, "max_tokens": 7, "stop": ["END"]}


@pytest.mark.parametrize(("params", "sent"), [(HELLO, LITTLE_SENT), (EVERYTHING, ALL_SENT)])
async def test_the_model_is_sent_what_was_asked_for(openai, monkeypatch, capsys, params, sent):
    monkeypatch.setenv("OPENAI_API_KEY", f" {h.KEY}\n")  # white space around a key is not sent
    h.respond(openai, h.completion("fine"))
    assert await sample(params) == "fine"
    lines = [h.STEPS[2], f"Model: {sent['model']}", f"Temperature: {params.temperature}"]
    assert capsys.readouterr().out.splitlines() == [*lines, f"Max tokens: {params.maxTokens}"]
    ((http_request, _),) = openai.log
    assert http_request.json == {**sent, "temperature": params.temperature}
    assert http_request.headers["Authorization"] == f"Bearer {h.KEY}"


@pytest.mark.parametrize(
    ("name", "value", "model"),
    [
        ("OPENAI_API_KEY", None, "gpt-4o-mini"),
        ("OPENAI_API_KEY", " \t", "gpt-4o-mini"),
        ("ANTHROPIC_API_KEY", None, "anthropic/claude-sonnet-5"),  # while OpenAI's is set
    ],
)
async def test_without_a_key_a_stand_in_counts_what_arrived(
    openai, monkeypatch, capsys, name, value, model
):
    monkeypatch.setattr(client, "MODELS", ["gpt-4o", model])
    monkeypatch.setattr(client, "KEY", name)
    monkeypatch.setenv(name, value or "")
    params = EVERYTHING.model_copy(update={"modelPreferences": hints(model)})
    length = sum(len(message["content"]) for message in CHAT)
    assert await sample(params) == h.STAND_IN.format(length)
    last_line = f"No {name} (see .env.example): {model} is not called"
    assert capsys.readouterr().out.splitlines()[4:] == [last_line]
    assert openai.log == []


IMAGE = types.ImageContent(type="image", data="AAAA", mimeType="image/png")
TOOL_USE = types.ToolUseContent(type="tool_use", id="1", name="f", input={})
TOOLS = "has not declared that its model can use tools"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (request(("user", [text("Look:"), IMAGE])), "passes on text only, not image"),
        (request(("assistant", TOOL_USE)), "passes on text only, not tool_use"),
        (request(tools=[types.Tool(name="f", inputSchema={})]), TOOLS),
        (request(tools=[]), TOOLS),
        (request(toolChoice=types.ToolChoice()), TOOLS),
    ],
)
async def test_what_is_not_text_is_refused_by_name(openai, capsys, params, words):
    with pytest.raises(RuntimeError, match=f"^this client {words}$"):
        await sample(params)
    assert openai.log == []
    assert capsys.readouterr().out == ""  # no [3]


NO_TEXT = {
    "content_filter": h.completion(None, "content_filter"),
    "stop": h.completion(" \n"),
    "no choices": Response('{"choices": []}'),
}


@pytest.mark.parametrize("reason", NO_TEXT)
async def test_an_answer_without_text_is_an_error_that_says_why(openai: HTTPServer, reason: str):
    h.respond(openai, NO_TEXT[reason])
    with pytest.raises(RuntimeError) as error:
        await sample(HELLO)
    assert str(error.value) == f"the client's model returned no text ({reason})"


def test_half_an_emoji_is_replaced_and_the_rest_of_the_text_arrives(openai, clone, run_here):
    h.edit(clone / "client.py", "TIMEOUT = 300 ", "TIMEOUT = 10 ")
    h.respond(openai, h.completion("Stars \ud83d are suns."))
    run = run_here()
    assert run.returncode == 0 and "\nSummary:\nStars ? are suns.\n" in run.stdout


def test_the_client_declares_sampling_without_tools_and_ends_the_server(clone: Path, run_here):
    declared = "ctx.session.client_params.capabilities.model_dump_json(exclude_none=True)"
    h.edit(clone / "server.py", 'f"Summary:\\n{text}"', declared)
    children = "__import__('psutil').Process().children()"
    h.edit(clone / "client.py", "client.is_connected()", children)
    assert run_here().stdout.endswith('\n{"sampling":{}}\nConnected?: []\n')
