"""Every test asserts something, itself or by a function that it calls."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
TREES = {path: ast.parse(path.read_text()) for path in TESTS.rglob("*.py")}
ASSERTING = ("raises", "warns", "fail")


def functions(tree):
    """The functions of a file by name, those of its classes included."""
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def asserts(node, helpers, seen=()):
    """Whether there is an assertion in a function or in the helpers that it names."""
    for part in ast.walk(node):
        name = getattr(part, "attr", getattr(part, "id", ""))
        if isinstance(part, ast.Assert) or name in ASSERTING or name.startswith("assert_"):
            return True
        if isinstance(part, ast.keyword) and part.arg == "check":  # a process that must succeed
            return True
        helper = helpers.get(name)
        if helper and name not in seen and asserts(helper, helpers, (*seen, name)):
            return True
    return False


def silent(tree, shared):
    """The names of the tests in a file that assert nothing."""
    helpers = shared | functions(tree)
    tests = {n: f for n, f in functions(tree).items() if n.startswith("test_")}
    others = {n: f for n, f in helpers.items() if n not in tests}
    return [name for name, function in tests.items() if not asserts(function, others)]


def test_every_test_asserts_something():
    shared = {}
    for path, tree in TREES.items():
        if not path.name.startswith("test_"):
            shared |= functions(tree)
    found = {str(path.relative_to(TESTS)): silent(tree, shared) for path, tree in TREES.items()}
    assert not {path: names for path, names in found.items() if names}


def test_a_test_without_an_assertion_is_found():
    text = "def helper():\n    assert 1\ndef test_a():\n    helper()\ndef test_b():\n    print(1)\n"
    assert silent(ast.parse(text), {}) == ["test_b"]
