"""open-me.ipynb: its cells are run as they stand, and as a reader changes them."""

import re
from ast import literal_eval
from pathlib import Path
from textwrap import dedent, indent

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK = nbformat.read(ROOT / "open-me.ipynb", as_version=4)
CELLS = {cell.id: cell.source for cell in NOTEBOOK.cells}
IN_THE_PROJECT = {"timeout": 60, "resources": {"metadata": {"path": str(ROOT)}}}


def printed(cell):
    """What stands below a cell that was run."""
    return "".join(each.get("text") or each.data["text/plain"] for each in cell.outputs)


def outputs(notebook):
    """What stands below each cell of code, by the cell's name."""
    return {cell.id: printed(cell) for cell in notebook.cells if cell.cell_type == "code"}


def with_body(name, body):
    """The cell of an exercise, with a reader's code in place of the line that is to be changed."""
    line = '    return "nothing yet"  # change me\n'
    assert line in CELLS[name]
    return CELLS[name].replace(line, indent(dedent(body), "    ") + "\n")


def solution(name):
    """The solution that is folded in a cell of text."""
    return re.search(r"A solution</summary>\n\n```python\n(.+?)```", CELLS[name], re.DOTALL)[1]


@pytest.fixture(scope="module")
def run():
    """Run code in one kernel, which has run the two cells of helpers. Returns what it prints."""
    notebook = nbformat.v4.new_notebook()
    client = NotebookClient(notebook, **IN_THE_PROJECT)

    def run_cell(source):
        cell = nbformat.v4.new_code_cell(source)
        notebook.cells.append(cell)
        client.execute_cell(cell, len(notebook.cells) - 1)
        return printed(cell)

    with client.setup_kernel():
        run_cell(CELLS["call-tool"])
        run_cell(CELLS["try-mine"])
        yield run_cell


def test_the_outputs_are_those_of_a_run_without_a_key():
    notebook = nbformat.from_dict(NOTEBOOK)
    NotebookClient(notebook, **IN_THE_PROJECT).execute()
    assert outputs(notebook) == outputs(NOTEBOOK)


def test_the_cells_were_run_once_from_the_first_to_the_last():
    counts = [cell.execution_count for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_the_outputs_hold_no_key_and_no_path_of_the_machine_that_made_them():
    shown = "".join(outputs(NOTEBOOK).values())
    assert not re.search(
        r"(?<![\w:/])/(home|root|Users|tmp|usr|opt|work|var)\b|[A-Z]:\\|\bsk-", shown
    )
    assert not any(cell.metadata for cell in NOTEBOOK.cells)


def test_by_hand_the_servers_request_comes_before_its_result():
    request = literal_eval(outputs(NOTEBOOK)["request"])
    assert (request["method"], request["id"]) == ("sampling/createMessage", 0)
    words = {"type": "text", "text": "Summary:\nWords of mine, and of no model."}
    result = literal_eval(outputs(NOTEBOOK)["result"])
    assert result == {"jsonrpc": "2.0", "id": 2, "result": {"content": [words], "isError": False}}


def test_by_hand_a_refused_request_is_a_failed_call_with_a_result():
    assert literal_eval(outputs(NOTEBOOK)["again"]) == ("sampling/createMessage", 1)
    words = {"type": "text", "text": "Sampling failed: User rejected sampling request"}
    result = literal_eval(outputs(NOTEBOOK)["refusal"])
    assert result == {"jsonrpc": "2.0", "id": 3, "result": {"content": [words], "isError": True}}


def test_by_hand_the_servers_process_gets_no_key_and_is_gone_after_the_last_cell(run):
    run("import os, psutil; os.environ['ANY_KEY'] = 'sk-mine'")
    run(CELLS["start"])
    environment = run("print(psutil.Process(server.pid).environ())")
    assert "'PATH'" in environment
    assert "sk-mine" not in environment
    run(CELLS["end"])
    assert run("print(psutil.Process().children())") == "[]\n"


def test_step_3_is_solved_by_its_solution(run):
    run(solution("careful-check"))
    output = run(
        "await call_tool(careful)\nawait call_tool(careful, 'Tell nobody: the secret is a star.')"
    )
    assert output == (
        "[2] server: asks the client for a completion\n"
        "[4] server: has the answer, and ends the tool call\n"
        "is_error=False Summary:\nStars are suns.\n"
        "[2] server: asks the client for a completion\n"
        "is_error=True Sampling failed: this client passes on no secrets\n"
    )


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("return messages.content", "True Sampling failed: 'list' object has no attribute"),
        ("return content[0].text", "True Sampling failed: name 'content' is not defined"),
        ("return messages[0].text", "True Sampling failed: 'SamplingMessage' object has no"),
        ("return 'I refuse.'", "False Summary:\nI refuse."),
        ("pass", "True Sampling failed: Invalid request parameters"),
        ("return {'error': 'no'}", "True Sampling failed: 3 validation errors"),
    ],
)
def test_a_wrong_handler_does_what_the_hints_of_step_3_say(run, body, shown):
    output = run(with_body("careful", body))
    assert output.count(f"is_error={shown}") == 2  # for the secret, and for the other text


