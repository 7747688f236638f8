"""Results reach the disk whole or not at all, and nothing that others put there is lost."""

import errno
import json
import os
import shutil

import pytest

from ICHMultiTaskLib.common import writing
from ICHMultiTaskLib.common.errors import OutputError
from ICHMultiTaskLib.common.writing import LIST_FILE, check_file, new_folder, whole_file, write_json


def write(path, content, **options):
    """A result of several files, in folders too."""
    with new_folder(path, "test", **options) as folder:
        for name, text in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


def content(path):
    """Texts of all files below a folder by name, but for the list; nothing half-written lies there."""
    names = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
    assert not [p for p in path.parent.rglob(".ichmultitask-*")]
    return {name: (path / name).read_text() for name in names if name != LIST_FILE}


def test_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "result"
    with new_folder(target, "test") as folder:
        (folder / "a").write_text("a")
        assert not target.exists()
    assert [p.name for p in target.parent.iterdir()] == ["result"] and content(target) == {"a": "a"}

    for error in (KeyboardInterrupt, ValueError, SystemExit):
        with pytest.raises(error), new_folder(tmp_path / "other" / "deep", "test") as folder:
            (folder / "a").write_text("a")
            raise error
        assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_folder_in_use_is_refused_before_the_work(tmp_path):
    (tmp_path / "mine").write_text("kept")
    for path, options, words in (
        (tmp_path, {}, "is not empty; expected a new or an empty folder"),
        (tmp_path, {"overwrite": True}, "is not empty; only an earlier result of the same kind"),
        (tmp_path / "mine", {}, "mine is a file"),
        (tmp_path / "mine" / "below", {}, "could not be written"),
        (tmp_path / ("n" * 256), {}, "The name is too long"),
        (tmp_path / os.fsdecode(b"aus\xe4"), {}, "not valid UTF-8"),
    ):
        with pytest.raises(OutputError, match=words), new_folder(path, "test", **options):
            pytest.fail("the work was started")
    assert content(tmp_path) == {"mine": "kept"}


def test_longest_possible_name_works(tmp_path):
    write(tmp_path / ("n" * 255), {"a": "a"})
    write(tmp_path / ("n" * 255), {"a": "b"}, overwrite=True)
    assert content(tmp_path / ("n" * 255)) == {"a": "b"}


def test_only_files_of_the_earlier_result_are_replaced(tmp_path):
    target = tmp_path / "result"
    write(target, {"report.json": "1", "slices/a.png": "1", "slices/b.png": "1", "scan/1.dcm": "1"})
    (target / "corrected.seg.nrrd").write_text("hours of work")
    (target / "slices" / "drawn.png").write_text("mine")
    with pytest.raises(ValueError), new_folder(target, "test", overwrite=True):
        raise ValueError
    assert (target / "report.json").read_text() == "1"
    write(target, {"report.json": "2", "slices/a.png": "2"}, overwrite=True)
    mine = {"corrected.seg.nrrd": "hours of work", "slices/drawn.png": "mine"}
    assert content(target) == {"report.json": "2", "slices/a.png": "2"} | mine
    assert not (target / "scan").exists()
    write(target, {"report.json": "3"}, overwrite=True)
    assert content(target) == {"report.json": "3"} | mine


def test_result_that_somebody_changed_is_not_replaced(tmp_path):
    target = tmp_path / "result"
    write(target, {"report.json": "1", "scene.mrb": "1"})
    (target / "scene.mrb").write_text("corrected in 3D Slicer and saved")
    before = content(target)
    with pytest.raises(OutputError, match="scene.mrb was changed since it was written"):
        with new_folder(target, "test", overwrite=True):
            pytest.fail("the work was started")
    (target / "scene.mrb").unlink()
    (target / "scene.mrb").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("1")
    with pytest.raises(OutputError, match="was changed"), new_folder(target, "test", overwrite=True):
        pytest.fail("the work was started")
    assert content(target) == before | {"scene.mrb": "1"}


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"kind": "test"}', '{"kind": "other", "files": {}}', '{"kind": "test", "files": ["a"]}'],
)
def test_without_a_readable_list_nothing_is_replaced(tmp_path, damage):
    write(tmp_path / "result", {"a": "1"})
    (tmp_path / "result" / LIST_FILE).write_text(damage)
    with pytest.raises(OutputError, match="only an earlier result of the same kind"):
        write(tmp_path / "result", {"a": "2"}, overwrite=True)
    assert content(tmp_path / "result") == {"a": "1"}


