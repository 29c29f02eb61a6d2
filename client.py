"""The client: it has the key, chooses the model and decides how to answer.

Read `main` first, at the end of the file. `sampling_handler` answers what the server then asks.
"""

import asyncio
import os
import sys
from pathlib import Path

from dotenv import load_dotenv
from fastmcp import Client
from fastmcp.client.sampling import RequestContext, SamplingMessage, SamplingParams
from fastmcp.exceptions import FastMCPError, McpError
from mcp.types import CreateMessageResult, ModelPreferences, TextContent

HERE = Path(__file__).parent
load_dotenv(HERE / ".env")  # a variable that is already set wins over the file

# The models this client pays for, the default first, and the variable that holds each one's key.
MODELS = {"gpt-4o": "OPENAI_API_KEY", "gpt-4o-mini": "OPENAI_API_KEY"}


async def sampling_handler(
    messages: list[SamplingMessage], params: SamplingParams, context: RequestContext
) -> CreateMessageResult:
    """Answer a server's request sampling/createMessage. Raises RuntimeError to refuse it.

    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
    """
    if params.tools is not None or params.toolChoice is not None:
        raise RuntimeError("this client has not declared sampling.tools: its model takes no tools")
    chat = chat_messages(params.systemPrompt, messages)
    model = choose_model(params.modelPreferences)
    print(f"[3] client: is asked for a completion, and chooses {model}")
    print(f"Temperature: {params.temperature}, max tokens: {params.maxTokens}")
    # By the specification a person should see, change or deny the request here, and then see the
    # completion before the server does. This example asks nobody.
    api_key = os.getenv(MODELS[model])
    if api_key:
        text = await ask_model(model, chat, params, api_key)
    else:
        print(f"No {MODELS[model]} (see .env.example): {model} is not called")
        length = sum(len(message["content"]) for message in chat)
        model, text = "stand-in", f"[No model was called. The chat has {length} characters.]"
    content = TextContent(type="text", text=text)
    return CreateMessageResult(role="assistant", content=content, model=model)


def chat_messages(system_prompt: str | None, messages: list[SamplingMessage]) -> list[dict]:
    """Return a request as a chat, in OpenAI's format. Raises RuntimeError for what is not text."""
    chat = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for message in messages:
        for block in message.content_as_list:
            if block.type != "text":
                raise RuntimeError(f"this client passes on text only, not {block.type}")
        text = "\n".join(block.text for block in message.content_as_list)
        chat.append({"role": message.role, "content": text})
    return chat


def choose_model(preferences: ModelPreferences | None) -> str:
    """Return the first model whose name contains a hint, hints in their order, else the default."""
    hints = preferences.hints if preferences else None
    for hint in hints or []:
        for model in MODELS:
            if hint.name and hint.name.lower() in model.lower():
                return model
    return next(iter(MODELS))  # no hint fits: hints are advice, and the client chooses


async def ask_model(model: str, chat: list[dict], params: SamplingParams, api_key: str) -> str:
    """Return the text of a completion. Raises RuntimeError if the call fails or brings no text."""
    # Download no list of prices, and read no stray .env: a base URL in it would get the key.
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")
    import litellm  # speaks to many providers; only here, because the import takes seconds

    litellm.suppress_debug_info = True
    try:
        completion = await litellm.acompletion(
            model=model,
            messages=chat,
            temperature=params.temperature,
            max_tokens=params.maxTokens,
            stop=params.stopSequences,
            drop_params=True,  # leaves out what this model does not take
            api_key=api_key,
        )
        choice = completion.choices[0]
    except Exception as error:
        # The server gets what a handler raises, word for word. A provider's message may quote the
        # key: it is printed on this side, and only the kind of error is raised.
        print(f"The model call failed: {error}", file=sys.stderr)
        raise RuntimeError(f"the client's model call failed ({type(error).__name__})") from None
    text = (choice.message.content or "").strip()
    if not text:
        raise RuntimeError(f"the client's model returned no text ({choice.finish_reason})")
    return text


async def main() -> None:
    """Have the server summarize a file, the one on the command line or sample.txt."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "sample.txt"
    document_text = file.read_text(encoding="utf-8")

    # The client starts the server on stdio, with few variables and no key in its environment. (This
    # is no sandbox: see README.md.) A sampling_handler makes the client declare the capability
    # `sampling` when it connects.
    async with Client(HERE / "server.py", sampling_handler=sampling_handler, timeout=300) as client:
        print("[1] client: calls the server's tool summarize_document")
        result = await client.call_tool("summarize_document", {"document_text": document_text})
        print(result)
        print(result.content[0].text)
    print(f"Connected?: {client.is_connected()}")


if __name__ == "__main__":
    # UTF-8 on every system, and line by line, to keep order with the server's lines on stderr.
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (FastMCPError, McpError, OSError, RuntimeError, UnicodeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")  # anything else keeps its traceback
