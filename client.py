"""The client: it has the key, chooses the model and decides what to answer.

Read `sampling_handler` first: it answers the server's request for a completion. `main` is what
leads to that request: it starts server.py and calls its tool with a document.
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
from mcp.types import ModelPreferences

# For LiteLLM's import: no price list from the network, and no .env but the one named below.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")
import litellm

litellm.suppress_debug_info = True  # no advertisement on stdout when a call fails

HERE = Path(__file__).parent
load_dotenv(HERE / ".env")  # a variable that is already set wins over the file

# What this client is willing to pay for, the default first. Whoever runs these gets the key.
MODELS = ["gpt-4o", "gpt-4o-mini"]
TIMEOUT = 150  # seconds for the whole tool call, the model's time included
NO_KEY = "OPENAI_API_KEY is not set, so no model was called. Set it in .env, see .env.example."


async def sampling_handler(
    messages: list[SamplingMessage], params: SamplingParams, context: RequestContext
) -> str:
    """Answer a server's request sampling/createMessage with the text of a completion.

    RuntimeError refuses it, or reports a failure: the server gets an error with the same words.
    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
    """
    chat = chat_messages(messages, params)
    model = choose_model(params.modelPreferences)
    print("[3] client: is asked for a completion, and chooses a model")
    print(f"Model: {model}")
    print(f"Temperature: {params.temperature}")
    print(f"Max tokens: {params.maxTokens}")
    # By the specification a human should see, change or deny the request here, and then see the
    # completion, before the server does. This example asks nobody.
    return await ask_model(model, chat, params)


def choose_model(preferences: ModelPreferences | None) -> str:
    """Choose one of MODELS by the hints in a server's model preferences (no other part is used).

    Hints are tried in order: the first model whose name contains the hint is chosen. If no hint
    fits, it is the first of MODELS: hints are advice.
    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling#model-preferences
    """
    hints = preferences.hints if preferences else None
    for hint in hints or []:
        for model in MODELS:
            if hint.name and hint.name in model:
                return model
    return MODELS[0]


async def ask_model(model: str, chat: list[dict[str, str]], params: SamplingParams) -> str:
    """Return a completion's text, or NO_KEY. Raises RuntimeError if the model fails."""
    # The key is read here, on the client's side of the wire, and goes to the provider alone.
    api_key = os.getenv("OPENAI_API_KEY", "").strip()
    if not api_key:
        return NO_KEY
    try:
        completion = await litellm.acompletion(
            model=model,
            messages=chat,
            temperature=params.temperature,
            max_tokens=params.maxTokens,
            stop=params.stopSequences,
            drop_params=True,  # leave out what this model does not take, such as temperature
            api_key=api_key,
        )
    except Exception as error:
        # The provider's words may hold the key, or a piece of it. They are printed here, on the
        # client's side; the server is told only the kind of failure.
        print("The model call failed:", " ".join(str(error).split())[:500], file=sys.stderr)
        raise RuntimeError(f"the client's model call failed ({type(error).__name__})") from None
    if not completion.choices:
        raise RuntimeError("the client's model returned no text (no choices)")
    choice = completion.choices[0]
    # The content may be None, but a handler must never return None: the server would be told that
    # its request had invalid parameters, and a page of validation errors would be printed here.
    if not (choice.message.content or "").strip():
        raise RuntimeError(f"the client's model returned no text ({choice.finish_reason})")
    return choice.message.content


def chat_messages(messages: list[SamplingMessage], params: SamplingParams) -> list[dict[str, str]]:
    """Put a sampling request in the form of a chat. Raises RuntimeError if it is not all text."""
    # A server may also send tools that the model can ask for, if the client has declared
    # `sampling.tools`. This one has declared `sampling` alone, and must refuse such a request.
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


async def main() -> None:
    """Have the server summarize the file that the command line names, and print the result."""
    parser = argparse.ArgumentParser(description="Have server.py summarize FILE or sample.txt.")
    parser.add_argument("file", nargs="?", default=HERE / "sample.txt", help="a text file in UTF-8")
    document_text = Path(parser.parse_args().file).read_text(encoding="utf-8")

    # The server is a subprocess, spoken to over stdio. It is handed PATH and a few more variables
    # of this environment, not the rest, so not the key. (But this is no sandbox: see README.md.)
    transport = StdioTransport(sys.executable, [str(HERE / "server.py")], keep_alive=False)
    # The sampling_handler makes the client declare the capability `sampling` when it connects.
    client = Client(transport, sampling_handler=sampling_handler, timeout=TIMEOUT)
    async with client:
        print("[1] client: calls the server's tool summarize_document")
        result = await client.call_tool("summarize_document", {"document_text": document_text})
        print(result)
        print(result.data)
    print(f"Connected?: {client.is_connected()}")


if __name__ == "__main__":
    # Print UTF-8 on every system, and each line at once, into a file or a pipe, too.
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # whatever failed, the last line says what
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
