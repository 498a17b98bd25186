"""Checks an installed wheel; scripts/test-wheel runs this with the Python of the new environment, in the folder where the
wheel's command and the source build's command have run. Uses the standard library alone.

check_installed.py WHEEL VERSION_H
"""
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

TORCH_LIBRARIES = {"libtorch.so", "libtorch_cpu.so", "libc10.so", "libtorch_python.so"}
GLIBC = re.compile(r"(linux-vdso|ld-linux-x86-64|libc|libm|libdl|librt|libpthread)\.so\.\d+")
# LibTorch itself links these, from the system or from its own folder
OF_TORCH = re.compile(r"(libstdc\+\+|libgcc_s|libgomp)\.so\.\d+")
LARGEST = 15e6


def needed(binary):
    """The names of the libraries that a file is linked with (DT_NEEDED), read from its bytes: no tool is installed here."""
    data = pathlib.Path(binary).read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01", binary

    def number(at, size):
        return int.from_bytes(data[at : at + size], "little")

    headers = [number(32, 8) + i * number(54, 2) for i in range(number(56, 2))]
    segments = [(number(h, 4), number(h + 8, 8), number(h + 16, 8), number(h + 32, 8)) for h in headers]
    load, dynamic = 1, 2
    entries = []
    for kind, offset, _, size in segments:
        if kind == dynamic:
            entries = [(number(at, 8), number(at + 8, 8)) for at in range(offset, offset + size, 16)]
    table = next(value for tag, value in entries if tag == 5)  # DT_STRTAB
    start = next(table - address + offset for kind, offset, address, size in segments
                 if kind == load and address <= table < address + size)
    names = [start + value for tag, value in entries if tag == 1]  # DT_NEEDED
    return [data[at : data.index(b"\0", at)].decode() for at in names]


def loaded_by(process_output):
    """library -> path, from what the loader prints with LD_TRACE_LOADED_OBJECTS, as ldd does."""
    return dict(re.findall(r"^\s+(\S+) => (\S+)", process_output, re.M))


def check_package(wheel):
    assert os.path.getsize(wheel) < LARGEST, f"{wheel} has {os.path.getsize(wheel)} bytes"
    assert re.search(r"-manylinux_2_\d+_x86_64\.whl$", wheel), wheel
    files = [str(file) for file in importlib.metadata.files("freelunch")]
    assert not [file for file in files if re.search(r"libtorch|libc10|libgomp|libcud", file)], files
    requires = importlib.metadata.requires("freelunch")
    assert "torch==2.13.*" in requires, requires


def binaries(package):
    found = [path for folder in (package, package.parent / "freelunch.libs") for path in folder.rglob("*")
             if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    assert package / "bin/freelunch" in found, found
    return found


def check_libraries(package):
    """What each file is linked with: torch's three libraries, what LibTorch links itself, glibc, files of the wheel."""
    own = {path.name for path in (package.parent / "freelunch.libs").iterdir()}
    for binary in binaries(package):
        for name in needed(binary):
            known = name in TORCH_LIBRARIES | own or GLIBC.fullmatch(name) or OF_TORCH.fullmatch(name)
            assert known, f"{binary} needs {name}"
    command = package / "bin/freelunch"
    order = needed(command)
    # libtorch.so loads the GPU libraries of a CUDA build, and would replace functions of a libstdc++ after it
    assert order.index("libstdc++.so.6") < order.index("libtorch.so"), order
    output = subprocess.run([command], env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True).stdout
    loaded = loaded_by(output)
    assert TORCH_LIBRARIES - {"libtorch_python.so"} <= set(loaded), output
    site = os.path.realpath(package.parent)
    for name, path in loaded.items():
        inside = os.path.realpath(path).startswith(site + os.sep)
        system = GLIBC.fullmatch(name) or re.fullmatch(r"(libstdc\+\+|libgcc_s)\.so\.\d+", name)
        assert inside or system, f"{name} comes from {path}"


def check_run(version):
    told = subprocess.run(["freelunch", "--version"], capture_output=True, text=True, check=True).stdout
    assert told == f"freelunch {version}\n" and importlib.metadata.version("freelunch") == version, told
    wheel, source = pathlib.Path("wheel"), pathlib.Path("source")
    names = {path.name for path in source.iterdir()} - {"freelunch.json", "report.html"}  # these hold times
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names, names
    for name in names:
        assert (wheel / name).read_bytes() == (source / name).read_bytes(), f"{name} differs from that of the source build"
    dense, pruned = (pathlib.Path(folder, "model.safetensors").read_bytes() for folder in ("model", "wheel"))
    assert dense != pruned


def check_script(package):
    """The script starts without importing the package, and says in one line what it lacks."""
    environment = dict(os.environ, PYTHONPROFILEIMPORTTIME="1")
    trace = subprocess.run(["freelunch", "--version"], env=environment, capture_output=True, text=True).stderr
    assert "importlib.util" in trace and not re.search(r"\| +(torch|freelunch)\b", trace), trace
    other = pathlib.Path("other/torch")
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "version.py").write_text("__version__ = '2.12.1'\n")
    environment = dict(os.environ, PYTHONPATH="other")
    refused = subprocess.run(["freelunch", "--version"], env=environment, capture_output=True, text=True)
    assert refused.returncode == 4 and refused.stdout == "", refused
    assert re.fullmatch(r"freelunch: torch in \S+ is 2\.12\.1, expected 2\.13\.\*; .*\n", refused.stderr), refused.stderr


def check_moved(package):
    """The command also finds a torch that is not next to it."""
    moved = pathlib.Path("elsewhere")
    shutil.copytree(package, moved / "freelunch")
    shutil.copytree(package.parent / "freelunch.libs", moved / "freelunch.libs")
    environment = dict(os.environ, PYTHONPATH="elsewhere")
    told = subprocess.run(["freelunch", "inspect", "model"], env=environment, capture_output=True, text=True)
    assert told.returncode == 0 and told.stdout.startswith("model: llama"), told


def check_shell_files():
    share = pathlib.Path(sys.prefix, "share")
    bash = share / "bash-completion/completions/freelunch"
    assert bash.read_text() == pathlib.Path("freelunch.bash").read_text()
    assert (share / "zsh/site-functions/_freelunch").read_text().startswith("#compdef freelunch\n")
    assert (share / "man/man1/freelunch.1").read_text().startswith(".\\\" Written by `freelunch man`.\n")


def main():
    wheel, header = sys.argv[1:]
    version = re.search(r'kVersion = "(.*)"', pathlib.Path(header).read_text()).group(1)
    package = pathlib.Path(importlib.util.find_spec("freelunch").submodule_search_locations[0])
    assert str(package).startswith(sys.prefix), f"freelunch comes from {package}"
    for tool in ("gcc", "g++", "cc", "c++", "cmake", "ninja"):
        assert shutil.which(tool) is None, f"{tool} is on the PATH"
    check_package(wheel)
    check_libraries(package)
    check_run(version)
    check_script(package)
    check_moved(package)
    check_shell_files()


main()
