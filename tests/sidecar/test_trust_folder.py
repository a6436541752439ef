"""Reading the mounted folder while the kubelet changes it."""

import os
import threading
from pathlib import Path

import pytest
from dormouse_sidecar.trust import FolderContent, Trust, parse, read_folder

from .certificates import make_credential
from .mounted_trust import MountedTrust


def test_an_absent_folder_is_nobody_and_no_fault(tmp_path: Path) -> None:
    assert read_folder(tmp_path / "absent") == FolderContent()
    assert parse(FolderContent()) == Trust()


def test_a_folder_that_is_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "trust").write_text("not a folder")
    content = read_folder(tmp_path / "trust")
    assert content.files == ()
    assert "can't be listed" in content.faults[0]


def test_the_same_certificate_twice_counts_once(trust: MountedTrust) -> None:
    one = make_credential()
    trust.publish(one, one, copy_pem=one.pem)
    assert len(parse(read_folder(trust.folder)).anchors) == 1


def test_a_private_key_beside_the_certificate_is_passed_over(trust: MountedTrust) -> None:
    one = make_credential()
    trust.publish(operator_crt=b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + one.pem)
    parsed = parse(read_folder(trust.folder))
    assert len(parsed.anchors) == 1
    assert parsed.faults == ()


def test_a_certificate_cut_short_does_not_swallow_the_next(trust: MountedTrust) -> None:
    one = make_credential()
    trust.publish(operator_crt=one.pem[:100] + b"\n" + one.pem)
    parsed = parse(read_folder(trust.folder))
    assert len(parsed.anchors) == 1
    assert len(parsed.faults) == 1


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_what_is_no_file_is_left_out_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.crt"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "absent")
    (tmp_path / "good.crt").write_bytes(make_credential().pem)
    content = read_folder(tmp_path)
    assert [name for name, _ in content.files] == ["good.crt"]
    assert content.faults == ("odd.crt: is not a file; it is left out",)


def test_no_read_during_an_update_sees_half_of_it(trust: MountedTrust) -> None:
    before, after = make_credential("before"), make_credential("after")
    trust.publish(a_crt=before.pem, b_crt=before.pem)
    stop = threading.Event()

    def keep_updating() -> None:
        turn = 0
        while not stop.is_set():
            one = (before, after)[turn % 2]
            trust.publish(a_crt=one.pem, b_crt=one.pem)
            turn += 1

    updating = threading.Thread(target=keep_updating)
    updating.start()
    try:
        reads = [read_folder(trust.folder) for _ in range(300)]
    finally:
        stop.set()
        updating.join()
    # An update every few hundred microseconds can outlast the repetitions; then the read says so.
    for content in reads:
        assert content.faults or len({data for _, data in content.files}) == 1
    assert any(not content.faults for content in reads)
