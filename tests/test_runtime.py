"""Seeds, profiles, threads, provenance."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memlab import retrieval, runtime
from memlab.memories import KeyValue


@pytest.mark.parametrize("name", ["quick", "full", "gpu"])
def test_profile_comes_from_the_argument_then_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMLAB_PROFILE", "full")
    assert runtime.profile(name) == name
    assert runtime.profile() == "full"
    monkeypatch.delenv("MEMLAB_PROFILE")
    assert runtime.profile() == "quick"


@pytest.mark.parametrize("name", ["fast", "", "Quick", "quick "])
def test_an_unknown_profile_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = f"^unknown profile {name!r}: expected one of quick, full, gpu$"
    with pytest.raises(ValueError, match=sentence):
        runtime.profile(name)
    if name:
        monkeypatch.setenv("MEMLAB_PROFILE", name)
        with pytest.raises(ValueError, match=sentence):
            runtime.profile()


@pytest.mark.parametrize("said", ["", " ", "\t\n"])
def test_a_variable_without_a_word_is_not_set(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MEMLAB_PROFILE", "MEMLAB_THREADS", "MEMLAB_CACHE", "SOMETHING"):
        monkeypatch.setenv(name, said)
    assert runtime.setting("SOMETHING") is None and runtime.path_setting("SOMETHING") is None
    assert runtime.profile() == "quick"
    before = torch.get_num_threads()
    try:
        assert runtime.use_threads() == 1
    finally:
        torch.set_num_threads(before)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runtime.cache_dir("a") == tmp_path / ".cache" / "memlab" / "a"


def test_a_variable_says_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", " a b ")
    assert runtime.setting("SOMETHING") == runtime.path_setting("SOMETHING") == " a b "
    monkeypatch.delenv("SOMETHING")
    assert runtime.setting("SOMETHING") is None


@given(st.integers(-(2**40), 2**40), st.lists(st.text(max_size=5) | st.integers(0, 99), max_size=3))
def test_the_same_seed_and_scope_give_the_same_stream(seed: int, scope: list[str | int]) -> None:
    first, second = (torch.rand(4, generator=runtime.generator(seed, *scope)) for _ in range(2))
    assert torch.equal(first, second)
    assert 0 <= runtime.derive_seed(seed, *scope) < 2**63
    assert (
        runtime.python_random(seed, *scope).random() == runtime.python_random(seed, *scope).random()
    )


def test_streams_of_other_seeds_or_scopes_differ_and_seed_zero_is_a_seed() -> None:
    keys = [
        (0,),
        (1,),
        (-1,),
        (0, "poems"),
        (0, "batches"),
        (0, "poems", 1),
        (0, "poems1"),
        (1, "poems"),
    ]
    assert len({runtime.derive_seed(*key) for key in keys}) == len(keys)
    assert len({torch.rand((), generator=runtime.generator(*key)).item() for key in keys}) == len(
        keys
    )


def test_seeds_do_not_change_from_version_to_version() -> None:
    expected = int.from_bytes(hashlib.sha256(b"0\x1fpoems").digest()[:8], "big") // 2
    assert runtime.derive_seed(0, "poems") == expected


def test_what_constructors_draw_follows_from_a_seed(untouched_global_random_state: None) -> None:
    drawn = []
    for seed in (3, 3, 4):
        with runtime.drawing_from(seed):
            drawn.append(torch.nn.Linear(2, 2).weight.detach())
    assert drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])
    with pytest.raises(KeyError), runtime.drawing_from(3):
        torch.rand(1)
        raise KeyError


def test_no_global_random_state_moves(untouched_global_random_state: None) -> None:
    torch.rand(3, generator=runtime.generator(0, "x"))
    runtime.python_random(0, "x").random()
    runtime.provenance()


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert runtime.use_threads(2) == 2 == torch.get_num_threads()
        monkeypatch.delenv("MEMLAB_THREADS", raising=False)
        assert runtime.use_threads() == 1 == torch.get_num_threads()
        monkeypatch.setenv("MEMLAB_THREADS", "2")
        assert runtime.use_threads() == 2
        for wrong in ("0", "-1", "many", "1.5"):
            monkeypatch.setenv("MEMLAB_THREADS", wrong)
            with pytest.raises(
                ValueError, match=f"^expected a number of threads from 1 to 1024, got '{wrong}'$"
            ):
                runtime.use_threads()
        with pytest.raises(ValueError, match="from 1 to 1024, got '0'"):
            runtime.use_threads(0)
    finally:
        torch.set_num_threads(before)


def test_device() -> None:
    assert runtime.device("cpu") == torch.device("cpu")
    assert runtime.device().type in ("cpu", "cuda")
    with pytest.raises(
        ValueError, match="^expected a device such as cpu or cuda:0, got 'toaster'$"
    ):
        runtime.device("toaster")


def test_cache_folder_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path / "deep" / "cache"))
    assert runtime.cache_dir("a", "b") == tmp_path / "deep" / "cache" / "a" / "b"
    assert runtime.cache_dir("a", "b").is_dir()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of whom the system knows nothing: no entry, no HOME."""
    import pwd

    def unknown(_: object) -> None:
        raise KeyError("no entry")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


