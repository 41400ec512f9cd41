"""Files that are whole or not there, and folders that one run at a time writes to."""

import errno
import json
import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest

from othello_edu import files
from othello_edu.errors import OthelloEduError
from othello_edu.files import LOCK, atomic_write, locked, make_folder, read_json, remove_temporaries


def test_what_is_written_is_there_afterwards(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"black")
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("café\n")
    assert (tmp_path / "a.bin").read_bytes() == b"black"
    assert (tmp_path / "a.txt").read_bytes() == "café\n".encode()


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, stop):
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with pytest.raises(stop), atomic_write(path) as file:
        file.write(b"half of")
        raise stop
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    with atomic_write(tmp_path / "atomic") as file:
        file.write(b"")
    (tmp_path / "kept").write_bytes(b"")
    os.chmod(tmp_path / "kept", 0o640)
    with atomic_write(tmp_path / "kept") as file:
        file.write(b"x")
    mode = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "atomic", "kept")}
    assert mode["atomic"] == mode["ordinary"]
    assert mode["kept"] == 0o640


def test_a_symbolic_link_still_points_at_the_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_links_to_links_and_to_nothing_yet_keep_pointing(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "near").symlink_to("far")
    (tmp_path / "far").symlink_to("there/file")
    for content in (b"new", b"newer"):  # at first the file is not there
        with atomic_write(tmp_path / "near") as file:
            file.write(content)
        assert (tmp_path / "near").is_symlink() and (tmp_path / "far").is_symlink()
        assert (tmp_path / "there" / "file").read_bytes() == content
    assert os.listdir(tmp_path / "there") == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_pipe_is_written_to_and_stays_one(tmp_path, mode, linked):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link"
        path.symlink_to("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with atomic_write(path, mode) as file:
        file.write("f5d6\n" if mode == "w" else b"f5d6\n")
    reader.join()
    assert read == [b"f5d6\n"] and stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert len(os.listdir(tmp_path)) == 1 + linked


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no devices on this system")
def test_a_device_is_written_to_and_stays_one(tmp_path):
    (tmp_path / "link").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "link"):
        with atomic_write(path) as file:
            file.write(b"nobody reads this")
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "folder") as file:
        file.write(b"")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", ["a" * 241, "a" * 245, "a" * 255, "é" * 127, "棋" * 85])
def test_names_as_long_as_the_system_has_them(tmp_path, name):
    try:
        (tmp_path / name).write_bytes(b"old")
    except OSError:
        pytest.skip("no such long names on this file system")
    with atomic_write(tmp_path / name) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == b"new"


def test_a_name_that_is_too_long_is_refused_before_anything_is_written(tmp_path):
    begun = []
    with pytest.raises(OSError), atomic_write(tmp_path / ("a" * 300)):
        begun.append(True)
    assert not begun and not os.listdir(tmp_path)


def killed_while_writing(path, moment):
    """What a killed process leaves: no `finally` runs."""
    with atomic_write(path) as file:
        file.write(b"half of")
        file.flush()
        moment(path)


def _exit(path):
    os._exit(9)


@pytest.mark.parametrize("name", ["weights", "w" * 240])
def test_what_a_killed_process_has_left_half_written_is_removed(tmp_path, name):
    for _ in range(2):
        process = multiprocessing.get_context("spawn").Process(
            target=killed_while_writing, args=(tmp_path / name, _exit)
        )
        process.start()
        process.join()
        assert process.exitcode == 9
    others = {".weights.tmp", ".other.0123abcd.tmp", "weights.0123abcd.tmp"}
    for other in others:
        (tmp_path / other).write_bytes(b"")
    assert len(os.listdir(tmp_path)) == 5
    remove_temporaries(tmp_path, name)
    assert set(os.listdir(tmp_path)) == others
    remove_temporaries(tmp_path)
    assert set(os.listdir(tmp_path)) == others - {".other.0123abcd.tmp"}
    remove_temporaries(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b"1" * 10_000, None])
def test_whatever_is_wrong_with_json_is_a_value_error_or_an_os_error(tmp_path, content):
    if content is not None:
        (tmp_path / "card.json").write_bytes(content)
    with pytest.raises((ValueError, OSError)):
        read_json(tmp_path / "card.json")


# Folders to write to --------------------------------------------------------------------------------------


