"""The server: it has a tool that needs a language model, and no model.

Its tool asks whichever client called it for a completion. That is sampling:
https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
"""

from fastmcp import Context, FastMCP
from fastmcp.exceptions import McpError, ToolError

mcp = FastMCP("Document Assistant")


@mcp.tool
async def summarize_document(document_text: str, ctx: Context) -> str:
    """Summarize a document with the language model of the client that calls this tool.

    document_text is the whole document, as plain text. The answer is the line "Summary:"
    and below it the words of the model, which is asked for at most 300 tokens. The call fails
    with a tool error if the document is blank, or if the client cannot sample, refuses, or
    has no text to give.
    """
    if not document_text.strip():
        raise ToolError("The document is empty: there is nothing to summarize")

    # From here the direction is inverted: over ctx, which FastMCP supplies, the server sends
    # the client that called it a request, sampling/createMessage, and waits. The client decides
    # whether to answer. It may use fewer tokens, or another model: the name is only a hint.
    try:
        completion = await ctx.sample(
            f"Summarize the following document:\n\n{document_text}",
            system_prompt=(
                "You are an expert summarizer. "
                "Find the key ideas of a document and state them clearly and briefly."
            ),
            temperature=0.7,
            max_tokens=300,
            model_preferences="gpt-4o",
        )
    except (McpError, ValueError) as error:
        # McpError: the client denied the request, or its model failed.
        # ValueError: the client never declared the capability `sampling`.
        raise ToolError(f"Sampling failed: {error}") from error

    text = (completion.text or "").strip()  # text is None where the completion is, say, an image
    if not text:
        raise ToolError("Sampling failed: the completion holds no text")
    return f"Summary:\n{text}"


if __name__ == "__main__":
    # On stdio, stdout carries the protocol and nothing else: never print() in a server.
    mcp.run(show_banner=False)
