"""open-me.ipynb is run as a reader would run it, and tried where the reader tries things."""

import ast
import copy
import inspect
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import conftest as c
import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from pytest_httpserver import HTTPServer

NOTEBOOK = nbformat.read(c.ROOT / "open-me.ipynb", as_version=4)
CELLS = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]

# All that may differ from machine to machine, and what stands for it when outputs are compared.
DIFFERS = [
    (r"^Python  \d+\.\d+\.\d+\S*", "Python  X"),
    (r"^\[\d\d/\d\d/\d\d \d\d:\d\d:\d\d\](.*)transport\.py:\d+", r"[DATE TIME]\1LINE"),
    (r"^(The server process has:).*", r"\1 ..."),  # by operating system and shell
]

START = ("from client import", "from pathlib", "def send")

NO_FILENO = "import io, sys; sys.stderr.fileno = io.StringIO().fileno"  # which raises


def cell(text: str) -> nbformat.NotebookNode:
    (found,) = [cell for cell in CELLS if text in cell.source]
    return found


def run(cells: list[nbformat.NotebookNode], folder: Path) -> list[dict[str, str]]:
    """Run cells in a kernel of their own. Per code cell, what it printed to each stream."""
    notebook = nbformat.v4.new_notebook(cells=copy.deepcopy(cells))
    options = {"timeout": 60, "resources": {"metadata": {"path": str(folder)}}}
    NotebookClient(notebook, on_cell_executed=check_nothing_is_left, **options).execute()
    return printed(notebook.cells)


def check_nothing_is_left(**cell: object) -> None:
    """After each cell: the kernel, which is no script, runs on, but nothing that it started."""
    children = psutil.Process().children
    c.wait_until(lambda: not any(map(runs_a_script, children(recursive=True))))


