"""open-me.ipynb is run from its first cell to its last, as a reader would run it."""

import copy
import itertools
import json
import re
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from conftest import (
    KEY,
    NO_KEY,
    ROOT,
    UV,
    answer_and_watch,
    wait_until,
    with_key,
    write_env,
)
from nbclient import NotebookClient
from pytest_httpserver import HTTPServer

NOTEBOOK = nbformat.read(ROOT / "open-me.ipynb", as_version=4)

# All that may differ from machine to machine, and what stands for it when outputs are compared.
DIFFERS = [
    (r"^Python  \d+\.\d+\.\d+\S*", "Python  X"),  # the first that comes
    (r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d", "DATE TIME"),  # in the server's log
    (r"^(The server process has:).*", r"\1 ..."),  # by operating system and shell
]

NO_FILENO = """
import io, sys

def fileno():
    raise io.UnsupportedOperation("fileno")

sys.stderr.fileno = fileno
"""


@pytest.fixture(autouse=True)
def environment_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHON_DOTENV_DISABLED", "FASTMCP_ENV_FILE"):
        monkeypatch.delenv(name)
    for name, value in UV.items():
        monkeypatch.setenv(name, value)


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


def run(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    before, started = files(folder), time.monotonic()
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=60, resources=resources, on_cell_executed=check_no_server_is_left
    ).execute()
    assert time.monotonic() - started < 90
    assert files(folder) == before
    return notebook


def check_no_server_is_left(**cell: object) -> None:
    """After each cell: the kernel, which is no script, runs on, but nothing that it started."""
    wait_until(
        lambda: not any(map(runs_a_script, psutil.Process().children(recursive=True))), seconds=5
    )


def runs_a_script(process: psutil.Process) -> bool:
    try:
        return any(word.endswith(".py") for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def outputs(notebook: nbformat.NotebookNode) -> list[list[tuple[str, str]]]:
    """Per code cell, what it printed: (stream, text). Nothing but prints is allowed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(output.output_type == "stream" for cell in cells for output in cell.outputs)
    return [[(output.name, output.text) for output in cell.outputs] for cell in cells]


def text_of(notebook: nbformat.NotebookNode) -> str:
    return "".join(text for cell in outputs(notebook) for _, text in cell)


def comparable(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    """Per code cell, the text of each stream, without what differs."""
    result = []
    for cell in outputs(notebook):
        streams: dict[str, str] = {}
        for name, text in cell:
            streams[name] = streams.get(name, "") + text
        for name in streams:
            for pattern, replacement in DIFFERS:
                streams[name] = re.sub(pattern, replacement, streams[name], flags=re.MULTILINE)
        result.append(streams)
    return result


def test_without_a_key_the_outputs_are_those_that_are_committed(clone: Path):
    notebook = run(copy.deepcopy(NOTEBOOK), clone)
    assert comparable(notebook) == comparable(NOTEBOOK)


def test_with_a_key_and_a_stderr_without_a_file_the_model_is_called(
    clone: Path, httpserver: HTTPServer
):
    answer_and_watch(httpserver, clone, "A summary from the stand-in.")
    write_env(clone, with_key(httpserver))
    notebook = copy.deepcopy(NOTEBOOK)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(NO_FILENO))
    text = text_of(run(notebook, clone))
    assert "OPENAI_API_KEY is set\n" in text
    # Step 8 calls it, and so does the script in step 10.
    assert len(httpserver.log) == 2
    assert all(r.headers["Authorization"] == f"Bearer {KEY}" for r, _ in httpserver.log)
    assert text.count("\nSummary:\nA summary from the stand-in.\n") == 2
    assert NO_KEY not in text.replace(f'"{NO_KEY}"', "")  # in the source of the handler it stands
    assert KEY not in text
    assert re.search("OPENAI_API_KEY in this process: +True", text)
    assert re.search("OPENAI_API_KEY in the server's: +False", text)


def test_it_is_committed_as_run_once_from_the_first_cell_to_the_last():
    counts = [cell.execution_count for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert all(not cell.metadata for cell in NOTEBOOK.cells)


def test_its_outputs_hold_no_path_and_no_key():
    text = text_of(NOTEBOOK)
    # Any absolute path, of any system, would do: home folders hold user names.
    assert not re.search(r"(?<![\w:/])/(home|root|Users|tmp|usr|opt|work|var|private)\b", text)
    assert not re.search(r"[A-Z]:\\", text)
    assert "site-packages" not in text
    assert not re.search(r"\bsk-", text)
    assert str(Path.home()) not in json.dumps(NOTEBOOK)


def test_it_shows_the_scripts_from_their_files():
    printed = [cell[0][1] for cell in outputs(NOTEBOOK) if cell]
    server = (ROOT / "server.py").read_text(encoding="utf-8")
    assert server + "\n" in printed
    script = (ROOT / "client.py").read_text(encoding="utf-8")
    (handler,) = [text for text in printed if text.startswith("async def sampling_handler")]
    assert handler.strip() in script
    sources = "".join(cell.source for cell in NOTEBOOK.cells)
    assert "ctx.sample(\n" not in sources and "acompletion(" not in sources  # not pasted


def test_before_each_code_cell_stands_a_text():
    kinds = [cell.cell_type for cell in NOTEBOOK.cells]
    pairs = list(itertools.pairwise(kinds))
    assert kinds[0] == "markdown" and ("code", "code") not in pairs
    headings = re.findall(r"^## (\d+)\.", "\n".join(c.source for c in NOTEBOOK.cells), re.MULTILINE)
    assert headings == [str(number) for number in range(1, 12)]