@pytest.mark.usefixtures("nobody")
def test_who_has_no_home_can_name_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path))
    assert runtime.cache_dir("a") == tmp_path / "a"
    monkeypatch.delenv("MEMLAB_CACHE")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="^expected in MEMLAB_CACHE a folder .*no home folder$"):
        runtime.cache_dir("b")
    for said in ("~", "~/cache", "~somebody/cache"):
        monkeypatch.setenv("MEMLAB_CACHE", said)
        with pytest.raises(ValueError, match=f"^expected in MEMLAB_CACHE a path, got '{said}'"):
            runtime.cache_dir("b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_tilde_is_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for said, wanted in (("~", tmp_path), ("~/a b", tmp_path / "a b"), ("./~", tmp_path / "~")):
        monkeypatch.setenv("MEMLAB_CACHE", said)
        assert runtime.cache_dir("c") == wanted / "c" and (wanted / "c").is_dir()
    user = pwd.getpwall()[0]
    monkeypatch.setenv("SOMETHING", f"~{user.pw_name}/x")
    assert runtime.path_setting("SOMETHING") == f"{user.pw_dir.rstrip('/')}/x"
    monkeypatch.setenv("SOMETHING", "hub:owner/~name")
    assert runtime.path_setting("SOMETHING") == "hub:owner/~name"


def test_an_encoder_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEMLAB_ENCODER", "~/encoder")
    assert retrieval.installed_encoder() == str(tmp_path / "encoder")


def test_a_cache_that_is_no_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for said in ("file", "file/below", "x" * 300):
        monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path / said))
        with pytest.raises(
            ValueError, match="^expected in MEMLAB_CACHE a folder that can be written to, got "
        ) as problem:
            runtime.cache_dir("a")
        assert str(tmp_path / said) in str(problem.value) and "\n" not in str(problem.value)


def test_a_relative_cache_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"cache of {tmp_path.name}"  # of this test alone: it stays for the whole process
    monkeypatch.setenv("MEMLAB_CACHE", name)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        assert runtime.cache_dir("a") == tmp_path / "one" / name / "a"


def test_file_digest(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (3 << 20) + b"y")
    assert runtime.file_sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_provenance_says_who_what_when_and_on_what(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "needles", "--out", f"{Path.cwd()}/made/a.jsonl", f"--out={Path.cwd()}/b.jsonl"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/memlab/__main__.py", *words])
    made = runtime.provenance(profile="quick", seed=0)
    assert made["command"] == "python -m memlab run needles --out a.jsonl --out=b.jsonl"
    assert made["torch"] == torch.__version__ and made["seed"] == 0 and made["profile"] == "quick"
    assert {"commit", "date", "python", "transformers", "device", "instructions", "threads"} <= set(
        made
    )
    assert str(made["date"]).endswith("+00:00")
    assert not any("/" in str(value) for value in made.values()), (
        "no folder of this machine belongs in a result"
    )


def test_a_command_keeps_paths_that_are_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "needles", "--out", "book/results/needles.jsonl", "--only", "a = b/c"]
    monkeypatch.setattr(sys, "argv", ["memlab", *words])
    assert runtime.provenance()["command"] == " ".join(["memlab", *words])


def test_provenance_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtime.provenance()["commit"] == "unknown"


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", *settings, *arguments], cwd=folder, text=True).strip()


def repository(folder: Path, file: str) -> str:
    """A new repository with one file, committed; the commit."""
    path = folder / file
    path.parent.mkdir(parents=True)
    path.write_text("x = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", file)
    git(folder, "commit", "-q", "-m", "one")
    return git(folder, "rev-parse", "--short=12", "HEAD")


OURS = "pkg/src/memlab/runtime.py"


