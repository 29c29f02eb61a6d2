"""client.py's handler, asked by a server of another make, over real HTTP to a stand-in."""

import json
from ast import literal_eval

import helpers as h
import pytest
from fastmcp import Client
from mcp import types
from mcp.server.fastmcp import Context, FastMCP  # the SDK's own

import client

# What README.md gives for another provider, and for a model on the reader's machine.
CLAUDE, LLAMA = (literal_eval(block.split(" = ")[1]) for block in h.readme_blocks("python"))
OTHER = {"openai/other": "A_KEY_OF_ANY_NAME"}
KEYS = {"OPENAI_API_KEY": h.KEY, "ANTHROPIC_API_KEY": "sk-ant-01", "A_KEY_OF_ANY_NAME": "sk-any-01"}


def hints(*names):
    return types.ModelPreferences(hints=[types.ModelHint(name=name) for name in names])


@pytest.mark.parametrize(
    ("preferences", "model"),
    [
        (None, "gpt-4o"),  # every part may be absent
        (types.ModelPreferences(costPriority=1), "gpt-4o"),
        (hints(None, "", "mini"), "gpt-4o-mini"),  # a part of a name
        (hints("gpt-4o-mini-2024-07-18"), "gpt-4o"),  # not the other way round
        (hints("gpt"), "gpt-4o"),  # in the order of the client's list
        (hints("gpt-4o-mini", "gpt-4o"), "gpt-4o-mini"),  # hints in their order
        (hints("LLAMA"), "Llama-3"),  # in capitals or not
        (hints("claude-opus-5", "o1-pro", "openai/gpt-4o-mini"), "gpt-4o"),  # else the default
    ],
)
def test_choose_model(preferences, model, monkeypatch):
    monkeypatch.setitem(client.MODELS, "Llama-3", "LLAMA_API_KEY")
    assert client.choose_model(preferences) == model


@pytest.fixture
def providers(httpserver, monkeypatch):
    """Two of them, their keys, and README.md's models beside those of client.py."""
    monkeypatch.setattr(client, "MODELS", client.MODELS | CLAUDE | LLAMA | OTHER)
    env = h.stand_in(httpserver, h.completion("\nfine "))
    env |= {"ANTHROPIC_API_BASE": httpserver.url_for("/"), **KEYS}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    message = {"id": "1", "type": "message", "role": "assistant", "model": "claude"}
    message |= {"content": [TEXT | {"text": "fine"}], "stop_reason": "end_turn"}
    message |= {"usage": {"input_tokens": 1, "output_tokens": 1}}
    httpserver.expect_request("/v1/messages").respond_with_json(message)
    return httpserver


async def sample(**request) -> dict | str:
    """Send a sampling request to the handler. Returns the answer, or the words of an error."""
    other = FastMCP("Another make")
    params = types.CreateMessageRequestParams(**{"maxTokens": 300, **request})

    @other.tool()
    async def ask(ctx: Context) -> str:
        declared = ctx.session.client_params.capabilities.model_dump(exclude_none=True)
        assert declared == {"sampling": {}}  # without sampling.tools
        message = types.ServerRequest(types.CreateMessageRequest(params=params))
        answer = await ctx.session.send_request(message, types.CreateMessageResult)
        return answer.model_dump_json(exclude_none=True)

    async with Client(other, sampling_handler=client.sampling_handler) as here:
        result = await here.call_tool("ask", raise_on_error=False)
    words = result.content[0].text.removeprefix("Error executing tool ask: ")
    return words if result.is_error else json.loads(words)


TEXT = {"type": "text", "text": "Hello"}
HELLO = {"messages": [{"role": "user", "content": TEXT}], "temperature": 0, "systemPrompt": ""}
CONVERSATION = [
    {"role": "assistant", "content": TEXT},
    {"role": "user", "content": [TEXT | {"text": "One"}, TEXT | {"text": "two — “three”"}]},
]
EVERYTHING = {"messages": CONVERSATION, "systemPrompt": "Be kind.", "temperature": 0.2}
EVERYTHING |= {"maxTokens": 7, "stopSequences": ["END"], "modelPreferences": hints("mini")}
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "One\ntwo — “three”"},
]
SENT = {"model": "gpt-4o-mini", "messages": CHAT, "temperature": 0.2, "max_tokens": 7}


async def test_the_model_is_sent_what_was_asked_for(providers, capsys):
    answer = {"role": "assistant", "content": TEXT | {"text": "fine"}, "model": "gpt-4o-mini"}
    assert await sample(**EVERYTHING) == answer
    assert capsys.readouterr().out.splitlines() == [
        "[3] client: is asked for a completion, and chooses gpt-4o-mini",
        "Temperature: 0.2, max tokens: 7",
    ]
    ((request, _),) = providers.log
    assert request.json == SENT | {"stop": ["END"]}


async def test_without_a_key_the_answer_is_the_one_that_readme_md_shows(capsys):
    prompt = {"role": "user", "content": {"type": "text", "text": h.PROMPT + h.SAMPLE}}
    answer = await sample(messages=[prompt], systemPrompt=h.SYSTEM_PROMPT)
    assert answer == h.ANSWER["result"]
    assert capsys.readouterr().out.splitlines()[2] == h.NO_KEY


@pytest.mark.parametrize("model", ["gpt-4o-mini", *CLAUDE, *LLAMA, *OTHER])
async def test_a_model_gets_its_own_key_alone_or_no_call(providers, monkeypatch, capsys, model):
    own = client.MODELS[model]
    answer = await sample(**HELLO, modelPreferences=hints(model))
    assert (answer["model"], answer["content"]["text"]) == (model, "fine")
    ((request, _),) = providers.log
    assert request.json["model"] == model.split("/")[-1]
    assert [message["role"] for message in request.json["messages"]] == ["user"]
    if model in CLAUDE:
        assert "temperature" not in request.json  # which it does not take
    else:
        assert request.json["temperature"] == 0
    assert {name for name, key in KEYS.items() if key in str(request.headers)} == {own}
    monkeypatch.setenv(own, "")
    answer = await sample(**HELLO, modelPreferences=hints(model))
    assert answer["model"] == "stand-in" and len(providers.log) == 1
    last_line = f"No {own} (see .env.example): {model} is not called"
    assert capsys.readouterr().out.splitlines()[-1] == last_line


IMAGE = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
PICTURE = {"messages": [{"role": "user", "content": [TEXT, IMAGE]}]}


async def test_tools_and_what_is_not_text_are_refused_by_name(providers, capsys):
    undeclared = "this client has not declared sampling.tools: its model takes no tools"
    assert await sample(**PICTURE) == "this client passes on text only, not image"
    assert await sample(**PICTURE, tools=[]) == undeclared
    assert await sample(**PICTURE, toolChoice={}) == undeclared
    assert providers.log == []
    assert capsys.readouterr().out == ""  # no [3]
