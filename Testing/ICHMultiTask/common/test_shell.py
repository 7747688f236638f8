"""What every command does around its work: streams, signals, memory, children."""

import argparse
import errno
import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from ICHMultiTaskLib import cli
from ICHMultiTaskLib.common import processes
from ICHMultiTaskLib.common.errors import is_out_of_memory
from ICHMultiTaskLib.common.processes import in_processes
from ICHMultiTaskLib.common.shell import parse, run_command, seed, sentence_of

REPOSITORY = Path(__file__).parents[3]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in ("ICHMultiTask", "ICHMultiTaskTraining")),
}
COMMAND = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
from ICHMultiTaskLib.common.shell import run_command
def work():
    {work}
sys.exit(run_command(work))
"""
unix = pytest.mark.skipif(os.name == "nt", reason="descriptors and signals of Unix")


def test_a_seed_is_not_negative():
    assert seed("0") == 0 and seed("41") == 41
    with pytest.raises(argparse.ArgumentTypeError, match="expected at least 0, found -1"):
        seed("-1")


def start(work, *shell, **options):
    line = [sys.executable, "-c", COMMAND.format(work=work)]
    if shell:
        line = [*shell, *line]
    # Where the tests run under nohup, their processes would ignore SIGHUP as well.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL) if hasattr(signal, "SIGHUP") else None
    try:
        return subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    finally:
        if before is not None:
            signal.signal(signal.SIGHUP, before)


@unix
@pytest.mark.parametrize("stream", [0, 1, 2])
def test_closed_stream_does_not_end_the_work_nor_catch_what_libraries_print(tmp_path, stream):
    work = (
        f"file = open({str(tmp_path / 'result')!r}, 'wb'); import os; os.write(1, b'x'); os.write(2, b'x'); "
        "file.write(b'whole'); file.close(); print('done'); print('said', file=sys.stderr)"
    )
    process = start(work, "sh", "-c", f'exec {stream}>&-; exec "$@"', "sh")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and (tmp_path / "result").read_bytes() == b"whole"
    assert (b"Traceback" not in err) and (stream == 1 or b"done" in out) and (stream == 2 or b"said" in err)


@unix
def test_reader_that_goes_away_does_not_end_the_work(tmp_path):
    work = f"[print('x' * 99999, flush=True) for _ in range(9)]; open({str(tmp_path / 'result')!r}, 'w').close()"
    process = start(work)
    process.stdout.close()
    assert process.wait(timeout=120) == 0 and (tmp_path / "result").exists()
    assert process.stderr.read() == b""
    process.stderr.close()


def test_console_that_lacks_a_character(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    out, before = sys.stdout, signal.getsignal(signal.SIGTERM)
    assert run_command(lambda: print("∛ of 8 mL")) == 0
    out.seek(0)
    assert out.read() == "? of 8 mL\n" and sys.stdout is out
    assert signal.getsignal(signal.SIGTERM) is before


@unix
@pytest.mark.parametrize("sent", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_every_signal_ends_the_work_like_ctrl_c_and_cleans_up_undisturbed(tmp_path, sent):
    mark = str(tmp_path / "cleaned")
    work = f"""
    try:
        print('ready', flush=True); time.sleep(60)
    finally:
        print('cleaning', flush=True); time.sleep(0.5); open({mark!r}, 'w').close()"""
    process = start(work)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(getattr(signal, sent))
    assert process.stdout.readline() == b"cleaning\n"
    process.send_signal(getattr(signal, sent))  # of an impatient user
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and err.decode() == "Canceled; nothing was written.\n"
    assert os.path.exists(mark)


@unix
def test_signal_that_was_ignored_stays_ignored():
    process = start("print('ready', flush=True); time.sleep(1); print('done')", "sh", "-c", "trap '' HUP; \"$@\"", "sh")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=120)
    assert out == b"done\n"


def test_launcher_that_is_ended_by_force_takes_the_command_with_it():
    environment = {**ENVIRONMENT, "ICHMULTITASK_ENDS_WITH_INPUT": "1"}
    work = "print('ready', flush=True); [time.sleep(0.1) for _ in range(600)]"
    line = [sys.executable, "-c", COMMAND.format(work=work)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(line, env=environment, **pipes) as process:
        assert process.stdout.readline().strip() == b"ready"
        process.stdin.close()
        assert process.wait(timeout=120) == 1
        assert process.stderr.read().decode().strip() == "Canceled; nothing was written."


def test_errors_that_mean_too_little_memory():
    for error in (
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Exception thrown in SimpleITK: Failed to allocate memory for image."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ):
        assert is_out_of_memory(error) and sentence_of(error).startswith("There is not enough memory"), error
        assert "\n" not in sentence_of(error)
    assert "memory ran out" in sentence_of(BrokenProcessPool())
    assert sentence_of(RuntimeError("shapes differ")) is None and sentence_of(KeyError("x")) is None


def square(number):
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number**2


def sleep(folder):
    (folder / f"{os.getpid()}").touch()
    time.sleep(60)


def is_running(process):
    """Whether a process of this number runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_work_is_shared_by_processes_and_errors_come_back():
    for count in (1, 2):
        assert dict(in_processes(square, [1, 2, 3], count)) == {0: 1, 1: 4, 2: 9}
        with pytest.raises(ValueError, match="-2 is negative"):
            list(in_processes(square, [1, -2, 3], count))


