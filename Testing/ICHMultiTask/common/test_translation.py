"""Sentences of the library: English as data, translated where they are shown, and found by Slicer's tools."""

import ast
import copy
import json
import pickle
import re
from pathlib import Path

import pytest

from ICHMultiTaskLib.analysis.second_look import decide
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.numbers import interval, yes_no
from ICHMultiTaskLib.common.translation import (
    Text,
    install_translator,
    joined,
    records_of,
    translated,
    with_texts,
)
from ICHMultiTaskLib.common.translation import tr as _
from ICHMultiTaskLib.common.words import word

LIBRARY = Path(__file__).parents[3] / "ICHMultiTask" / "ICHMultiTaskLib"
ROOMS = ("analysis", "common", "comparison", "measures", "model", "mrml", "panel", "scan")
ERRORS = ("ICHMultiTaskError", "InputError", "BundleError", "DependencyError", "OutputError")
PATTERNS = (r'([^_])_\((\s*?".+?"\s*?)\)', r"([^_])_\((\s*?'.+?'\s*?)\)")
"""How Slicer's Utilities/Scripts/update_translations.py finds what is to be translated."""
GERMAN = {
    "No hemorrhage found: the model measured {volume:.1f} mL, and {doubt}.": "Keine Blutung: {volume:.1f} mL, {doubt}.",
    "nothing near its attention is as dense as blood": "nichts ist so dicht wie Blut",
    "{low} to {high}": "{low} bis {high}",
    "yes": "ja",
    "deep": "tief",
    "found {count}": "{wrong} gefunden",
}


@pytest.fixture
def german():
    asked = []

    def translate(context, words):
        asked.append((context, words))
        return GERMAN.get(words, words)

    install_translator(translate)
    yield asked
    install_translator(None)


def test_a_sentence_is_english_as_data_and_translated_where_it_is_shown(german):
    reason = decide(0.4, None, 0.0)[1]
    english = "No hemorrhage found: the model measured 0.4 mL, and nothing near its attention is as dense as blood."
    assert reason == english and f"{reason}" == english and json.loads(json.dumps([reason])) == [english]
    assert translated(reason) == "Keine Blutung: 0.4 mL, nichts ist so dicht wie Blut."
    assert ("analysis.second_look", "nothing near its attention is as dense as blood") in german, "Slicer's context"
    assert [translated(text) for text in (interval((1, 2)), yes_no(True), word("deep"))] == [
        "1.0 bis 2.0",
        "ja",
        "tief",
    ]
    assert translated(joined(", ", (yes_no(True), "x", word("deep")))) == "ja, x, tief"
    assert translated("yes") == "yes", "what nobody marked stays as it is"


def test_without_a_translator_a_sentence_is_shown_in_english():
    reason = decide(0.4, None, 0.0)[1]
    assert translated(reason) == reason and type(translated(reason)) is str


def test_an_error_is_shown_as_its_sentence(german):
    cause = InputError(_("yes"))
    assert translated(cause) == "ja" and translated(KeyError("a", "b")) == "('a', 'b')"
    quoted = _("found {count}: {error}").format(count=1, error=cause)
    assert quoted == "found 1: yes" and translated(quoted) == "found 1: ja"
    assert not any(isinstance(value, Exception) for value in quoted.values.values()), "its frames would be kept"


def test_a_translation_with_wrong_placeholders_is_not_used(german):
    assert translated(_("found {count}").format(count=3)) == "found 3"


def test_texts_survive_copies_processes_and_json(german):
    reason = decide(0.4, None, 0.0)[1]
    for copied in (copy.deepcopy(reason), pickle.loads(pickle.dumps(reason))):
        assert translated(copied).startswith("Keine Blutung")
    facts = {"reason": reason, "warnings": [yes_no(True), "plain"], "volume": 0.4}
    kept = json.loads(json.dumps({"facts": facts, "texts": records_of(facts)}))
    restored = with_texts(kept["facts"], kept["texts"])
    assert restored == facts and translated(restored["reason"]) == translated(reason)
    assert [translated(text) for text in restored["warnings"]] == ["ja", "plain"]


@pytest.mark.parametrize("records", [None, [], {"a": None}, {"a": ["x"]}, {"a": ["x", "y", 3]}])
def test_records_that_cannot_be_read_leave_the_text_in_english(records):
    assert with_texts({"k": "a"}, records) == {"k": "a"}


def parsed():
    for room in ROOMS:
        for path in sorted((LIBRARY / room).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def is_call(node, *names):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def test_every_error_sentence_can_be_translated():
    """A sentence is written as a literal; a name or a call stands for one that was marked elsewhere."""
    literal = (ast.Constant, ast.JoinedStr, ast.BinOp)
    bare = [
        f"{path.relative_to(LIBRARY)}:{node.lineno}"
        for path, tree in parsed()
        for node in ast.walk(tree)
        if is_call(node, *ERRORS) and node.args and isinstance(node.args[0], literal)
    ]
    assert bare == []


def test_tools_find_every_marked_sentence():
    for path, tree in parsed():
        marked = [node.args[0] for node in ast.walk(tree) if is_call(node, "_")]
        assert all(isinstance(argument, ast.Constant) for argument in marked), f"{path.name}: no literal in _()"
        code = path.read_text(encoding="utf-8")
        found = [ast.literal_eval(f"({text})") for pattern in PATTERNS for _, text in re.findall(pattern, code, re.S)]
        assert sorted(found) == sorted(argument.value for argument in marked), path.name


def own_names(node):
    """Names of a function's own scope."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(
            child, (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
        ):
            if isinstance(child, ast.Name):
                yield child
            yield from own_names(child)


def test_no_function_that_marks_a_sentence_has_a_variable_of_that_name():
    for path, tree in parsed():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and any(is_call(node, "_") for node in ast.walk(function)):
                taken = [name for name in own_names(function) if name.id == "_" and isinstance(name.ctx, ast.Store)]
                assert not taken, f"{path.name}: {function.name}"


def test_a_text_of_values_alone_asks_no_translator(german):
    assert translated(Text("{a}: {b}").format(a="x", b=yes_no(True))) == "x: ja"
    assert [words for _context, words in german] == ["yes"]