def test_list_reaches_no_file_outside(tmp_path):
    (tmp_path / "mine").write_text("x")
    write(tmp_path / "result", {"a": "x"})
    path = tmp_path / "result" / LIST_FILE
    stored = json.loads(path.read_text())
    stored["files"] |= {"../mine": stored["files"]["a"], str(tmp_path / "mine"): stored["files"]["a"]}
    path.write_text(json.dumps(stored))
    write(tmp_path / "result", {"b": "y"}, overwrite=True)
    assert content(tmp_path) == {"mine": "x", "result/b": "y"} | {"result/" + LIST_FILE: path.read_text()}


def test_input_is_never_among_what_is_replaced(tmp_path):
    target, link = tmp_path / "result", tmp_path / "link"
    write(target, {"report.json": "1", "scan/1.dcm": "1"})
    link.symlink_to(target)
    for given in (target, target / "scan", target / "scan" / "1.dcm", link / "scan", target / "x" / ".." / "scan"):
        with pytest.raises(OutputError, match="is part of the earlier result"):
            with new_folder(target, "test", overwrite=True, inputs=[given]):
                pytest.fail("the work was started")
    (target / "dicom").mkdir()
    (target / "dicom" / "1.dcm").write_text("mine")
    # What the user put there stays there; and a result below its input is where many keep it.
    write(target, {"report.json": "2"}, overwrite=True, inputs=[target / "dicom", tmp_path])
    assert content(target) == {"report.json": "2", "dicom/1.dcm": "mine"}


def test_folder_behind_a_link_or_a_mount_point_is_written_in_place(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / ".DS_Store").write_text("of a file manager")
    (tmp_path / "result").symlink_to(tmp_path / "disk")
    before = (tmp_path / "disk").stat().st_ino
    write(tmp_path / "result", {"a": "1", "b/c": "1"})
    write(tmp_path / "result", {"a": "2"}, overwrite=True)
    assert content(tmp_path / "disk") == {"a": "2", ".DS_Store": "of a file manager"}
    assert (tmp_path / "result").is_symlink() and (tmp_path / "disk").stat().st_ino == before
    (tmp_path / "later").symlink_to(tmp_path / "absent")
    write(tmp_path / "later", {"a": "1"})
    assert (tmp_path / "later").is_symlink() and content(tmp_path / "absent") == {"a": "1"}


def test_move_that_fails_is_undone_and_the_result_kept_beside(tmp_path, monkeypatch):
    target = tmp_path / "result"
    write(target, {"a": "1", "b/c": "1", "d": "1"})
    before, listed, rename = content(target), (target / LIST_FILE).read_text(), os.rename
    for failing in range(1, 8):
        calls = []

        def fails_once(source, destination, failing=failing, calls=calls):
            calls.append(source)
            if len(calls) == failing:
                raise OSError(errno.EIO, "Input/output error", str(destination))
            rename(source, destination)

        monkeypatch.setattr(os, "rename", fails_once)
        with pytest.raises(OutputError, match="Input/output error. The result is complete in .*result-2"):
            write(target, {"a": "2", "e/f": "2"}, overwrite=True)
        monkeypatch.undo()
        assert content(target) == before and (target / LIST_FILE).read_text() == listed, failing
        assert content(tmp_path / "result-2") == {"a": "2", "e/f": "2"}
        assert sorted(p.name for p in target.iterdir()) == [LIST_FILE, "a", "b", "d"]
        shutil.rmtree(tmp_path / "result-2")
    assert len(calls) > 7


def test_folder_taken_during_the_work_costs_no_result(tmp_path):
    target = tmp_path / "result"
    with pytest.raises(OutputError, match="is not empty; .* The result is complete in .*result-2"):
        with new_folder(target, "test") as folder:
            (folder / "a").write_text("1")
            target.mkdir()
            (target / "theirs").write_text("theirs")
    assert content(target) == {"theirs": "theirs"} and content(tmp_path / "result-2") == {"a": "1"}
    write(tmp_path / "other", {"a": "1"})
    with pytest.raises(OutputError, match="File exists"), new_folder(tmp_path / "other", "test", True) as folder:
        (folder / "new").write_text("2")
        (tmp_path / "other" / "new").write_text("theirs")
    assert content(tmp_path / "other") == {"a": "1", "new": "theirs"} and content(tmp_path / "other-2") == {"new": "2"}