def process_and_threads(_job):
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def test_processes_have_a_thread_each_and_few_jobs_need_none(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for count, (process, threads) in dict(in_processes(process_and_threads, [1, 2, 3, 4], 2, worth=2)).items():
        assert process != os.getpid() and threads == "1", count
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ
    for _, found in in_processes(process_and_threads, [1, 2, 3], 2, worth=2):
        assert found == (os.getpid(), "7")


def pid_and_time():
    return os.getpid(), time.monotonic_ns()


def job_and_tool(job, tool):
    return job, tool, os.getpid()


def unusable():
    raise ValueError("no tool")


def test_each_process_makes_its_tool_once():
    for count in (1, 2):
        found = dict(in_processes(job_and_tool, list(range(8)), count, setup=pid_and_time))
        assert [found[n][0] for n in range(8)] == list(range(8))
        tools = {tool for _, tool, _ in found.values()}
        assert {made_in for made_in, _ in tools} == {process for _, _, process in found.values()}
        assert len(tools) == len({made_in for made_in, _ in tools}) <= count
        with pytest.raises(ValueError, match="no tool"):
            list(in_processes(job_and_tool, [1, 2], count, setup=unusable))
    assert list(in_processes(job_and_tool, [], 2, setup=unusable)) == []


@pytest.mark.skipif(os.name == "nt", reason="signals wait on Unix")
def test_ctrl_c_while_processes_are_started_is_not_lost():
    """They take seconds to start, in which Ctrl-C was ignored: an evaluation went on for its hours."""
    waited, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), processes._no_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            waited.append(True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert waited == [True]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="sees processes by /proc")
def test_children_end_with_the_consumer_of_results_and_with_their_parent(tmp_path):
    code = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]
from pathlib import Path
import test_shell
from ICHMultiTaskLib.common.processes import in_processes
from ICHMultiTaskLib.common.shell import run_command
if __name__ == "__main__":
    sys.exit(run_command(lambda: list(in_processes(test_shell.sleep, [Path({str(tmp_path)!r})] * 2, 2))))
"""
    (tmp_path / "work.py").write_text(code)
    for sent, status in ((signal.SIGTERM, 1), (signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen([sys.executable, str(tmp_path / "work.py")], env=ENVIRONMENT, stderr=subprocess.PIPE)
        while len(children := [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]) < 2:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(sent)
        assert process.wait(timeout=120) == status
        for _ in range(300):  # the kernel tells the children of their parent's end in its own time
            if not any(map(is_running, children)):
                break
            time.sleep(0.1)
        assert not any(map(is_running, children))
        if status == 1:
            assert process.stderr.read().decode() == "Canceled; nothing was written.\n"
        process.stderr.close()
        for child in children:
            (tmp_path / str(child)).unlink()


def test_home_is_meant_by_a_tilde_that_the_shell_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    found = parse("ichmultitask", cli.COMMANDS, ["mark", "~/scan", "--output=~/a.seg.nrrd", "--model", "b~"], "")
    assert found.path == str(tmp_path / "scan") and found.output == tmp_path / "a.seg.nrrd" and found.model == "b~"
