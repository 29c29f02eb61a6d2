"""The client: it owns the model, the key and the decision.

`uv run client.py [FILE]` starts server.py as a subprocess, calls its one tool with a document,
and while that call is open answers the server's request for a completion (sampling).
"""

import asyncio
import logging
import os
import sys
from pathlib import Path
from textwrap import shorten

from dotenv import load_dotenv
from fastmcp import Client
from fastmcp.client.sampling import RequestContext, SamplingMessage, SamplingParams
from fastmcp.exceptions import McpError
from mcp.types import ModelPreferences

# LiteLLM reads these two when it is imported. With them it takes its price list from its own
# package, not from the network, and does not search the folders above it for a .env to load.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_MODE"] = "PRODUCTION"

import litellm
from litellm import acompletion

litellm.suppress_debug_info = True  # keep LiteLLM's advertisement out of stdout

HERE = Path(__file__).parent
load_dotenv(HERE / ".env")  # a variable that is already set wins over the file

MODELS = ["gpt-4o", "gpt-4o-mini"]  # what this client is willing to pay for, the default first
MODEL_TIMEOUT = 120  # seconds for one sampling request, with the retries that LiteLLM makes
SERVER_TIMEOUT = 30  # seconds for the server's own part: to start, and to handle the call


def choose_model(preferences: ModelPreferences | None) -> str:
    """Choose one of MODELS by the hints in a server's model preferences, else the first.

    Hints are tried in order, each as a substring of those names. They are advice, not orders.
    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling#model-preferences
    """
    hints = preferences.hints if preferences else None
    for hint in hints or []:
        for model in MODELS:
            if hint.name and hint.name in model:
                return model
    return MODELS[0]


async def sampling_handler(
    messages: list[SamplingMessage], params: SamplingParams, ctx: RequestContext
) -> str:
    """Answer a server's sampling/createMessage request with a completion's text.

    An exception raised here reaches the server as an error with the same words: ValueError
    for a request beyond text, RuntimeError for a model that fails, stalls or returns no text.
    https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
    """
    # This client declares `sampling` but not `sampling.tools`, so it must refuse tools.
    if params.tools is not None or params.toolChoice is not None:
        raise ValueError("this client samples without tools")
    chat = [{"role": "system", "content": params.systemPrompt}] if params.systemPrompt else []
    for message in messages:
        texts = []
        for block in message.content_as_list:
            if block.type != "text":
                raise ValueError(f"this client samples from text only, not from {block.type}")
            texts.append(block.text)
        chat.append({"role": message.role, "content": "\n".join(texts)})

    # Here, says the specification, a human should see, change or deny it. This example has none.
    model = choose_model(params.modelPreferences)
    print(f"Model: {model}")
    print(f"Temperature: {params.temperature}")
    print(f"Max tokens: {params.maxTokens}")

    # The key is read here, on the client's side of the wire, and goes to the provider alone.
    api_key = os.getenv("OPENAI_API_KEY", "").strip()
    # Without one, LiteLLM hands back this sentence, and the round trip runs all the same.
    stand_in = None if api_key else "OPENAI_API_KEY is not set, so no model was called."
    if stand_in:
        print(f"{stand_in} Set it in .env, as .env.example shows.", file=sys.stderr)

    try:
        async with asyncio.timeout(MODEL_TIMEOUT):
            completion = await acompletion(
                model=model,
                messages=chat,
                temperature=params.temperature,
                max_tokens=params.maxTokens,
                stop=params.stopSequences,
                api_key=api_key,
                mock_response=stand_in,
            )
    except Exception as error:
        # The provider's words may hold a piece of the key, so they stay on this side: the
        # person at the client reads them, the server learns the kind of failure.
        words = str(error) or f"no answer within {MODEL_TIMEOUT} seconds"  # a TimeoutError is empty
        if api_key:
            words = words.replace(api_key, "***")
        print(f"The model call failed: {shorten(words, 500)}", file=sys.stderr)
        raise RuntimeError(f"the client's model call failed ({type(error).__name__})") from None

    # Content is None for a refusal, and the choices may be empty. A handler must not return
    # None: the SDK could not send that, and the call would hang.
    text = completion.choices[0].message.content if completion.choices else None
    if text is None or not text.strip():
        raise RuntimeError("the client's model returned no text")
    return text


# A path to a Python script makes the client start it as a subprocess and speak over stdio. The
# subprocess is handed PATH, HOME and a few more variables, but not the rest, and so not the key.
# A sampling_handler makes the client declare the capability `sampling` in the handshake.
client = Client(
    HERE / "server.py",
    sampling_handler=sampling_handler,
    init_timeout=SERVER_TIMEOUT,
    timeout=SERVER_TIMEOUT + MODEL_TIMEOUT,
)


async def main() -> None:
    """Print the summary of the document that the command line names, or else of sample.txt.

    Raises ValueError for a document that cannot be read, and FastMCP's errors for the rest.
    """
    if len(sys.argv) > 2:
        raise ValueError("usage: client.py [FILE]")
    path = Path(sys.argv[1]) if len(sys.argv) == 2 else HERE / "sample.txt"
    try:
        document_text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path} as UTF-8 text: {error}") from error
    if not document_text.strip():
        raise ValueError(f"{path} is empty")

    async with client:
        result = await client.call_tool("summarize_document", {"document_text": document_text})
        print(result)
        print(result.data)
    print(f"Connected?: {client.is_connected()}")


if __name__ == "__main__":
    logging.disable()  # libraries log failures with tracebacks; here each is told in one line
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # whatever failed, the last line says what
        message = " ".join(str(error).split())
        if isinstance(error, McpError | RuntimeError):
            message = f"server.py did not start, or gave no answer: {message}"
        advice = ": check OPENAI_API_KEY" if "(AuthenticationError)" in message else ""
        sys.exit(f"Error: {message}{advice}")