def test_a_folder_is_made_and_tried_and_nothing_stays_in_it(tmp_path):
    assert make_folder(tmp_path / "a" / "b", "file") == tmp_path / "a" / "b"
    (tmp_path / "a" / "b" / "file").write_bytes(b"kept")
    make_folder(tmp_path / "a" / "b", "file")
    assert os.listdir(tmp_path / "a" / "b") == ["file"]
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"kept"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(OthelloEduError, match="empty name"):
        make_folder("")
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(OSError):
            make_folder(path)
    (tmp_path / "folder" / "log").mkdir(parents=True)
    with pytest.raises(OSError, match="log is a folder, where a file is to be written"):
        make_folder(tmp_path / "folder", "log")

    def full(**more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="no file can be written there: Read-only.*new"):
        make_folder(tmp_path / "new")


# One run at a time ----------------------------------------------------------------------------------------


@pytest.fixture(params=["the system's locks", "a network folder without locks", "no fcntl"])
def locking(request, monkeypatch):
    """Ways in which systems lock files, or do not."""
    if request.param == "no fcntl":
        monkeypatch.setattr(files, "fcntl", None)
    elif files.fcntl is None:
        pytest.skip("no fcntl on this system")
    elif request.param.startswith("a network"):

        def unsupported(*arguments):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(files.fcntl, "flock", unsupported)
    return request.param


def held_by(folder, **changes):
    about = {"pid": os.getpid(), "host": files.socket.gethostname(), "since": "2025-01-02T03:04:05+00:00"}
    (folder / LOCK).write_text(json.dumps(about | changes))


def test_a_folder_is_held_by_one_run_and_the_lock_says_whose(tmp_path, locking):
    for _ in range(2):  # and again, once it is free
        with locked(tmp_path):
            about = json.loads((tmp_path / LOCK).read_text())
            assert (about["pid"], about["host"]) == (os.getpid(), files.socket.gethostname())
            message = (
                f"another run writes to .*process {os.getpid()} on .*since {about['since'][:10]}.*delete"
            )
            for _ in range(2):
                with pytest.raises(OthelloEduError, match=message), locked(tmp_path):
                    raise AssertionError("two runs in one folder")
            assert json.loads((tmp_path / LOCK).read_text()) == about
        assert not os.listdir(tmp_path)


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_the_lock_is_gone_after_an_error(tmp_path, locking, stop):
    with pytest.raises(stop), locked(tmp_path):
        raise stop
    assert not os.listdir(tmp_path)


def hold_and_die(folder):
    with locked(Path(folder)):
        os._exit(9)


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, locking):
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == process.pid
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not os.listdir(tmp_path)


def hold(folder, held, done):
    with locked(Path(folder)):
        held.set()
        done.wait()


def test_another_process_that_lives_keeps_its_folder(tmp_path, locking):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, held, done))
    process.start()
    held.wait()
    with pytest.raises(OthelloEduError, match=f"process {process.pid} on "), locked(tmp_path):
        raise AssertionError("two runs in one folder")
    done.set()
    process.join()
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()


def test_the_lock_of_another_machine_is_left_alone_until_somebody_deletes_it(tmp_path, locking):
    held_by(tmp_path, host="elsewhere", pid=2**22 + 1)
    with pytest.raises(OthelloEduError, match=f"on elsewhere, since 2025-01-02.*gone, delete .*{LOCK}"):
        with locked(tmp_path):
            raise AssertionError("two runs in one folder")
    (tmp_path / LOCK).unlink()
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()


def test_with_the_systems_locks_a_number_that_lives_again_is_no_holder(tmp_path):
    if files.fcntl is None:
        pytest.skip("no fcntl on this system")
    held_by(tmp_path)  # by this very process, says the file; after a restart of the machine, say
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["since"] > "2025-01-02T03:04:05+00:00"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pid": "x"}', b"[" * 5000, b"\xff"])
def test_a_lock_that_says_nothing_is_the_systems_to_judge(tmp_path, locking, content):
    (tmp_path / LOCK).write_bytes(content)
    if locking == "the system's locks":
        with locked(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    else:  # its holder may be about to write to it
        with pytest.raises(OthelloEduError, match=": a process. .*delete"), locked(tmp_path):
            raise AssertionError("two runs in one folder")


def test_a_lock_that_was_deleted_and_taken_by_another_stays_the_others(tmp_path):
    if files.fcntl is None:
        pytest.skip("Windows deletes no file that is open")
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        held_by(tmp_path, pid=1)
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == 1


def test_of_many_threads_one_has_the_folder_at_any_time(tmp_path):
    inside, most, entered = [], [], []

    def worker():
        for _ in range(30):
            try:
                with locked(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                entered.append(1)
            except OthelloEduError:
                pass

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and len(entered) == len(most)
    assert not os.listdir(tmp_path)
