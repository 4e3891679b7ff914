"""Running cases in a process whose memory is limited, and a parent that survives what brings such a process down.

``python -m fuzz.run READER COUNT SEED FOLDER`` is the process; it prints a line of JSON for each case that went wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from fuzz.mutations import CHANGES, Change, mutated
from fuzz.readers import READERS, Reader, check_sentence
from napari_cam_feedback.errors import FeedbackError

FINDS = Path(__file__).parent / "finds"
#: Bytes of address space above what a process has once everything is imported, and those that a case may fill.
HEADROOM, MOST = 2 << 30, 300 << 20
#: Seconds of a processor for a case.
PATIENCE = 10


@dataclass(frozen=True)
class Fault:
    """A file that was not read as it should be.

    Attributes
    ----------
    reader : str
        Which reader it was.
    what : str
        The exception and where it was raised, or what became of the process.
    file : Path
        The file.
    """

    reader: str
    what: str
    file: Path


def limit_memory(headroom: int = HEADROOM) -> None:
    """Let the process take that much address space more than it has; Linux only."""
    import resource

    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + headroom, resource.RLIM_INFINITY))


def peak() -> int:
    """Bytes that the process has taken at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fault_of(reader: Reader, path: Path) -> str | None:
    """Read a file; return what went wrong, None where it was read or refused in a sentence."""
    before = peak()
    try:
        reader.read(path)
    except FeedbackError as error:
        try:
            check_sentence(error)
        except Exception as worse:
            return f"no sentence: {type(worse).__name__}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "napari_cam_feedback" in f.filename]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "nowhere of ours"
        return f"{type(error).__name__} in {at}"
    filled = peak() - before
    return f"fills {filled >> 20} MB" if filled > MOST else None


def run_cases(
    reader: Reader,
    count: int,
    seed: int,
    folder: Path,
    begin: Callable[[Path], None],
    report: Callable[[str, Path, bytes], None],
) -> None:
    """Read that many changed files; `report` takes each kind of fault, its path and content, and again a smaller one."""
    seeds = reader.prepare(folder)
    contents = {path: path.read_bytes() for path in seeds}
    found: dict[str, int] = {}

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(range(len(seeds))), CHANGES)
    def one(number: int, changes: list[Change]) -> None:
        path = seeds[number]
        content = mutated(contents[path], changes, reader.form)[: 1 << 20]
        path.write_bytes(content)
        begin(path)
        # Of its own time, since other programs may keep the machine busy.
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        fault = fault_of(reader, path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_bytes(contents[path])
        if fault is not None and len(content) < found.get(fault, 1 << 30):
            found[fault] = len(content)
            report(fault, path, content)

    one()


def fuzz(names: str, count: int, seed: int, keep: Path) -> tuple[int, list[Fault]]:
    """Run cases in processes of their own; return how many were run and the faults, whose files are kept.

    Parameters
    ----------
    names : str
        Readers, joined by commas.
    count, seed : int
        Cases of each, and what they are drawn by.
    keep : Path
        Folder for files that went wrong.
    """
    faults: dict[tuple[str, str], Fault] = {}
    done, wanted = 0, count * len(names.split(","))
    for attempt in range(8):
        with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
            command = [sys.executable, "-m", "fuzz.run", names, str(count), str(seed + 1000 * attempt), temporary]
            process = subprocess.run(command, capture_output=True, text=True, errors="replace", env=_environment())
            lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith('{"')]
            for line in lines:
                if "fault" in line:
                    fault = Fault(
                        line["reader"], line["fault"], _kept(keep, line["reader"], Path(line["file"]), line["fault"])
                    )
                    faults[fault.reader, fault.what] = fault
            done += max((line["done"] for line in lines if "done" in line), default=0)
            if process.returncode == 0:
                break
            # The process is gone, and the case that ended it is still on the disk.
            case = Path(temporary) / ".case"
            if not case.is_file():
                raise RuntimeError(process.stderr[-3000:])
            path = Path(case.read_text())
            reader, what = path.relative_to(temporary).parts[0], _death(process.returncode, process.stderr)
            faults[reader, what] = Fault(reader, what, _kept(keep, reader, path, what))
        if done >= wanted:
            break
    return done, list(faults.values())


def _environment() -> dict[str, str]:
    here = Path(__file__).parents[1]
    paths = [str(here), str(here.parent / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}


def _death(status: int, stderr: str) -> str:
    if status == -signal.SIGPROF:
        return f"takes more than {PATIENCE} s"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    last = stderr.strip().splitlines()[-1] if stderr.strip() else ""
    return f"ended with status {status}: {last[:100]}"


def _kept(keep: Path, name: str, path: Path, what: str) -> Path:
    """Copy a file to where finds are kept, in a folder for each reader; its name tells the fault from others."""
    digest = hashlib.sha256(what.encode()).hexdigest()[:8]
    target = keep / name.replace(" ", "-") / f"{digest}-{path.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return target


def main() -> None:
    """Run the cases named on the command line: READER[,READER…] COUNT SEED FOLDER."""
    names, count, seed, folder = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    readers = [each for each in READERS if each.name in names]
    for reader in readers:
        with suppress(Exception):
            # Whatever is imported at the first use is there before the limit is set.
            for path in reader.prepare(_made(folder / "first" / reader.name)):
                reader.read(path)
    limit_memory()
    done = 0

    def begin(path: Path) -> None:
        nonlocal done
        done += 1
        (folder / ".case").write_text(str(path))
        if done % 20 == 0:
            print(json.dumps({"done": done}), flush=True)

    for reader in readers:

        def report(fault: str, path: Path, content: bytes, reader: Reader = reader) -> None:
            place = folder / ".faults" / hashlib.sha256(f"{reader.name}{fault}".encode()).hexdigest()[:8] / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            print(json.dumps({"fault": fault, "reader": reader.name, "file": str(place)}), flush=True)

        run_cases(reader, count, seed, _made(folder / reader.name), begin, report)
    print(json.dumps({"done": done}), flush=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
