"""The server: its tool needs a language model, but the server has none.

So the tool asks the calling client for a completion. That is sampling:
https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
Revision 2026-07-28 of the protocol deprecates it: see README.md.
"""

import sys

from fastmcp import Context, FastMCP
from fastmcp.exceptions import McpError, ToolError

mcp = FastMCP("Document Assistant")


@mcp.tool(output_schema=None)  # plain text needs no schema
async def summarize_document(document_text: str, ctx: Context) -> str:  # FastMCP fills in ctx
    """Summarize a plain text with the language model of the client that calls this tool.

    Fails if the text is blank, or if the client does not return a text.
    """
    if not document_text.strip():
        raise ToolError("The document is empty: there is nothing to summarize")

    # On stdio, stdout carries only the protocol: print to stderr.
    print("[2] server: asks the client for a completion", file=sys.stderr)
    try:
        # Here the direction is reversed: the server sends its client a request,
        # sampling/createMessage, and waits for the answer.
        completion = await ctx.sample(
            f"Summarize the following document:\n\n{document_text}",
            system_prompt=(
                "You are an expert summarizer. "
                "Find the key ideas of a document and state them clearly and briefly."
            ),
            temperature=0.7,
            max_tokens=300,
            model_preferences="gpt-4o",  # a hint: the client chooses
        )
    except (McpError, ValueError) as error:
        # McpError: the client refused, or its model failed.
        # ValueError: the client cannot sample, or its answer is malformed.
        raise ToolError(f"Sampling failed: {error}") from error

    text = (completion.text or "").strip()  # None if it is an image, for example
    if not text:
        raise ToolError("Sampling failed: the completion holds no text")
    print("[4] server: has the answer, and ends the tool call", file=sys.stderr)
    return f"Summary:\n{text}"


if __name__ == "__main__":
    mcp.run(show_banner=False)
