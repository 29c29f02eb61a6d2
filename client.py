"""The client: it has the key, chooses the model and decides how to answer.

`main`, at the end, calls the server's tool; `sampling_handler` answers what the server then asks.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from dotenv import load_dotenv
from fastmcp import Client
from fastmcp.client.sampling import RequestContext, SamplingMessage, SamplingParams
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import FastMCPError, McpError
from mcp.types import ModelPreferences

HERE = Path(__file__).parent
load_dotenv(HERE / ".env")  # a variable that is already set wins over the file

# Change MODELS and KEY together: the key is sent to the provider of the models.
MODELS = ["gpt-4o", "gpt-4o-mini"]  # what this client is willing to pay for, the default first
KEY = "OPENAI_API_KEY"  # the variable that holds their provider's key
TIMEOUT = 300  # seconds for the whole tool call: the import in ask_model counts, too


async def sampling_handler(
    messages: list[SamplingMessage], params: SamplingParams, context: RequestContext
) -> str:
    """Answer a server's request sampling/createMessage with the text of a completion.

    Raises RuntimeError to refuse, or if the model fails; FastMCP sends its message to the server.
    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
    """
    chat = chat_messages(messages, params)
    model = choose_model(params.modelPreferences)
    print("[3] client: is asked for a completion, and chooses a model")
    print(f"Model: {model}\nTemperature: {params.temperature}\nMax tokens: {params.maxTokens}")
    # Whoever holds the key decides. By the specification a human should see, change or deny the
    # request here, and then see the completion before the server does. This example asks nobody.
    api_key = os.getenv(KEY, "").strip()
    if not api_key:
        print(f"No {KEY} (see .env.example): {model} is not called")
        length = sum(len(message["content"]) for message in chat)
        return f"[No model was called. The chat has {length} characters.]"
    return await ask_model(model, chat, params, api_key)


def chat_messages(messages: list[SamplingMessage], params: SamplingParams) -> list[dict]:
    """Turn a sampling request into a chat. Raises RuntimeError for tools or what is not text."""
    # Tools for the model are for clients that declare the capability `sampling.tools`. This client
    # declares `sampling` alone, and must refuse them.
    if params.tools is not None or params.toolChoice is not None:
        raise RuntimeError("this client has not declared that its model can use tools")
    chat = [{"role": "system", "content": params.systemPrompt}] if params.systemPrompt else []
    for message in messages:
        for block in message.content_as_list:
            if block.type != "text":
                raise RuntimeError(f"this client passes on text only, not {block.type}")
        text = "\n".join(block.text for block in message.content_as_list)
        chat.append({"role": message.role, "content": text})
    return chat


def choose_model(preferences: ModelPreferences | None) -> str:
    """Choose one of MODELS by the hints in a server's model preferences (no other part is used).

    Hints are tried in order, capital or small letters alike: the first model whose name contains
    the hint is chosen. If no hint fits, it is the first of MODELS: hints are advice.
    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling#model-preferences
    """
    hints = preferences.hints if preferences else None
    for hint in hints or []:
        for model in MODELS:
            if hint.name and hint.name.lower() in model.lower():
                return model
    return MODELS[0]


async def ask_model(model: str, chat: list[dict], params: SamplingParams, api_key: str) -> str:
    """Return the text of a completion. Raises RuntimeError if the model fails or has no text."""
    # Imported only here: it takes seconds (Ctrl-C waits for it), and without a key nobody needs it.
    # LITELLM_LOCAL_MODEL_COST_MAP saves a download of prices. LITELLM_MODE keeps LiteLLM from
    # loading some other .env, whose OPENAI_BASE_URL would send the key elsewhere.
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")
    import litellm

    litellm.suppress_debug_info = True  # no advertisement on stdout when a call fails
    try:
        completion = await litellm.acompletion(
            model=model,
            messages=chat,
            temperature=params.temperature,
            max_tokens=params.maxTokens,
            stop=params.stopSequences,
            drop_params=True,  # leave out what the model does not take: some take no temperature
            api_key=api_key,
        )
    except Exception as error:
        # A provider's words may hold a piece of the key. They are printed on this side of the wire;
        # the server is told only the kind of failure.
        print("The model call failed:", " ".join(str(error).split()), file=sys.stderr)
        raise RuntimeError(f"the client's model call failed ({type(error).__name__})") from None
    if not completion.choices:
        raise RuntimeError("the client's model returned no text (no choices)")
    choice = completion.choices[0]
    # The content is None where the model refuses, say. A handler must not return None.
    text = choice.message.content or ""
    if not text.strip():
        raise RuntimeError(f"the client's model returned no text ({choice.finish_reason})")
    # Half an emoji, of a string that was cut, becomes "?": it cannot be sent, and all would hang.
    return text.encode("utf-8", "replace").decode("utf-8")


async def main() -> None:
    """Have the server summarize the file that the command line names, and print the result."""
    parser = argparse.ArgumentParser(description="Have server.py summarize FILE or sample.txt.")
    parser.add_argument("file", nargs="?", default=HERE / "sample.txt", help="a text file in UTF-8")
    # utf-8-sig is UTF-8, with or without the byte order mark that some editors put first.
    document_text = Path(parser.parse_args().file).read_text(encoding="utf-8-sig")

    # The server is a subprocess on stdio that ends with the session. It inherits PATH and a few
    # more variables of this environment, but not the key. (This is no sandbox: see README.md.)
    transport = StdioTransport(sys.executable, [str(HERE / "server.py")], keep_alive=False)
    # The sampling_handler makes the client declare the capability `sampling` when it connects.
    async with Client(transport, sampling_handler=sampling_handler, timeout=TIMEOUT) as client:
        print("[1] client: calls the server's tool summarize_document")
        result = await client.call_tool("summarize_document", {"document_text": document_text})
        print(result)
        print(result.content[0].text)
    print(f"Connected?: {client.is_connected()}")


if __name__ == "__main__":
    # Print UTF-8 on every system, and line by line even into a file or a pipe.
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (FastMCPError, McpError, OSError, RuntimeError, UnicodeError) as error:
        # Expected errors end in one line; a mistake in this code keeps its traceback.
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
