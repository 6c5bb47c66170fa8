"""Places of results: a look says what writing would say, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sam_ad_perception.core.console.outputs import check_file, check_folder, refuse_own_input


def test_a_place_is_refused_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / 'text').write_text('x')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    for good in ('folder', 'new', 'folder/new/deeper'):
        check_folder(tmp_path / good)
        (tmp_path / good / 'made').mkdir(parents=True)
    for wrong in ('text', 'text/new', 'text/new/deeper', 'link', 'link/new'):
        with pytest.raises(ValueError, match=r'text|link'):
            check_folder(tmp_path / wrong)
        with pytest.raises(OSError, match=r'text|link'):
            (tmp_path / wrong).mkdir(parents=True)
    with pytest.raises(ValueError, match='nothing can be written in /proc'):
        check_folder(Path('/proc/new'))
    check_file(tmp_path / 'text')
    check_file(tmp_path / 'new.png', ('.png', '.jpg'))
    with pytest.raises(ValueError, match='folder is a folder, expected a file'):
        check_file(tmp_path / 'folder')
    with pytest.raises(ValueError, match=r'new.gif must end in .png or .jpg'):
        check_file(tmp_path / 'new.gif', ('.png', '.jpg'))


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r'nothing can be written in .*Permission denied'):
        check_folder(tmp_path / 'new')


def test_a_look_leaves_nothing_behind(tmp_path: Path) -> None:
    check_folder(tmp_path / 'new' / 'deeper')
    check_file(tmp_path / 'other' / 'file')
    assert list(tmp_path.iterdir()) == []


def test_results_are_not_written_over_what_they_are_made_from(tmp_path: Path) -> None:
    bag = tmp_path / 'drive'
    bag.mkdir()
    (bag / 'drive.mcap').write_text('x')
    refuse_own_input(tmp_path / 'labelled', bag)
    refuse_own_input(bag / 'labelled', bag)
    for out in (bag, tmp_path / 'labelled' / '..' / 'drive'):
        for source in (bag, bag / 'drive.mcap'):
            with pytest.raises(ValueError, match=r'--out is .* itself'):
                refuse_own_input(out, source)