def test_disk_that_is_full_or_read_only_is_found_before_the_work(tmp_path, monkeypatch):
    for code, words in ((errno.ENOSPC, "The disk is full"), (errno.EROFS, "No permission")):

        def fails(_file, code=code):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(OutputError, match=words), new_folder(tmp_path / "deep" / "result", "test"):
            pytest.fail("the work was started")
        assert list(tmp_path.iterdir()) == []


def test_full_disk_is_said_in_one_sentence_about_the_folder_the_user_named(tmp_path):
    with pytest.raises(OutputError, match=r"^The disk is full: .+result could not be written; free ") as error:
        with new_folder(tmp_path / "result", "test") as folder:
            raise OSError(28, "No space left on device", str(folder / "a"))
    assert ".partial" not in str(error.value)
    with pytest.raises(OutputError, match="result.a could not be"), new_folder(tmp_path / "result", "test") as folder:
        raise OutputError(f"{folder / 'a'} could not be written.")
    with pytest.raises(PermissionError), new_folder(tmp_path / "result", "test"):
        raise PermissionError(13, "Permission denied", "/scans/unreadable")  # not about the output
    assert list(tmp_path.iterdir()) == []


def test_files_of_killed_processes_are_removed(tmp_path):
    target = tmp_path / "result"
    write(target, {"a": "1"})
    old, new = writing.partial_path(target), writing.partial_path(target)
    for leftover in (old, new):
        leftover.mkdir()
        (leftover / "a").write_text("half")
    os.utime(old, (0, 0))
    with new_folder(target, "test", overwrite=True) as folder:
        (folder / "a").write_text("2")
    assert not old.exists() and new.exists()  # which may be another process at work
    writing.remove_partial(target, 0)
    assert content(target) == {"a": "2"}


def test_windows_names_and_files_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_WINDOWS", True)
    for name in ("CON", "nul.txt", "com1", "ends.", "ends ", "what?", "a:b"):
        with pytest.raises(OutputError, match="Windows does not allow the file name"):
            write(tmp_path / name, {"a": "1"})
    write(tmp_path / "console", {"a": "1"})
    calls, rename = [], os.rename

    def held_for_a_moment(source, destination):
        calls.append(source)
        if len(calls) < 3:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(source))
        rename(source, destination)

    monkeypatch.setattr(os, "rename", held_for_a_moment)
    monkeypatch.setattr(writing.time, "sleep", lambda seconds: None)
    write(tmp_path / "result", {"a": "1"})
    assert content(tmp_path / "result") == {"a": "1"} and len(calls) == 3
    error = PermissionError(errno.EACCES, "The process cannot access the file")
    error.winerror = 32
    assert "is open in another program" in writing.os_error_sentence(error, "table.csv")
    missing = FileNotFoundError(errno.ENOENT, "The system cannot find the path specified")
    assert "name is too long" in writing.os_error_sentence(missing, "C:/" + "n" * 230)


def test_file_appears_whole_or_the_old_one_stays(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    link.symlink_to(path)
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), whole_file(link) as file:
            file.write(b"new")
            raise error
        assert content(tmp_path) == {"file": "old", "link": "old"}
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink() and content(tmp_path) == {"file": "new", "link": "new"}
    with pytest.raises(ValueError):
        write_json(path, {"volume_ml": float("nan")})
    with pytest.raises(OutputError, match="gone.file could not be written"), whole_file(tmp_path / "gone" / "file"):
        pytest.fail("the work was started")
    write_json(path, {"scan": os.fsdecode(b"M\xfcller")})
    assert json.loads(path.read_text()) == {"scan": "M?ller"}


def test_file_that_cannot_be_written_is_found_before_the_work(tmp_path):
    (tmp_path / "mine.seg.nrrd").write_text("corrected")
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "gone" / "a", "does not exist"),
        (tmp_path / ("n" * 256), "name is too long"),
        (tmp_path / os.fsdecode(b"\xe4"), "not valid UTF-8"),
        (tmp_path / "mine.seg.nrrd", "exists and is no earlier result"),
    ):
        with pytest.raises(OutputError, match=words):
            check_file(path)
    check_file(tmp_path / "mine.seg.nrrd", lambda path: path.read_text() == "corrected")
    check_file(tmp_path / "new")
    assert content(tmp_path) == {"mine.seg.nrrd": "corrected"}
