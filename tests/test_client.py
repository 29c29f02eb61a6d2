"""client.py's parts, over real HTTP to a stand-in for the OpenAI API."""

import pytest
from conftest import CHAT, KEY, NO_KEY, ROOT, calls, completion, with_key
from fastmcp.client.transports import PythonStdioTransport
from mcp.types import (
    AudioContent,
    CreateMessageRequestParams,
    ImageContent,
    ModelHint,
    ModelPreferences,
    SamplingMessage,
    TextContent,
    Tool,
    ToolChoice,
    ToolResultContent,
    ToolUseContent,
)

import client


def hints(*names: str | None) -> ModelPreferences:
    return ModelPreferences(hints=[ModelHint(name=name) for name in names])


@pytest.mark.parametrize(
    ("preferences", "model"),
    [
        (None, "gpt-4o"),
        (ModelPreferences(), "gpt-4o"),
        (ModelPreferences(hints=[]), "gpt-4o"),
        (ModelPreferences(costPriority=1, speedPriority=1), "gpt-4o"),
        (hints(None), "gpt-4o"),
        (hints(""), "gpt-4o"),
        (hints("  "), "gpt-4o"),
        (hints("gpt-4o"), "gpt-4o"),
        (hints("gpt-4o-mini"), "gpt-4o-mini"),
        (hints("mini"), "gpt-4o-mini"),
        (hints("gpt-4"), "gpt-4o"),
        (hints("gpt"), "gpt-4o"),
        (hints("gpt-4o-mini", "gpt-4o"), "gpt-4o-mini"),
        (hints("gpt-4o", "gpt-4o-mini"), "gpt-4o"),
        (hints("claude-sonnet", "gemini", "mini"), "gpt-4o-mini"),
        (hints(None, "", " ", "mini"), "gpt-4o-mini"),
        (hints("MINI"), "gpt-4o"),
        (hints("GPT-4O-MINI", "mini"), "gpt-4o-mini"),
        (hints("gpt-4o-mini-2024-07-18"), "gpt-4o"),
        (hints(" gpt-4o-mini"), "gpt-4o"),
        (hints("claude-opus-4-8"), "gpt-4o"),
        (hints("anthropic/claude", "o1-pro", "gpt-5", "openai/gpt-4o-mini"), "gpt-4o"),
    ],
)
def test_choose_model(preferences, model):
    assert client.choose_model(preferences) == model


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def request(*messages: tuple, **params) -> CreateMessageRequestParams:
    params = {"maxTokens": 300, **params}
    return CreateMessageRequestParams(
        messages=[SamplingMessage(role=role, content=content) for role, content in messages],
        **params,
    )


@pytest.fixture
def openai(httpserver, monkeypatch):
    """The stand-in, with LiteLLM led to it and one good answer."""
    for name, value in with_key(httpserver).items():
        monkeypatch.setenv(name, value)
    httpserver.expect_request(CHAT, method="POST").respond_with_json(completion("fine"))
    return httpserver


async def sample(params: CreateMessageRequestParams) -> str:
    return await client.sampling_handler(params.messages, params, None)


USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        (
            request(("user", text("Hello"))),
            {"messages": [USER], "model": "gpt-4o", "max_tokens": 300},
        ),
        (
            request(
                ("user", text("Hello")),
                ("assistant", text("Hi")),
                ("user", [text("One"), text("two — “three”")]),
                systemPrompt="Be kind.",
                temperature=0.2,
                maxTokens=7,
                stopSequences=["END", "STOP"],
                modelPreferences=hints("mini"),
            ),
            {
                "messages": [
                    {"role": "system", "content": "Be kind."},
                    USER,
                    {"role": "assistant", "content": "Hi"},
                    {"role": "user", "content": "One\ntwo — “three”"},
                ],
                "model": "gpt-4o-mini",
                "max_tokens": 7,
                "temperature": 0.2,
                "stop": ["END", "STOP"],
            },
        ),
        (
            request(("user", [text("Hello")]), systemPrompt="", temperature=0.0),
            {"messages": [USER], "model": "gpt-4o", "max_tokens": 300, "temperature": 0.0},
        ),
    ],
    ids=["the least", "everything", "an empty system prompt, a temperature of 0"],
)
async def test_the_model_is_sent_what_the_server_asked_for(openai, params, sent):
    assert await sample(params) == "fine"
    ((request, _),) = openai.log
    assert request.json == sent
    assert request.headers["Authorization"] == f"Bearer {KEY}"


async def test_the_choice_is_printed(openai, capsys):
    await sample(request(("user", text("Hello")), temperature=0.2, modelPreferences=hints("mini")))
    assert capsys.readouterr() == ("Model: gpt-4o-mini\nTemperature: 0.2\nMax tokens: 300\n", "")


async def test_white_space_around_a_key_is_not_sent(openai, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    await sample(request(("user", text("Hello"))))
    assert openai.log[0][0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [None, "", " \t"])
async def test_without_a_key_no_model_is_called_and_both_sides_are_told(
    openai, monkeypatch, capsys, key
):
    if key is None:
        monkeypatch.delenv("OPENAI_API_KEY")
    else:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    assert await sample(request(("user", text("Hello")))) == NO_KEY
    assert capsys.readouterr().err == f"{NO_KEY} Set it in .env, as .env.example shows.\n"
    assert calls(openai) == 0


IMAGE = ImageContent(type="image", data="AAAA", mimeType="image/png")
AUDIO = AudioContent(type="audio", data="AAAA", mimeType="audio/wav")
TOOL_USE = ToolUseContent(type="tool_use", id="1", name="f", input={})
TOOL_RESULT = ToolResultContent(type="tool_result", toolUseId="1", content=[])


@pytest.mark.parametrize("block", [IMAGE, AUDIO, TOOL_USE, TOOL_RESULT], ids=lambda b: b.type)
@pytest.mark.parametrize("beside_text", [False, True])
async def test_what_is_not_text_is_refused_by_name(openai, block, beside_text):
    content = [text("Look:"), block] if beside_text else block
    params = request(("user", text("Hello")), ("assistant", content))
    with pytest.raises(ValueError, match=f"from text only, not from {block.type}$"):
        await sample(params)
    assert calls(openai) == 0


@pytest.mark.parametrize(
    "field",
    [{"tools": [Tool(name="f", inputSchema={})]}, {"tools": []}, {"toolChoice": ToolChoice()}],
    ids=["tools", "no tools", "tool choice"],
)
async def test_tools_are_refused_since_they_are_not_declared(openai, field):
    with pytest.raises(ValueError, match="samples without tools"):
        await sample(request(("user", text("Hello")), **field))
    assert calls(openai) == 0


def test_the_client_starts_server_py_and_declares_sampling_without_tools():
    assert isinstance(client.client.transport, PythonStdioTransport)
    assert client.client.transport.script_path == (ROOT / "server.py").resolve()
    kwargs = client.client._session_kwargs
    assert kwargs["sampling_capabilities"].model_dump(exclude_none=True) == {}
    assert client.client._init_timeout == 30
    assert kwargs["read_timeout_seconds"].total_seconds() == 30 + 120


@pytest.mark.parametrize(("script", "limit"), [("server.py", 45), ("client.py", 120)])
def test_the_scripts_stay_short(script: str, limit: int):
    lines = (ROOT / script).read_text(encoding="utf-8").splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= limit


def test_the_sample_is_an_essay_with_the_dashes_and_quotes_of_real_prose():
    sample_text = (ROOT / "sample.txt").read_text(encoding="utf-8")
    assert 2700 <= len(sample_text) <= 3300
    assert all(mark in sample_text for mark in "—“”")
