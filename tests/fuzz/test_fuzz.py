"""Some hundred changed files and all that were ever read wrongly: each is read, or refused in one sentence."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from fuzz.readers import READERS
from fuzz.run import FINDS, fault_of, fuzz

CASES = 10
# Exporting a program takes longer than all others together.
QUICK = [reader.name for reader in READERS if reader.name != "program"]


@pytest.mark.timeout(900)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the address space of a process so")
def test_changed_files_of_every_kind_are_read_or_refused_in_a_sentence(tmp_path):
    done, faults = fuzz(",".join(QUICK), CASES, 1, tmp_path)
    assert [(fault.reader, fault.what) for fault in faults] == []
    assert done >= CASES * len(QUICK) * 0.9


@pytest.mark.parametrize("find", sorted(FINDS.rglob("*.*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_once_read_wrongly_is_not_any_more(find: Path, tmp_path):
    reader = next(each for each in READERS if each.name.replace(" ", "-") == find.parent.name)
    name = find.name.partition("-")[2]
    path = next(path for path in reader.prepare(tmp_path) if path.name == name)
    shutil.copyfile(find, path)
    assert fault_of(reader, path) is None