def commit_of(file: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The commit that provenance names if the module lies at `file`."""
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "__file__", str(file))
        return str(runtime.provenance()["commit"])


def test_provenance_names_a_commit_of_this_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = repository(tmp_path / "ours", OURS)
    file = tmp_path / "ours" / OURS
    assert commit_of(file, monkeypatch) == commit
    (tmp_path / "link").symlink_to(file.parent)
    assert commit_of(tmp_path / "link" / "runtime.py", monkeypatch) == commit
    other = repository(tmp_path / "other", "else.py")
    assert other != commit
    for name, value in {
        "GIT_DIR": str(tmp_path / "other" / ".git"),
        "GIT_WORK_TREE": str(tmp_path / "other"),
        "GIT_INDEX_FILE": str(tmp_path / "nothing"),
    }.items():
        monkeypatch.setenv(name, value)
        assert commit_of(file, monkeypatch) == commit, name
        monkeypatch.delenv(name)
    file.write_text("x = 2\n")
    assert commit_of(file, monkeypatch) == f"{commit}-dirty"


@pytest.mark.parametrize(
    ("committed", "here"),
    [
        ("thesis.py", ".venv/lib/python3.11/site-packages/memlab/runtime.py"),
        ("thesis.py", OURS),  # somebody's folder of the same name, in which git keeps nothing
        ("vendor/memlab/runtime.py", "vendor/memlab/runtime.py"),
        (f"vendor/{OURS}", f"vendor/{OURS}"),
        ("memlab/runtime.py", "memlab/runtime.py"),
    ],
)
def test_the_commit_of_somebody_else_s_repository_is_not_ours(
    committed: str, here: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository(tmp_path / "theirs", committed)
    file = tmp_path / "theirs" / here
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert commit_of(file, monkeypatch) == "unknown"


def test_a_repository_without_a_commit_has_none_to_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / OURS
    file.parent.mkdir(parents=True)
    file.touch()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", OURS)
    assert commit_of(file, monkeypatch) == "unknown"


# ---- memory --------------------------------------------------------------------------------------

MIB = 2**20


def machine(root: Path, files: dict[str, str]) -> Path:
    """Folders proc and sys of a machine with 1000 MiB available, and `files` beside."""
    for name, text in {"proc/meminfo": "MemAvailable:    1024000 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


GROUPS = "sys/fs/cgroup"
# In a control group of version 1 without a limit stands the largest number of whole pages.
NO_LIMIT = str((2**63 - 1) // 4096 * 4096)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 1000),
        ({"proc/self/cgroup": "0::/\n"}, 1000),
        # version 2: the limit less what is used, and the cache of files counts as free
        (
            {
                "proc/self/cgroup": "0::/slurm/job\n",
                f"{GROUPS}/slurm/job/memory.max": f"{300 * MIB}\n",
                f"{GROUPS}/slurm/job/memory.current": f"{100 * MIB}\n",
                f"{GROUPS}/slurm/job/memory.stat": (
                    f"anon 5\nactive_file {10 * MIB}\ninactive_file {20 * MIB}\n"
                ),
            },
            230,
        ),
        # a group around it has less
        (
            {
                "proc/self/cgroup": "0::/slurm/job\n",
                f"{GROUPS}/slurm/job/memory.max": "max\n",
                f"{GROUPS}/slurm/memory.max": f"{70 * MIB}\n",
                f"{GROUPS}/slurm/memory.current": "0\n",
            },
            70,
        ),
        # inside of a container: the group is the outermost that is seen
        (
            {
                "proc/self/cgroup": "0::/../../pod/container\n",
                f"{GROUPS}/memory.max": f"{80 * MIB}\n",
            },
            80,
        ),
        # version 1, between other controllers
        (
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/a:b\n0::/\n",
                f"{GROUPS}/memory/docker/a:b/memory.limit_in_bytes": f"{90 * MIB}\n",
                f"{GROUPS}/memory/docker/a:b/memory.usage_in_bytes": f"{60 * MIB}\n",
                f"{GROUPS}/memory/docker/a:b/memory.stat": f"total_inactive_file {10 * MIB}\n",
                f"{GROUPS}/memory/memory.limit_in_bytes": NO_LIMIT,
            },
            40,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/a\n",
                f"{GROUPS}/memory/memory.limit_in_bytes": f"{50 * MIB}\n",
            },
            50,
        ),
        # a limit above what the machine has
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                f"{GROUPS}/memory/memory.limit_in_bytes": NO_LIMIT,
            },
            1000,
        ),
        # used up, and more
        (
            {
                "proc/self/cgroup": "0::/a\n",
                f"{GROUPS}/a/memory.max": f"{5 * MIB}\n",
                f"{GROUPS}/a/memory.current": f"{6 * MIB}\n",
            },
            0,
        ),
        # no group of ours: another's limit does not count
        (
            {"proc/self/cgroup": "0::/a\n", f"{GROUPS}/b/memory.max": "1\n"},
            1000,
        ),
        ({"proc/self/cgroup": "nonsense\n\n"}, 1000),
    ],
)
def test_memory_is_what_the_groups_around_the_process_leave(
    files: dict[str, str], wanted: int, tmp_path: Path
) -> None:
    assert runtime.available_memory(machine(tmp_path, files)) == wanted * MIB


def test_memory_where_nothing_is_told(tmp_path: Path) -> None:
    assert runtime.available_memory(tmp_path) > 2**24, "all the RAM there is"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold this limit")
def test_memory_is_what_ulimit_leaves() -> None:
    import resource

    for limit, size in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        status = Path("/proc/self/status").read_text()
        used = next(line for line in status.splitlines() if line.startswith(size)).split()[1]
        soft, hard = resource.getrlimit(limit)
        try:
            resource.setrlimit(limit, (int(used) * 1024 + 512 * MIB, hard))
            assert 256 * MIB < runtime.available_memory() <= 512 * MIB
            with pytest.raises(ValueError, match="bytes are available: at most"):
                KeyValue().check_capacity(512 * MIB // 8 + 1, 1, 1)
        finally:
            resource.setrlimit(limit, (soft, hard))


def test_stopwatch_and_peak_memory() -> None:
    with runtime.Stopwatch() as watch:
        sum(range(1000))
    assert 0 < watch.seconds < 5
    assert runtime.peak_memory_bytes() > 10_000_000 or sys.platform == "win32"
