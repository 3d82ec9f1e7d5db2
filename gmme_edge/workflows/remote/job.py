"""One run on another machine, through one connection of the system's ssh.

What travels on the connection's standard input is a tar archive, into a fresh folder that only the
user can read. Standard output brings the result back. The folder is removed when the run ends, and
also when the connection does: the other side waits for the end of its standard input, and ends the
run with it. So Ctrl-C, a failure or a cable that is pulled leave nothing behind.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
import tarfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gmme_edge.errors import PlatformError
from gmme_edge.workflows.remote.hosts import Host

SCRIPT = "gmme_edge_measure.py"
RESULT = "result.json"
_MOST_BYTES = 64 << 20
_GOODBYE_S = 30.0
_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15")

# `read` waits for the end of the input, which nothing more comes on: then the client is gone.
# setsid gives the run a process group of its own, so that what it started ends with it.
_REMOTE = """
umask 077
folder=$(mktemp -d "${{TMPDIR:-/tmp}}/gmme-edge.XXXXXX") || exit 71
before=
cleanup() {{
  [ -z "$before" ] || sudo -n nvpmodel -m "$before" </dev/null >/dev/null 2>&1
  cd / && rm -rf "$folder"
}}
trap cleanup EXIT
trap 'exit 129' HUP INT TERM PIPE
head -c {size} | tar -x -f - -C "$folder" || exit 71
cd "$folder" || exit 71
{mode}
exec 3<&0
export TMPDIR="$folder" XDG_CACHE_HOME="$folder/cache" PYTHONDONTWRITEBYTECODE=1
setsid {command} </dev/null >&2 &
run=$!
(read -r _ <&3; kill -s TERM -- -$run || kill -s TERM -$run) >/dev/null 2>&1 &
watch=$!
wait $run
code=$?
kill $watch 2>/dev/null
[ ! -f {result} ] || cat {result}
exit $code
"""
_MODE = """
before=$(nvpmodel -q | tail -n 1) || exit 72
sudo -n nvpmodel -m {mode} </dev/null >&2 || {{ before=; exit 72; }}
"""
_MEANING = {
    71: "it could not unpack the bundle: that takes mktemp, head, tar and room for its files.",
    72: "it could not set the power mode: nvpmodel is needed, and sudo that asks for no password.",
    127: "it has no setsid or no such Python.",
    255: "ssh failed.",
}


@dataclass(frozen=True)
class Job:
    """What one host is to do: files by name, and the arguments of `SCRIPT`."""

    host: Host
    files: dict[str, bytes]
    arguments: Sequence[str]
    ssh_config: Path | None = None

    @property
    def archive(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in self.files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o600
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

    def command(self, size: int) -> list[str]:
        """The call of ssh; any login shell understands its one argument."""
        run = [self.host.python, "-B", SCRIPT, *self.arguments, "-o", RESULT]
        mode = self.host.power_mode
        script = _REMOTE.format(
            size=size,
            command=shlex.join(run),
            result=RESULT,
            mode="" if mode is None else _MODE.format(mode=mode),
        )
        config = ["-F", str(self.ssh_config)] if self.ssh_config else []
        remote = f"sh -c {shlex.quote(script)}"
        return ["ssh", *config, *_OPTIONS, "--", self.host.ssh, remote]


def run_job(job: Job, say: Callable[[str], None], stop: threading.Event) -> bytes:
    """The result's bytes; `say` hears the other side's lines, `stop` ends the run from outside.

    Raises:
        PlatformError: ssh is missing or failed, the run failed without a result, or was stopped.
    """
    archive = job.archive
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        say(line)

    try:
        process = subprocess.Popen(
            job.command(len(archive)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to handle: the other side cleans up first
        )
    except OSError as error:
        raise PlatformError(f"ssh cannot be started: {error}.", "OpenSSH's client.") from error
    result: list[bytes] = []
    work: list[tuple[Callable[..., None], object, object]] = [
        (_send, process.stdin, archive),
        (_receive, process.stdout, result),
        (_hear, process.stderr, hear),
    ]
    threads = [threading.Thread(target=f, args=args, daemon=True) for f, *args in work]
    for thread in threads:
        thread.start()
    try:
        while process.poll() is None and not stop.wait(0.1):
            pass
    finally:
        _part(process)
        for thread in threads:
            thread.join(_GOODBYE_S)
    if stop.is_set():
        raise PlatformError(f"{job.host.name} was stopped.")
    if process.returncode and not result[0]:
        raise _failure(job.host, process.returncode, lines)
    return result[0]


def _send(pipe: IO[bytes], archive: bytes) -> None:
    """The archive; the pipe stays open, since its end is what stops the other side."""
    with contextlib.suppress(OSError, ValueError):  # it is gone already; its exit code tells more
        pipe.write(archive)
        pipe.flush()


def _receive(pipe: IO[bytes], result: list[bytes]) -> None:
    with pipe:
        result.append(pipe.read(_MOST_BYTES))


def _hear(pipe: IO[bytes], say: Callable[[str], None]) -> None:
    with pipe:
        for line in pipe:
            say(line.decode("utf-8", errors="replace").rstrip())


def _part(process: subprocess.Popen[bytes]) -> None:
    """Close the other side's input, and let it clean up."""
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_GOODBYE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failure(host: Host, code: int, lines: list[str]) -> PlatformError:
    told = " ".join(lines[-6:])[-1000:]
    meaning = _MEANING.get(code, "")
    fix = "see its message."
    if code == 255:
        fix = (
            f"try `ssh {host.ssh} true`: accept its host key once by hand, and let a key or agent "
            "log in (ssh-copy-id), since no password is asked for."
        )
    return PlatformError(
        f"{host.name} failed with status {code}: {meaning} {told}".strip(), "", fix
    )
