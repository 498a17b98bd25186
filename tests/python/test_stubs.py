"""The stubs are those of the table of options, and name what the package has."""
import ast
import pathlib
import subprocess
import sys

PYTHON = pathlib.Path(__file__).parents[2] / "python"


def test_the_stubs_of_the_commands_are_current(freelunch, tmp_path):
    package = str(pathlib.Path(freelunch.__file__).parents[1])
    subprocess.run([sys.executable, PYTHON.parent / "scripts/python-stubs", tmp_path / "stub"], check=True,
                   env={"PYTHONPATH": package})
    current = (tmp_path / "stub").read_text()
    assert current == (PYTHON / "freelunch/_commands.pyi").read_text(), "run scripts/python-stubs"
    ast.parse(current)


def test_the_stub_of_the_compiled_module_names_its_functions(freelunch):
    from freelunch import _native

    tree = ast.parse((PYTHON / "freelunch/_native.pyi").read_text())
    stubbed = {node.name: [a.arg for a in node.args.args] for node in tree.body if isinstance(node, ast.FunctionDef)}
    compiled = {name for name in dir(_native) if not name.startswith("_") and callable(getattr(_native, name))}
    assert compiled == set(stubbed) | {"LiveTensors", "OwnCriterion"}
    for name, arguments in stubbed.items():
        told = getattr(_native, name).__doc__
        assert all(f"{argument}:" in told for argument in arguments), told
