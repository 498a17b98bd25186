"""A mount namespace in which a test may mount small file systems without touching the machine's."""
import os
import pathlib
import subprocess

import pytest


class MountNamespace:
    """Held open by a sleeping process. Programs enter it by `prefix`; its files are seen from outside under `root`."""

    def __init__(self):
        root = os.geteuid() == 0
        enter = ["unshare", "--mount"] if root else ["unshare", "--map-root-user", "--mount"]
        self.holder = subprocess.Popen([*enter, "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()  # it is inside, or has died
        target = ["--target", str(self.holder.pid), "--mount"]
        self.prefix = ["nsenter", *target] if root else ["nsenter", *target, "--user", "--preserve-credentials"]
        self.root = pathlib.Path(f"/proc/{self.holder.pid}/root")

    def mount(self, *arguments):
        subprocess.run([*self.prefix, "mount", *map(str, arguments)], check=True, capture_output=True)

    def seen(self, path):
        """The path from outside."""
        return self.root / path.relative_to("/")

    def close(self):
        """The kernel unmounts everything with the last process inside."""
        self.holder.kill()
        self.holder.wait()


def open_namespace(folder):
    """A namespace with an empty tmpfs of 64 MB at `folder`. Skips the test if mounting is not allowed."""
    namespace = MountNamespace()
    try:
        namespace.mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", folder)
        namespace.mount("-o", "remount,size=64m", folder)  # some systems allow only root to do this
    except (subprocess.CalledProcessError, FileNotFoundError):
        namespace.close()
        pytest.skip("mounting and remounting a tmpfs is not allowed here")
    return namespace