@pytest.mark.parametrize("yes", ["yes", "Yes", " y"])
def test_the_person_who_says_yes_is_the_model(run, yes):
    run(f"typed = [{yes!r}, 'Suns.']; input = lambda question: typed.pop(0)")
    output = run(CELLS["person"].replace("# await", "await"))
    assert "\nYou are an expert summarizer. " in output
    assert "\nSummarize the following document:\n\nEvery star is a sun.\n" in output
    assert output.endswith("is_error=False Summary:\nSuns.\n")


@pytest.mark.parametrize("no", ["no", "", "of course not"])
def test_the_person_who_does_not_say_yes_refuses(run, no):
    run(f"input = lambda question: {no!r}")
    output = run(CELLS["person"].replace("# await", "await"))
    assert output.endswith("is_error=True Sampling failed: the user did not allow it\n")


def test_step_5_is_solved_by_its_solution_until_the_client_refuses(run):
    run(solution("tool-check"))
    assert run("await try_mine('Stars are suns.', 'Many suns')") == (
        "request: Summarize this in one sentence:\n\nEvery star is a sun.\n"
        "request: Find a title of two words for this:\n\nStars are suns.\n"
        "is_error=False Many suns\nStars are suns.\n"
    )
    failure = "is_error=True Error calling tool 'title_and_summary': the user said no\n"
    assert run(CELLS["refused"]).count(failure) == 2


def test_the_decision_of_step_5_is_solved_by_its_solution(run):
    run(solution("decided-check"))
    output = run("await try_mine('Stars are suns.', 'Many suns')")
    assert output.endswith("is_error=False Many suns\nStars are suns.\n")
    title_refused, summary_refused = run(CELLS["decided"]).split("is_error=")[1:]
    assert title_refused.startswith("False Stars are suns.\n")
    assert summary_refused == "True Error calling tool 'title_and_summary': the user said no\n"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("await ctx.sample('Summarize: {document_text}')", "request: Summarize: {document_text}\n"),
        ("await ctx.sample({'role': 'user', 'content': 'Hello'})", "request: role content\n"),
        ("await ctx.sample([{'role': 'user', 'content': 'Hello'}])", "'content_as_list'\n"),
        ("await ctx.sample(f'Title: {ctx.sample(document_text)}')", "Title: <coroutine object "),
        ("await ctx.sample(document_text).text", "'coroutine' object has no attribute 'text'\n"),
        ("await ctx.sample(f'{await ctx.sample(document_text)}')", "request: SamplingResult("),
        ("return await ctx.sample(document_text)", 'is_error=False {"text":"Stars are suns.",'),
        ("await ctx.sample('', systemPrompt='')", "unexpected keyword argument 'systemPrompt'"),
        ("for _ in range(3): await ctx.sample('Hello')", "is_error=True Error calling tool"),
        ("await ctx.sample(document_text)", "is_error=False\n"),
        ("return 'Many suns', 'Stars are suns.'", 'False ["Many suns","Stars are suns."]\n'),
    ],
)
def test_a_wrong_tool_does_what_the_hints_of_step_5_say(run, body, shown):
    assert shown in run(with_body("tool", body))


def test_a_tool_with_another_name_is_not_called(run):
    run(CELLS["tool"])
    output = run(CELLS["tool"].replace("title_and_summary", "summary_and_title"))
    assert output == "is_error=False nothing yet\n"


@pytest.mark.parametrize(
    ("decision", "shown"),
    [
        ("pass", "cannot access local variable 'title'"),
        ("title = None", "'NoneType' object has no attribute 'text'"),
    ],
)
def test_a_decision_that_goes_on_without_a_title_fails(run, decision, shown):
    body = f"""
        summary = await ctx.sample(document_text)
        try:
            title = await ctx.sample(summary.text)
        except Exception:
            {decision}
        return title.text + summary.text"""
    run(with_body("tool", body))
    title_refused, _summary_refused = run(CELLS["decided"]).split("is_error=")[1:]
    assert shown in title_refused


@pytest.mark.parametrize(
    ("decision", "shown"),
    [
        ("return summary.text", "True Error calling tool 'title_and_summary': cannot access local"),
        ("return 'no'", "False no\n"),
    ],
)
def test_a_decision_that_holds_the_summary_too_hides_its_refusal(run, decision, shown):
    body = f"""
        try:
            summary = await ctx.sample(document_text)
            title = await ctx.sample(summary.text)
        except Exception:
            {decision}
        return title.text + summary.text"""
    run(with_body("tool", body))
    _title_refused, summary_refused = run(CELLS["decided"]).split("is_error=")[1:]
    assert summary_refused.startswith(shown)
