"""client.py's parts, over real HTTP to a stand-in for the OpenAI API."""

import socket
from pathlib import Path

import conftest as c
import pytest
from mcp import types
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

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
        (hints("MINI"), "gpt-4o"),  # case counts
        (hints("claude-opus-5", "o1-pro", "openai/gpt-4o-mini"), "gpt-4o"),  # else the default
    ],
)
def test_choose_model(preferences, model):
    assert client.choose_model(preferences) == model


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def request(*messages: tuple, **params) -> types.CreateMessageRequestParams:
    return types.CreateMessageRequestParams(
        messages=[types.SamplingMessage(role=role, content=content) for role, content in messages],
        **{"maxTokens": 300, **params},
    )


HELLO = request(("user", text("Hello")), temperature=0.7)


@pytest.fixture
def openai(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    """The stand-in, with LiteLLM led to it."""
    for name, value in c.with_key(httpserver).items():
        monkeypatch.setenv(name, value)
    return httpserver


async def sample(params: types.CreateMessageRequestParams) -> str:
    return await client.sampling_handler(params.messages, params, None)


USER = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be kind."}
ASSISTANT = {"role": "assistant", "content": "Hi"}
BLOCKS = {"role": "user", "content": "One\ntwo — “three”"}
ALL = {"temperature": 0.2, "maxTokens": 7, "stopSequences": ["END"], "systemPrompt": "Be kind."}
CHAT = [("user", text("Hello")), ("assistant", text("Hi"))]
CHAT.append(("user", [text("One"), text("two — “three”")]))
REQUESTS = {
    "the least": (request(CHAT[0]), [USER], {"model": "gpt-4o", "max_tokens": 300}),
    "everything": (
        request(*CHAT, **ALL, modelPreferences=hints("mini")),
        [SYSTEM, USER, ASSISTANT, BLOCKS],
        {"model": "gpt-4o-mini", "max_tokens": 7, "temperature": 0.2, "stop": ["END"]},
    ),
    "an empty system prompt, a temperature of 0": (
        request(CHAT[0], systemPrompt="", temperature=0.0),
        [USER],
        {"model": "gpt-4o", "max_tokens": 300, "temperature": 0.0},
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
async def test_the_model_is_sent_what_the_server_asked_for(openai, monkeypatch, capsys, case):
    params, messages, sent = REQUESTS[case]
    monkeypatch.setenv("OPENAI_API_KEY", f" {c.KEY}\n")  # white space around a key is not sent
    c.respond(openai, c.completion("fine"))
    assert await sample(params) == "fine"
    lines = [c.STEPS[2], f"Model: {sent['model']}", f"Temperature: {params.temperature}"]
    assert capsys.readouterr().out.splitlines() == [*lines, f"Max tokens: {params.maxTokens}"]
    ((http_request, _),) = openai.log
    assert http_request.json == {"messages": messages, **sent}
    assert http_request.headers["Authorization"] == f"Bearer {c.KEY}"


@pytest.mark.parametrize("model", ["gpt-5", "o3"])
async def test_what_a_model_does_not_take_is_left_out(openai, monkeypatch, model):
    """And passing trouble is survived."""
    c.respond(openai, c.provider_error(429), c.provider_error(500), c.completion("fine"))
    monkeypatch.setattr(client, "MODELS", [model])
    assert await sample(HELLO) == "fine"
    assert len(openai.log) == 3
    assert "temperature" not in openai.log[0][0].json


@pytest.mark.parametrize(
    ("key", "model"), [(None, "gpt-4o"), ("", "gpt-5"), (" \t", "o3"), (None, "claude-sonnet-5")]
)
async def test_without_a_key_no_model_is_called_and_one_text_says_so(
    openai, monkeypatch, capsys, key, model
):
    monkeypatch.setattr(client, "MODELS", [model])
    monkeypatch.delenv("OPENAI_API_KEY")
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    assert await sample(HELLO) == c.NO_KEY
    assert capsys.readouterr().err == ""
    assert openai.log == []


OTHERS = [
    types.ImageContent(type="image", data="AAAA", mimeType="image/png"),
    types.ToolUseContent(type="tool_use", id="1", name="f", input={}),
]
REFUSED = {
    **{block.type: request(CHAT[0], ("assistant", block)) for block in OTHERS},
    "image beside text": request(("user", [text("Look:"), OTHERS[0]])),
    "tools": request(CHAT[0], tools=[types.Tool(name="f", inputSchema={})]),
    "no tools": request(CHAT[0], tools=[]),
    "tool choice": request(CHAT[0], toolChoice=types.ToolChoice()),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_text_is_refused_by_name(openai, capsys, case):
    words = f"passes on text only, not {case.split()[0]}"
    if case in ("tools", "no tools", "tool choice"):
        words = "has not declared that its model can use tools"
    with pytest.raises(RuntimeError, match=f"^this client {words}$"):
        await sample(REFUSED[case])
    assert openai.log == []
    assert capsys.readouterr().out == ""  # no [3]


def drop(request: Request) -> Response:
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return Response()


PAGE = "<html>\n<body>\n" + "Sorry!\n" * 1000 + "</body>"

MODEL_FAILURES = {
    # case: (response, calls, what the server learns, words on the client's stderr)
    "401": (c.provider_error(401), 1, f"{c.FAILED} (AuthenticationError)", "Your key: sk-test-***"),
    "429": (c.provider_error(429), 3, f"{c.FAILED} (RateLimitError)", "Refused."),
    "500": (c.provider_error(500), 3, f"{c.FAILED} (InternalServerError)", "Refused."),
    "dropped": (drop, 3, f"{c.FAILED} (InternalServerError)", "Connection error"),
    "a page": (Response(PAGE), 1, f"{c.FAILED} (InternalServerError)", "Empty or invalid response"),
    "null": (c.completion(None, "content_filter"), 1, f"{c.NO_TEXT} (content_filter)", None),
    "empty": (c.completion("", "length"), 1, f"{c.NO_TEXT} (length)", None),
    "blank": (c.completion(" \n"), 1, f"{c.NO_TEXT} (stop)", None),
    "no choices": ({**c.completion(""), "choices": []}, 1, f"{c.NO_TEXT} (no choices)", None),
}


@pytest.mark.parametrize("case", MODEL_FAILURES)
async def test_a_failure_of_the_model(openai: HTTPServer, capsys, case):
    """The provider's words stay on the client's side, on one line; the server learns the kind."""
    response, calls, message, words = MODEL_FAILURES[case]
    c.respond(openai, response)
    with pytest.raises(RuntimeError) as error:
        await sample(HELLO)
    assert str(error.value) == message
    assert len(openai.log) == calls
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("The model")]
    assert len(told) == (words is not None)
    for line in told:
        assert line.startswith("The model call failed: litellm.")
        assert words in line and len(line) <= 523


def test_the_client_declares_sampling_without_tools_and_ends_the_server(clone: Path, run_here):
    declared = "ctx.session.client_params.capabilities.model_dump_json(exclude_none=True)"
    c.edit(clone / "server.py", 'f"Summary:\\n{text}"', declared)
    c.edit(
        clone / "client.py", "client.is_connected()", "__import__('psutil').Process().children()"
    )
    assert run_here().stdout.endswith('\n{"sampling":{}}\nConnected?: []\n')
