# SPDX-License-Identifier: Apache-2.0
"""What Wirespan will not do it says in a plain sentence, ends with status 2, leaves nothing."""

import os
import shutil
import socket
import subprocess

import pytest

from collector import BINARY, Collector, free_port

REFUSED = 2
NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]


def refusal(*args, before=(), binary=BINARY, env=None, words=()):
    """Runs it; the sentence, which must have the words."""
    done = subprocess.run([*before, binary, *args], capture_output=True, text=True, timeout=30,
                          check=False, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    assert done.returncode == REFUSED, (done.returncode, done.stderr)
    assert "libbpf" not in done.stderr
    rows = done.stderr.strip().splitlines()
    assert 1 <= len(rows) <= 3, done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    return done.stderr


@pytest.fixture
def run_args(folder):
    return ["run", "--listen", f"127.0.0.1:{free_port()}", "--store", os.path.join(folder, "store")]


@pytest.fixture
def for_all(folder):
    """The binary where an unprivileged user can run it, and a folder where it can write."""
    os.chmod(folder, 0o777)
    return shutil.copy(BINARY, os.path.join(folder, "wirespan"))


def test_not_root(run_args, for_all, folder):
    refusal(*run_args, before=NOBODY, binary=for_all, words=["root"])
    assert not os.path.exists(os.path.join(folder, "store"))


@pytest.mark.parametrize("cap,stronger", [
    ("bpf", "sys_admin"), ("perfmon", "sys_admin"), ("sys_ptrace", "sys_ptrace"),
    ("dac_read_search", "dac_override")])
def test_missing_capability(run_args, folder, cap, stronger):
    """The stronger capability that would stand for the missing one goes as well."""
    refusal(*run_args, before=["setpriv", "--bounding-set", f"-{cap},-{stronger}"],
            words=["CAP_" + cap.upper()])
    assert not os.path.exists(os.path.join(folder, "store"))


def test_no_btf(run_args):
    hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\""
    refusal(*run_args, before=["unshare", "--mount", "sh", "-c", hide, "sh"], words=["BTF"])


def test_kernel_without_the_hooks(run_args, folder):
    """A kernel whose type information knows none of our hooks: our own object's, put in its place."""
    btf = os.path.join(folder, "btf")
    subprocess.run(["llvm-objcopy", f"--dump-section=.BTF={btf}", BINARY + ".bpf.o", "/dev/null"],
                   check=True)
    other = f"mount --bind {btf} /sys/kernel/btf/vmlinux && exec \"$@\""
    refusal(*run_args, before=["unshare", "--mount", "sh", "-c", other, "sh"],
            words=["kernel", "send", "tcp_sendmsg_locked"])


def test_port_taken(run_args, folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        run_args[2] = f"127.0.0.1:{port}"
        refusal(*run_args, words=[str(port)])


def test_store_in_use(folder):
    with Collector(folder, "--capture", "off") as c:
        refusal("run", "--listen", f"127.0.0.1:{free_port()}", "--store", c.store,
                words=[c.store])
        assert c.is_ready(), "the first instance does not answer any more"


def test_store_of_unknown_version(run_args, folder):
    store = os.path.join(folder, "store")
    os.mkdir(store)
    with open(os.path.join(store, "format"), "w", encoding="ascii") as f:
        f.write("wirespan-store 999\n")
    refusal(*run_args, words=[store, "999"])
    assert set(os.listdir(store)) <= {"format", "lock"}


def test_config_unknown_key(run_args, folder):
    path = os.path.join(folder, "w.yaml")
    with open(path, "w", encoding="ascii") as f:
        f.write("# settings\nlog_level: info\nopen_prots: 80\n")
    refusal(*run_args, "--config", path, words=[path + ":3", "open_prots"])


@pytest.mark.parametrize("row", ["open_ports: eighty", "capture: perhaps", "log_level: loud"])
def test_config_bad_value(run_args, folder, row):
    path = os.path.join(folder, "w.yaml")
    with open(path, "w", encoding="ascii") as f:
        f.write("# settings\n\n" + row + "\n")
    refusal(*run_args, "--config", path, words=[path + ":3", row.split(":")[0]])


def test_config_check(folder):
    path = os.path.join(folder, "w.yaml")
    with open(path, "w", encoding="ascii") as f:
        f.write("capture: maybe\n")
    refusal("config", "check", "--config", path, words=[path + ":1"])
    with open(path, "w", encoding="ascii") as f:
        f.write("capture: on\nopen_ports: 8080,5432\n")
    assert subprocess.run([BINARY, "config", "check", "--config", path], check=False,
                          capture_output=True, timeout=30).returncode == 0


def test_config_file_missing(run_args, folder):
    path = os.path.join(folder, "none.yaml")
    refusal(*run_args, "--config", path, words=[path])


def test_bad_flag(run_args):
    refusal(*run_args, "--open-prots", "80", words=["open-prots"])


def test_bad_flag_value(run_args):
    refusal(*run_args, "--open-ports", "99999", words=["open-ports", "99999"])


def test_bad_environment(run_args):
    refusal(*run_args, env={"WIRESPAN_CAPTURE": "perhaps"}, words=["WIRESPAN_CAPTURE"])


def test_capture_off_needs_no_root(folder, for_all):
    c = Collector(folder, "--capture", "off", store=os.path.join(folder, "own"))
    c.args = [*NOBODY, for_all, *c.args[1:]]
    with c:
        assert c.tempo().get("/api/echo")[0] == 200
    assert c.process.returncode == 0


def test_version():
    done = subprocess.run([BINARY, "version"], capture_output=True, text=True, check=False,
                          timeout=30)
    assert done.returncode == 0
    assert "wirespan" in done.stdout.lower()
