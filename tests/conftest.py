"""What the tests share: an environment, a copy of the project, and a stand-in for OpenAI's API."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from mcp.client.stdio import get_default_environment


def pytest_configure():
    """Set the same few variables on every machine, before a test imports FastMCP or LiteLLM.

    A proxy, a key, colours or a certificate of the reader's reach neither the tests nor what they
    start. A test that needs a variable sets it, with monkeypatch.
    """
    kept = get_default_environment()  # PATH, HOME and the like
    os.environ.clear()
    os.environ.update(
        kept,
        NO_PROXY="*",  # not the proxy of the system's settings, either
        PYTHON_DOTENV_DISABLED="1",  # nor the reader's own .env
        UV_OFFLINE="1",
        UV_PROJECT_ENVIRONMENT=sys.prefix,  # `uv run` takes the environment that the tests run in
    )


@pytest.fixture
def project(tmp_path):
    """A copy of the project, for a test to run and to change. It has no .env."""
    root, folder = Path(__file__).parent.parent, tmp_path / "project"
    shutil.copytree(root, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    return folder


@pytest.fixture
def provider(httpserver, monkeypatch):
    """A stand-in for OpenAI's API, on this machine, with the key sk-mine set."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_BASE_URL", httpserver.url_for("/v1"))
    # It is the proxy for all other machines as well: whatever is sent to one of them is refused,
    # and stands among the requests.
    monkeypatch.setenv("HTTPS_PROXY", httpserver.url_for(""))
    monkeypatch.setenv("NO_PROXY", "localhost")
    return Provider(httpserver)


class Provider:
    def __init__(self, httpserver):
        self.address = httpserver.url_for("/v1")
        self.chat = httpserver.expect_request("/v1/chat/completions", method="POST")
        self.log = httpserver.log

    def answers(self, text, finish_reason="stop"):
        message = {"role": "assistant", "content": text}
        choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
        self.chat.respond_with_json({"object": "chat.completion", "choices": choices})

    def refuses(self, status, message):
        self.chat.respond_with_json({"error": {"message": message}}, status)

    @property
    def requests(self):
        """All that was sent to it, from the first to the last."""
        return [request for request, _response in self.log]