def runs_a_script(process: psutil.Process) -> bool:
    try:
        return any(word.endswith(".py") for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def printed(cells: list[nbformat.NotebookNode]) -> list[dict[str, str]]:
    result = []
    for cell in cells:
        assert all(output.output_type == "stream" for output in cell.get("outputs", []))
        streams = {"stdout": "", "stderr": ""}
        for output in cell.get("outputs", []):
            streams[output.name] += output.text
        for pattern, replacement in DIFFERS:  # in prints to stdout alone
            streams["stdout"] = re.sub(pattern, replacement, streams["stdout"], flags=re.MULTILINE)
        if cell.cell_type == "code":
            result.append(streams)
    return result


@pytest.mark.xdist_group("kernel")
def test_without_a_key_the_outputs_are_those_that_are_committed(clone: Path):
    before = {path.name: path.read_bytes() for path in clone.iterdir()}
    assert run(NOTEBOOK.cells, clone) == printed(NOTEBOOK.cells)
    shutil.rmtree(clone / "__pycache__", ignore_errors=True)
    assert {path.name: path.read_bytes() for path in clone.iterdir()} == before


@pytest.mark.xdist_group("kernel")
def test_with_a_key_the_model_is_called_and_no_server_has_the_key(
    clone: Path, httpserver: HTTPServer, monkeypatch, tmp_path: Path
):
    monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
    log = tmp_path / "environments.txt"
    dump = f"""import json, os, sys
with open({str(log)!r}, "a", encoding="utf-8") as log:
    print(json.dumps(dict(os.environ)), file=log)
"""
    c.edit(clone / "server.py", "import sys\n", dump)
    c.respond(httpserver, c.completion("A summary from the stand-in."))
    c.write_env(clone, **c.with_key(httpserver))
    texts = [*START, "def by_hand", "async def call_the", "LIMIT", "document, sampling_handler)"]
    outputs = run([cell(text) for text in [*texts, "spy", '"client.py"']], clone)
    start, *_, handler, spy, script = [output.get("stdout", "") for output in outputs]
    assert "OPENAI_API_KEY is set\n" in start
    assert len(httpserver.log) == 2
    assert all(r.headers["Authorization"] == f"Bearer {c.KEY}" for r, _ in httpserver.log)
    for text in (handler, script):
        assert "\nSummary:\nA summary from the stand-in.\n" in text
    assert "OPENAI_API_KEY" not in spy
    environments = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(environments) == 7  # by hand, with FastMCP, three times in step 6, 8, 11
    assert all(c.KEY not in environment.values() for environment in environments)
    assert not any(environment.get("OPENAI_API_KEY") for environment in environments)
    assert c.KEY not in json.dumps(outputs)


@pytest.mark.xdist_group("kernel")
def test_a_stderr_without_a_file_is_no_hindrance(clone: Path):
    """As in a kernel on Windows, where the SDK would fail to hand it to a server."""
    texts = [*START, "def by_hand", "async def call_the", "spy", '"client.py"']
    cells = [cell(text) for text in texts]
    outputs = run([nbformat.v4.new_code_cell(NO_FILENO), *cells], clone)
    assert outputs[1:] == printed(cells)


@pytest.fixture
def here(clone: Path, monkeypatch: pytest.MonkeyPatch):
    """Run cells, found by a text in them, in one namespace of this process: no kernel."""
    monkeypatch.chdir(clone)
    namespace: dict = {}

    async def run_cells(*texts: str, **edits: str) -> dict:
        for text in texts:
            source = cell(text).source
            for old, new in edits.get("edit", {}).items():
                source = source.replace(old, new)
            code = compile(source, text, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if inspect.iscoroutine(result := eval(code, namespace)):
                await result
        return namespace

    return run_cells


async def test_by_hand_the_request_comes_inside_the_call(here, clone: Path, capsys):
    namespace = await here(*START, "def by_hand")
    lines = capsys.readouterr().out.splitlines()[-7:]
    arrows = [line[:3] for line in lines]
    assert arrows == ["-->", "<--", "-->", "-->", "<--", "-->", "<--"]
    call, request, answer, result = lines[3:]
    assert '"id": 2, "method": "tools/call"' in call
    assert "sampling/createMessage" in request and request.endswith('"id":0}')
    assert '"id": 0, "result"' in answer and namespace["answer"]["content"]["text"] in answer
    assert '"id":2' in result and '"isError":false' in result
    namespace["by_hand"]({})
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ["-->", "<--", "-->", "-->", "<--"]
    assert '"id":2' in lines[-1] and '"isError":true' in lines[-1]
    c.check_no_server(clone)
    pretended = SimpleNamespace(stdin=io.StringIO())  # long lines are shortened, but never as sent
    namespace["send"](pretended, method="m", params={"text": "x" * 1000}, id=7)
    assert json.loads(pretended.stdin.getvalue())["params"]["text"] == "x" * 1000
    line = capsys.readouterr().out
    assert len(line) < 210 and " … " in line and line.endswith('"id": 7}\n')


@pytest.mark.parametrize("source", ["", "import time\ntime.sleep(60)\n"], ids=["dead", "silent"])
async def test_by_hand_a_server_that_dies_or_is_silent_ends_in_one_line(
    here, clone: Path, capsys, source
):
    (clone / "server.py").write_text(source, encoding="utf-8")
    await here(*START[:1], *START[2:], "def by_hand", edit={"Timer(30,": "Timer(1,"})
    *_, request, last = capsys.readouterr().out.splitlines()
    assert request.startswith("-->") and last == "The server has ended."
    c.check_no_server(clone)


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (["yes", "Suns, all of them."], "Summary:\nSuns, all of them.\n"),
        (["no"], "ToolError: Sampling failed: the user said no\n"),
    ],
)
async def test_a_person_answers_or_refuses(here, capsys, monkeypatch, words, outcome):
    answers = iter(words)
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    await here("from client import", "from pathlib", "async def call_the")
    await here("async def ask_me", edit={"# await": "await"})
    out = capsys.readouterr().out
    assert "Every star is a sun." in out and out.endswith(outcome)
    assert next(answers, None) is None


async def test_the_folded_solution_passes_the_check_and_the_skeleton_does_not(here, capsys):
    await here("from client import", "from pathlib", "async def call_the")
    await here("mine = FastMCP", "async def check")
    assert "Not yet: the tool should sample twice" in capsys.readouterr().out.splitlines()[-1]
    (text,) = [c.source for c in NOTEBOOK.cells if c.source.startswith("<details>")]
    solution = text.partition("```python\n")[2].partition("```")[0]
    await here("mine = FastMCP", edit={cell("mine = FastMCP").source: solution})
    await here("async def check")
    assert capsys.readouterr().out.startswith("Right: ")


def test_it_is_committed_as_run_once_from_the_first_cell_to_the_last():
    assert [cell.execution_count for cell in CELLS] == list(range(1, len(CELLS) + 1))
    assert all(not cell.metadata for cell in NOTEBOOK.cells)
    text = "".join(output.text for cell in CELLS for output in cell.outputs)
    assert c.NO_KEY in text and all(step in text for step in c.STEPS)
    # Any absolute path, of any system, would do: home folders hold user names.
    assert not re.search(r"(?<![\w:/])/(home|root|Users|tmp|usr|opt|work|var|private)\b", text)
    assert not re.search(r"[A-Z]:\\|site-packages|\bsk-", text)
