"""Rows in files: the same state as in RAM, whole after every kill, and every damaged file refused
by name."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jaxtyping
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from memlab import runtime
from memlab.memories import KeyValue, KeyValueState, RowFolder, row_files, row_folder, rows

DTYPES = (torch.float32, torch.float16, torch.int8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=runtime.generator(seed, "mapped", *shape))


def same(found: KeyValueState, wanted: KeyValueState) -> bool:
    pairs = list(zip(found.parts, wanted.parts, strict=True))
    return (
        all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
        and found.longest == wanted.longest
    )


def block(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """The block of that number: up to 5 values, each with a key or two."""
    values = normal(1 + number % 5, 3, seed=number)
    slots = torch.arange(2 * len(values) - number % 2) % len(values)
    return normal(len(slots), 4, seed=number), values, slots


def in_ram(blocks: int, dtype: torch.dtype) -> KeyValueState:
    memory = KeyValue()
    state = memory.empty(4, 3, dtype=dtype, key_dtype=dtype)
    for number in range(blocks):
        state = memory.write(state, *block(number))
    return state


def on_disk(folder: Path, blocks: int, dtype: torch.dtype = torch.int8) -> None:
    with RowFolder.create(folder, 4, 3, dtype=dtype, key_dtype=dtype) as made:
        for number in range(blocks):
            made.write(*block(number))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=8)
@given(data=st.data())
def test_a_folder_is_the_state_in_ram(
    dtype: torch.dtype, data: st.DataObject, tmp_path_factory
) -> None:
    """Writes and forgets in any order, the folder closed and opened anew between any two of
    them."""
    folder, memory, number = tmp_path_factory.mktemp("rows") / "new" / "rows", KeyValue(), 0
    state = memory.empty(4, 3, dtype=dtype, key_dtype=dtype)
    made = RowFolder.create(folder, 4, 3, dtype=dtype, key_dtype=dtype)
    for forgets in data.draw(st.lists(st.booleans(), max_size=6)):
        if forgets and len(state):
            gone = torch.tensor(
                data.draw(st.lists(st.integers(0, len(state) - 1), max_size=3)), dtype=torch.long
            )
            made.forget(gone)
            state = memory.forget(state, gone)
        else:
            made.write(*block(number))
            state, number = memory.write(state, *block(number)), number + 1
        if data.draw(st.booleans()):
            made.close()
            made = RowFolder.open(folder)
        assert same(made.state, state) and same(RowFolder.read(folder), state)
    made.close()
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {
        *row_files.NAMES,
        "manifest.json",
    }
    if len(state):
        asked = normal(9, 4, seed=77)
        assert torch.equal(memory.read(RowFolder.read(folder), asked), memory.read(state, asked))


def test_what_was_read_before_stays_as_it_was(tmp_path: Path) -> None:
    on_disk(tmp_path, 4)
    before, asked = RowFolder.read(tmp_path), normal(5, 4)
    with RowFolder.open(tmp_path) as folder:
        folder.write(*block(4))
        folder.forget(torch.arange(len(folder.state) - 1))
    assert same(before, in_ram(4, torch.int8))
    assert torch.equal(
        KeyValue().read(before, asked), KeyValue().read(in_ram(4, torch.int8), asked)
    )
    before.values.zero_()  # private pages: a reader cannot damage the files
    RowFolder.read(tmp_path)


def test_forgotten_rows_are_in_no_file(tmp_path: Path) -> None:
    mark = torch.full((1, 3), 1234.5)
    with RowFolder.create(tmp_path, 4, 3) as folder:
        folder.write(*block(3))
        folder.write(normal(1, 4), mark)
        there = [
            path.name for path in tmp_path.iterdir() if mark.numpy().tobytes() in path.read_bytes()
        ]
        assert there == ["values-0.bin"]
        folder.forget(torch.tensor([len(folder.state) - 1]))
        assert same(
            folder.state,
            KeyValue().forget(
                KeyValue().write(
                    KeyValue().write(KeyValue().empty(4, 3), *block(3)), normal(1, 4), mark
                ),
                torch.tensor([len(block(3)[0])]),
            ),
        )
    assert not any(mark.numpy().tobytes() in path.read_bytes() for path in tmp_path.iterdir())


# ---- kills ---------------------------------------------------------------------------------------

KILLED = textwrap.dedent('''
    """Fork a writer again and again; it kills itself at its n-th call, or is killed at random."""
    import builtins, os, random, signal, sys, time
    from pathlib import Path
    import torch
    from memlab.memories import RowFolder
    from test_row_folder import block, in_ram, same
    torch.set_num_threads(1)

    def work(folder, done):
        """Blocks 0 to 5, all forgotten but the last two keys, blocks 6 and 7; each acknowledged."""
        with RowFolder.create(folder, 4, 3, dtype=torch.int8, key_dtype=torch.int8) as made:
            os.write(done, b".")
            for step in range(9):
                if step == 6:
                    made.forget(torch.arange(len(made.state) - 2))
                else:
                    made.write(*block(step if step < 6 else step - 1))
                os.write(done, b".")

    def die_at(count):
        """SIGKILL at the count-th fsync, replace, unlink or write; a write is cut in half first."""
        left = [count]
        def hook(call, torn=False):
            def wrapped(*args, **kwargs):
                left[0] -= 1
                if left[0] == 0:
                    if torn and len(args[0]) > 1:
                        call(args[0][: len(args[0]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)
            return wrapped
        os.fsync, os.replace, os.unlink = hook(os.fsync), hook(os.replace), hook(os.unlink)
        real = builtins.open
        def opened(path, mode="r", *rest, **more):
            if mode not in ("r+b", "w+b"):
                return real(path, mode, *rest, **more)
            raw = real(path, mode, 0, *rest, **more)
            class Torn:  # unbuffered, so that half a write is half a write
                def __enter__(self): return self
                def __exit__(self, *_): raw.close()
                def __getattr__(self, name): return getattr(raw, name)
                def write(self, data): return hook_write(data)
            hook_write = hook(raw.write, torn=True)
            return Torn()
        import memlab.memories.row_folder as module
        module.open = opened

    def states():
        """What a reader may find: the state after each step."""
        from memlab.memories import KeyValue
        found, memory = [in_ram(n, torch.int8) for n in range(7)], KeyValue()
        found.append(memory.forget(found[-1], torch.arange(len(found[-1]) - 2)))
        for number in (6, 7):
            found.append(memory.write(found[-1], *block(number)))
        return found

    def run(folder, prepare, delay):
        into, out = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(into)
            prepare()
            work(folder, out)
            os._exit(0)
        os.close(out)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        steps = len(os.read(into, 100))
        os.close(into)
        return steps, os.WIFSIGNALED(status)

    root, wanted, kills = Path(sys.argv[1]), states(), 0
    def verify(folder, steps):
        """The last acknowledged state, or the next where the kill came before the word."""
        if steps == 0 and not (folder / "manifest.json").exists():
            with RowFolder.create(folder, 4, 3, dtype=torch.int8, key_dtype=torch.int8): pass
            return
        state = RowFolder.read(folder)
        near = (max(steps - 1, 0), min(steps, 9))
        assert any(same(state, wanted[n]) for n in near), (folder, steps, len(state))
        with RowFolder.open(folder) as again:  # and it can be written on
            assert same(again.state, state)
            again.write(*block(9))
            assert len(RowFolder.read(folder)) == len(state) + len(block(9)[0])
        assert len(list(folder.iterdir())) == 6, sorted(folder.iterdir())

    moment, killed = 0, True
    while killed:
        moment += 1
        steps, killed = run(root / f"step{moment}", lambda: die_at(moment), None)
        kills += killed
        verify(root / f"step{moment}", steps)
    start = time.perf_counter()
    run(root / "timed", lambda: None, None)
    whole = time.perf_counter() - start
    drawn = random.Random(0)
    for number in range(100):
        steps, killed = run(root / f"random{number}", lambda: None, drawn.random() * whole)
        kills += killed
        if (root / f"random{number}").exists():
            verify(root / f"random{number}", steps)
    print(moment, kills)
''')


def test_a_kill_at_any_moment_leaves_the_last_complete_state(root: Path, tmp_path: Path) -> None:
    """SIGKILL at every fsync, replace, unlink and write (half done), and at 100 random times."""
    program = tmp_path / "killed.py"
    program.write_text(KILLED, "utf-8")
    (tmp_path / "rows").mkdir()
    here = Path(__file__).resolve().parent
    where = {**os.environ, "PYTHONPATH": f"{root / 'pkg' / 'src'}{os.pathsep}{here}"}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "rows")],
        capture_output=True,
        text=True,
        env=where,
    )
    assert done.returncode == 0, done.stderr
    moments, kills = map(int, done.stdout.split())
    assert moments > 100 and kills >= moments + 20


# ---- one writer ----------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


USES: dict[str, Callable[[RowFolder], object]] = {
    "write": lambda folder: folder.write(*block(1)),
    "forget": lambda folder: folder.forget(torch.tensor([0])),
    "state": lambda folder: folder.state,
    "with": lambda folder: folder.__enter__(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_writer_that_was_closed_touches_nothing(
    use: Callable[[RowFolder], object], tmp_path: Path
) -> None:
    with RowFolder.create(tmp_path, 4, 3) as first:
        first.write(*block(0))
    with RowFolder.open(tmp_path) as second:
        second.write(*block(1))
        before = contents(tmp_path)
        with pytest.raises(ValueError, match="^expected an open writer of .*, got one .* closed$"):
            use(first)
        assert contents(tmp_path) == before
        first.close()
        with pytest.raises(ValueError, match="expected no other writer of"):
            RowFolder.open(tmp_path)
        second.write(*block(2))
    assert same(RowFolder.read(tmp_path), in_ram(3, torch.float32))


def test_rows_go_to_the_folder_that_was_opened_wherever_the_process_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    on_disk(there / "rows", 4)
    before = contents(there / "rows")
    monkeypatch.chdir(here)
    with RowFolder.create("rows", 4, 3, dtype=torch.int8, key_dtype=torch.int8) as folder:
        folder.write(*block(0))
        monkeypatch.chdir(there)
        folder.write(*block(1))
        folder.forget(torch.tensor([0]))
        wanted = KeyValue().forget(in_ram(2, torch.int8), torch.tensor([0]))
        assert same(folder.state, wanted)
    assert same(RowFolder.read(here / "rows"), wanted)
    assert contents(there / "rows") == before


@pytest.mark.parametrize("use", [USES["write"], USES["forget"]], ids=["write", "forget"])
def test_a_fork_does_not_write_beside_its_parent(
    use: Callable[[RowFolder], object],
    tmp_path: Path,
    told_in_a_fork: Callable[[Callable[[], object]], str],
) -> None:
    with RowFolder.create(tmp_path, 4, 3) as folder:
        folder.write(*block(0))
        assert "expected the process that opened" in told_in_a_fork(lambda: use(folder))
        assert told_in_a_fork(folder.close) == "done"  # of the fork's own copy alone
        with pytest.raises(ValueError, match="expected no other writer of"):
            RowFolder.open(tmp_path)
        folder.write(*block(1))
    assert same(RowFolder.read(tmp_path), in_ram(2, torch.float32))


def test_a_fork_that_lives_on_does_not_hold_the_folder(tmp_path: Path) -> None:
    until, over = os.pipe()
    with RowFolder.create(tmp_path, 4, 3) as folder:
        child = os.fork()
        if child == 0:
            os.close(over)
            os.read(until, 1)
            os._exit(0)
        folder.write(*block(0))
    with RowFolder.open(tmp_path) as folder:
        folder.write(*block(1))
    os.close(until)
    os.close(over)
    os.waitpid(child, 0)
    assert same(RowFolder.read(tmp_path), in_ram(2, torch.float32))


def test_threads_write_one_after_another(tmp_path: Path) -> None:
    with RowFolder.create(tmp_path, 4, 3) as folder, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: folder.write(*block(number)), range(24)))
    state = RowFolder.read(tmp_path)
    wanted = in_ram(24, torch.float32)
    assert sorted(state.values.tolist()) == sorted(wanted.values.tolist())
    assert sorted(state.keys.tolist()) == sorted(wanted.keys.tolist())


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_writer_cannot_be_copied(copied: Callable[[RowFolder], object], tmp_path: Path) -> None:
    with (
        RowFolder.create(tmp_path, 4, 3) as folder,
        pytest.raises(ValueError, match="^expected one writer of .*, got a copy of it"),
    ):
        copied(folder)


def replace_by_another(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    on_disk(folder, 4, torch.float32)


def replace_by_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    on_disk(folder.with_name("other"), 4, torch.float32)
    folder.symlink_to(folder.with_name("other"))


def replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder", "utf-8")


@pytest.mark.parametrize("use", [USES[name] for name in ("write", "forget", "state")])
@pytest.mark.parametrize(
    ("change", "got"),
    [
        (shutil.rmtree, "nothing at that path"),
        (replace_by_another, "another at that path"),
        (replace_by_a_link, "another at that path"),
        (replace_by_a_file, "another at that path"),
    ],
)
def test_a_folder_that_is_no_longer_there_is_not_written_to(
    use: Callable[[RowFolder], object],
    change: Callable[[Path], None],
    got: str,
    tmp_path: Path,
) -> None:
    place = tmp_path / "rows"
    with RowFolder.create(place, 4, 3) as folder:
        folder.write(*block(0))
        change(place)
        with pytest.raises(ValueError, match=f"^expected .* as it was .*, got {got}$"):
            use(folder)
    if place.is_dir():
        assert same(RowFolder.read(place), in_ram(4, torch.float32))


def test_a_folder_replaced_in_the_middle_of_a_write_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, real = tmp_path / "rows", os.fsync
    with RowFolder.create(place, 4, 3) as folder:
        folder.write(*block(0))

        def fsync(handle: int) -> None:
            real(handle)
            monkeypatch.setattr(row_folder.os, "fsync", real)
            replace_by_another(place)

        monkeypatch.setattr(row_folder.os, "fsync", fsync)
        with pytest.raises(ValueError, match="got another at that path"):
            folder.write(*block(1))
    assert same(RowFolder.read(place), in_ram(4, torch.float32))
    assert same(RowFolder.read(tmp_path / "moved"), in_ram(1, torch.float32))


def test_what_others_changed_in_spite_of_the_lock_is_not_written_over(tmp_path: Path) -> None:
    with RowFolder.create(tmp_path, 4, 3) as folder:
        folder.write(*block(0))
        old = contents(tmp_path)
        folder.write(*block(1))
        for name, data in old.items():
            (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="as its writer left it, got the manifest of another"):
            folder.write(*block(2))
    assert contents(tmp_path) == old
    with RowFolder.open(tmp_path) as folder:
        (tmp_path / "values-0.bin").write_bytes(old["values-0.bin"][:-1])
        with pytest.raises(ValueError, match="values-0.bin is damaged: expected at least 12 bytes"):
            folder.write(*block(2))
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8"))["keys"] == 2


def test_a_writer_serves_one_with_block(tmp_path: Path) -> None:
    with RowFolder.create(tmp_path, 4, 3) as folder:
        with folder as again:
            again.write(*block(0))
        with pytest.raises(ValueError, match="got one that was closed"):
            folder.write(*block(1))
    with pytest.raises(ValueError, match="got one that was closed"), folder:
        pass
    assert same(RowFolder.read(tmp_path), in_ram(1, torch.float32))


def test_a_writer_that_nobody_holds_any_more_frees_its_folder(tmp_path: Path) -> None:
    RowFolder.create(tmp_path, 4, 3).write(*block(0))
    with RowFolder.open(tmp_path) as folder:
        folder.write(*block(1))
    assert same(RowFolder.read(tmp_path), in_ram(2, torch.float32))


def test_what_is_no_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("", "utf-8")
    for name in ("file", "pipe"):
        with pytest.raises(NotADirectoryError):
            RowFolder.open(tmp_path / name)


# ---- damage --------------------------------------------------------------------------------------


@given(data=st.data())
def test_one_wrong_byte_is_named_and_refused(data: st.DataObject, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("rows")
    on_disk(folder, 3)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    for opened in (RowFolder.read, RowFolder.open):
        with pytest.raises(ValueError, match=re.escape(f"{path} is damaged: expected")):
            opened(folder)


@given(data=st.data())
def test_a_file_that_was_cut_is_named_even_without_the_check(
    data: st.DataObject, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    on_disk(folder, 3)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged: expected")):
        RowFolder.read(folder, check=False)
    path.unlink()
    with pytest.raises(ValueError, match=re.escape(str(folder)) + ".*" + re.escape(path.name)):
        RowFolder.read(folder)


def test_what_lies_behind_the_counted_bytes_is_nobodys(tmp_path: Path) -> None:
    on_disk(tmp_path, 3)
    for path in tmp_path.glob("*.bin"):
        path.write_bytes(path.read_bytes() + b"half a row")
    (tmp_path / "values-1.bin").write_bytes(b"of a forget that was killed")
    (tmp_path / "manifest.part").write_bytes(b'{"keys": 1')
    assert same(RowFolder.read(tmp_path), in_ram(3, torch.int8))
    with RowFolder.open(tmp_path) as folder:
        folder.write(*block(3))
    assert (
        same(RowFolder.read(tmp_path), in_ram(4, torch.int8))
        and not (tmp_path / "values-1.bin").exists()
    )


def test_the_format_is_plain(tmp_path: Path) -> None:
    """What another program needs: JSON, and rows of little-endian numbers."""
    import numpy as np

    on_disk(tmp_path, 3, torch.float16)
    manifest, state = json.loads((tmp_path / "manifest.json").read_text()), in_ram(3, torch.float16)
    keys = np.fromfile(tmp_path / "keys-0.bin", "<f2").reshape(
        manifest["keys"], manifest["key_width"]
    )
    assert np.array_equal(keys, state.keys.numpy())
    assert np.array_equal(np.fromfile(tmp_path / "slot-0.bin", "<i8"), state.slot.numpy())
    assert manifest["format"] == "memlab rows 1" and manifest["generation"] == 0


@pytest.mark.parametrize("written", [0.0, 1e-20])
def test_a_length_too_small_for_float32_is_measured_again(tmp_path: Path, written: float) -> None:
    """Folders of earlier versions say 0, or too little, of keys whose squares float32 has not."""
    keys = 1e-24 * (1 + normal(400, 4) / 1000)
    values = normal(400, 3)
    with RowFolder.create(tmp_path, 4, 3) as made:
        made.write(keys, values)
    earlier = dataclasses.replace(row_files.manifest(tmp_path), longest=written)
    (tmp_path / "manifest.json").write_text(earlier.text())
    memory = KeyValue(top_k=4)
    state = memory.write(memory.empty(4, 3), keys, values)
    queries = normal(20, 4, seed=1)
    assert RowFolder.read(tmp_path).longest == state.longest
    _, wanted = memory.address(state, queries)
    assert torch.equal(memory.address(RowFolder.read(tmp_path), queries)[1], wanted)
    with RowFolder.open(tmp_path) as again:
        again.write(keys / 10, values)
        assert row_files.manifest(tmp_path).longest == state.longest
        again.forget(torch.arange(10))
        assert again.state.longest == state.longest


def test_a_reader_beside_a_writer_is_never_told_of_damage(tmp_path: Path) -> None:
    """While another process writes and forgets, as fast as it can."""
    on_disk(tmp_path, 1)
    child = os.fork()
    if child == 0:
        for _ in range(12):
            with RowFolder.open(tmp_path) as folder:
                for number in (1, 2):
                    folder.write(*block(number))
                folder.forget(torch.arange(1, len(folder.state)))
        os._exit(0)
    seen = set()
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        seen.add(len(RowFolder.read(tmp_path)))
    assert len(seen) > 2


@pytest.mark.parametrize("check", [True, False])
def test_damaged_rows_are_not_copied_as_if_they_were_whole(tmp_path: Path, check: bool) -> None:
    on_disk(tmp_path, 3)
    with RowFolder.open(tmp_path, check=check) as folder:
        file = tmp_path / "values-0.bin"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(ValueError, match="values-0.bin is damaged: expected CRC-32"):
            folder.forget(torch.tensor([0]))
    with pytest.raises(ValueError, match="values-0.bin is damaged: expected CRC-32"):
        RowFolder.read(tmp_path)


@pytest.mark.parametrize("width", [-1, 4.0, "4", None, 10**30])
def test_a_width_that_is_none_makes_no_folder(tmp_path: Path, width: Any) -> None:
    for widths in ((width, 3), (4, width)):
        with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="(key|value)_dim"):
            RowFolder.create(tmp_path / "new", *widths)
    assert not (tmp_path / "new").exists()


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match="expected the manifest of a folder of rows, got no file .*none"
    ):
        RowFolder.read(tmp_path / "none")
    on_disk(tmp_path, 2)
    with pytest.raises(ValueError, match="expected a new folder, got .*, which holds rows already"):
        RowFolder.create(tmp_path, 4, 3)
    with RowFolder.open(tmp_path) as folder:
        with pytest.raises(ValueError, match="expected no other writer of"):
            RowFolder.open(tmp_path)
        with pytest.raises(ValueError, match=r"keys must have shape \(rows, 4\), got \(2, 5\)"):
            folder.write(torch.ones(2, 5), torch.ones(2, 3))
        with pytest.raises(ValueError, match="expected rows from 0 to 4, got numbers from 5 to 5"):
            folder.forget(torch.tensor([5]))
        monkeypatch.setattr(
            row_folder.shutil, "disk_usage", lambda path: type("", (), {"free": 10})
        )
        with pytest.raises(ValueError, match="^3 rows need 69 bytes, but 10 bytes are available"):
            folder.write(normal(3, 4), normal(3, 3))
    assert same(RowFolder.read(tmp_path), in_ram(2, torch.int8))
    with pytest.raises(ValueError, match="expected rows in one of"):
        RowFolder.create(tmp_path / "new", 4, 3, dtype=torch.int32)


def test_a_disk_that_fails_in_the_middle_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk(tmp_path, 2)
    with RowFolder.open(tmp_path) as folder:
        real, calls = row_folder.os.fsync, [0]

        def fsync(handle: int) -> None:
            calls[0] += 1
            if calls[0] == 3:
                raise OSError("no space left on device")
            real(handle)

        monkeypatch.setattr(row_folder.os, "fsync", fsync)
        with pytest.raises(OSError, match="no space left"):
            folder.write(*block(2))
        assert same(folder.state, in_ram(2, torch.int8))
        folder.write(*block(2))
    assert same(RowFolder.read(tmp_path), in_ram(3, torch.int8))


def test_a_stream_is_written_in_constant_ram(tmp_path: Path) -> None:
    """100 MB in 25 writes, into files: the process grows by a few blocks at most."""
    keys, values = normal(8000, 16), normal(8000, 112)
    process = psutil.Process()
    sizes = []
    with RowFolder.create(tmp_path, 16, 112) as folder:
        for _ in range(25):
            folder.write(keys, values)
            sizes.append(process.memory_info().rss)
    assert max(sizes) - sizes[0] < 20_000_000
    state = RowFolder.read(tmp_path, check=False)
    assert len(state) == 200_000 and state.nbytes == 200_000 * KeyValue.bytes_per_row(16, 112)
    assert rows.longest(state.keys[-8000:], state.parts[3][-8000:]) == state.longest
