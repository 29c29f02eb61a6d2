"""The client: it has the model's key, chooses the model and decides how to answer."""

import asyncio
import os
import sys
from pathlib import Path

from dotenv import load_dotenv
from fastmcp import Client
from fastmcp.client.sampling import RequestContext, SamplingMessage, SamplingParams
from fastmcp.client.transports import PythonStdioTransport
from fastmcp.exceptions import FastMCPError, McpError
from mcp.types import CreateMessageResult, ModelPreferences, TextContent

HERE = Path(__file__).parent
load_dotenv(HERE / ".env")  # a variable that is already set wins over the file
# Keep LiteLLM, which calls the model, from reading another .env and downloading a price list.
os.environ.update(LITELLM_MODE="PRODUCTION", LITELLM_LOCAL_MODEL_COST_MAP="True")

# The models that this client pays for, each with the environment variable that holds its key.
# The first is the default.
MODELS = {"gpt-4o": "OPENAI_API_KEY", "gpt-4o-mini": "OPENAI_API_KEY"}


async def main() -> None:
    """Have the server summarize a file: the one on the command line, or sample.txt."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "sample.txt"
    document_text = file.read_text(encoding="utf-8")

    # The server is a subprocess. This transport gives it a few environment variables, such as PATH,
    # but no key. (keep_alive=False: the server ends with the session.)
    server = PythonStdioTransport(HERE / "server.py", keep_alive=False)
    # Passing a handler makes the client declare the capability `sampling` when it connects.
    async with Client(server, sampling_handler=sampling_handler, timeout=300) as client:
        print("[1] client: calls the server's tool summarize_document")
        result = await client.call_tool("summarize_document", {"document_text": document_text})
        print(result)
        print(result.content[0].text)
    print(f"Connected?: {client.is_connected()}")


async def sampling_handler(
    messages: list[SamplingMessage], params: SamplingParams, context: RequestContext
) -> CreateMessageResult:
    """Answer the server's request sampling/createMessage, or raise an error to refuse it.

    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
    """
    model = choose_model(params.modelPreferences)
    chat = chat_messages(params.systemPrompt, messages)
    # Refuse tools for the model: this client has not declared the capability `sampling.tools`.
    if params.tools is not None or params.toolChoice is not None:
        raise RuntimeError("this client has not declared sampling.tools")
    print(f"[3] client: is asked for a completion, and chooses {model}")
    print(f"Temperature: {params.temperature}, max tokens: {params.maxTokens}")

    # By the specification a person should see, change or deny the request here, and then see the
    # completion before the server does. This example asks nobody.
    api_key = os.getenv(MODELS[model])
    if api_key:
        print(f"Calling {model} with the key in {MODELS[model]}")
        text = await ask_model(model, chat, params, api_key)
    else:
        print(f"No {MODELS[model]} (see .env.example): a stand-in answers in place of {model}")
        length = sum(len(message["content"]) for message in chat)
        text = f"[No model was called. The request has {length} characters.]"
        model = "stand-in"
    content = TextContent(type="text", text=text)
    return CreateMessageResult(role="assistant", content=content, model=model)


def choose_model(preferences: ModelPreferences | None) -> str:
    """Return the model that the server hints at, or else the default."""
    if preferences and preferences.hints:
        for hint in preferences.hints:  # in the server's order; part of a name is enough
            for model in MODELS:
                if hint.name and hint.name.lower() in model.lower():
                    return model
    return next(iter(MODELS))  # hints are advice: the client chooses


def chat_messages(system_prompt: str | None, messages: list[SamplingMessage]) -> list[dict]:
    """Return a request as a chat in OpenAI's format. Raises RuntimeError for what is not text."""
    chat = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for message in messages:
        blocks = message.content_as_list
        if any(block.type != "text" for block in blocks):
            raise RuntimeError("this client passes on text only")
        text = "\n".join(block.text for block in blocks)
        chat.append({"role": message.role, "content": text})
    return chat


async def ask_model(model: str, chat: list[dict], params: SamplingParams, api_key: str) -> str:
    """Return a model's completion of a chat. Raises RuntimeError if the call fails."""
    try:
        import litellm  # speaks to many providers; only here, because the import takes seconds

        litellm.suppress_debug_info = True  # else it asks for feedback at each error
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
        # The server sees the error raised here, and a provider's message may quote the key.
        # So the message stays on this side, and the server gets only the type of the error.
        print(f"The model call failed: {error}", file=sys.stderr)
        raise RuntimeError(f"the client's model call failed ({type(error).__name__})") from None
    print(f"{model} has answered (finish reason: {choice.finish_reason})")
    return choice.message.content or ""


if __name__ == "__main__":
    # UTF-8 on every system. Line buffering keeps the order with the server's lines on stderr.
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (FastMCPError, McpError, OSError, UnicodeError) as error:
        # Expected errors end in one line. Any other error keeps its traceback.
        sys.exit(f"{type(error).__name__}: {error}")
