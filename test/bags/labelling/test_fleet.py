"""`sam_ad label` over a folder of recordings, as a user runs it."""

from __future__ import annotations

import shutil

import pytest

from sam_ad_perception.bags.labelling.fleet import find_bags, lock_folder
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.commands.cli import main


@pytest.fixture
def folder(write_drive, tmp_path):
    """Two good recordings, one nested, one without a camera and one of which nothing is left."""
    write_drive(2, name='fleet/first')
    write_drive(3, name='fleet/monday/second')
    only_points = lambda topic, message: message if topic == '/points' else None  # noqa: E731
    write_drive(1, only_points, name='fleet/blind')
    cut = write_drive(2, name='fleet/cut')
    (file,) = cut.glob('*.mcap')
    file.write_bytes(file.read_bytes()[:20])
    return tmp_path / 'fleet'


@pytest.fixture
def run(folder, tiny_zoo, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '300')

    def command(*arguments):
        model = ['--zoo', str(tiny_zoo), '--checkpoints', str(tiny_zoo.parent), '--model', 'tiny']
        code = main(['label', str(folder), '--out', str(tmp_path / 'out'), *model, *arguments])
        return code, tmp_path / 'out', capsys.readouterr().err

    return command


def masks(bag):
    with BagReader(bag) as reader:
        return [message.data for message in reader.messages(['/semantic/image'])]


def made(out):
    return {str(file.parent.relative_to(out)): file.stat() for file in out.rglob('metadata.yaml')}


def test_one_failed_bag_does_not_stop_the_rest_and_a_rerun_does_what_is_left(run, folder):
    code, out, told = run('--workers', '1')
    assert code == 1
    assert set(made(out)) == {'first', 'monday/second'}
    assert (len(masks(out / 'first')), len(masks(out / 'monday/second'))) == (2, 3)
    assert 'cut: failed: ' in told
    assert 'cannot be read' in told
    assert 'blind: failed: ' in told
    assert 'has no camera' in told
    assert '4 bags: ' in told
    assert '2 labelled' in told
    assert '2 failed' in told
    before = made(out)
    code, out, told = run('--workers', '1')
    assert code == 1
    assert '2 finished before' in told
    assert made(out) == before
    for name in ('cut', 'blind'):
        shutil.rmtree(folder / name)
    code, out, told = run('--workers', '1')
    assert code == 0
    assert '2 bags: 2 finished before; 0 masks' in told


def test_other_settings_or_another_input_are_refused_until_told_to_overwrite(
    run, folder, write_drive
):
    for name in ('cut', 'blind'):
        shutil.rmtree(folder / name)
    assert run('--workers', '1')[0] == 0
    code, out, told = run('--workers', '1', '--no-color')
    assert code == 2
    assert 'first was labelled otherwise: color was True, is False now; --overwrite' in told
    params = folder.parent / 'node.param.yaml'
    params.write_text('segmentation: {ros__parameters: {camera: {rectified: false}}}\n')
    code, out, told = run('--workers', '1', '--params', str(params))
    assert code == 2
    assert 'first was labelled otherwise: rectified was ' in told
    shutil.rmtree(folder / 'first')
    write_drive(4, name='fleet/first')
    before = made(out)
    code, _, told = run('--workers', '1')
    assert code == 2
    assert 'first was labelled otherwise: input was ' in told
    assert made(out) == before
    code, _, told = run('--workers', '1', '--overwrite')
    assert code == 0
    assert '1 finished before, 1 labelled' in told or '1 labelled, 1 finished before' in told
    assert len(masks(out / 'first')) == 4
    # A result that we did not write is nobody's to replace unasked.
    shutil.rmtree(out / 'first')
    shutil.copytree(folder / 'first', out / 'first')
    code, _, told = run('--workers', '1')
    assert code == 2
    assert 'first was labelled otherwise: it does not say how it was labelled' in told


def test_what_a_killed_process_left_is_removed(run, folder):
    remains = folder.parent / 'out' / '.first.part_abc'
    remains.mkdir(parents=True)
    (remains / 'half.mcap').write_bytes(b'half')
    _, out, _ = run('--workers', '1')
    assert not remains.exists()
    assert {entry.name for entry in out.iterdir()} == {'.lock', 'first', 'monday'}


def test_two_commands_do_not_label_into_one_folder(run, folder):
    with lock_folder(folder.parent / 'out'):
        code, _, told = run('--workers', '1')
    assert code == 2
    assert 'another process is labelling into' in told


def test_a_network_that_does_not_load_ends_it_before_anything_is_written(run):
    code, out, told = run('--workers', '1', '--model', 'huge')
    assert code == 2
    assert "no model 'huge'" in told
    assert made(out) == {}


def test_without_ray_it_says_how_to_go_parallel(run, folder, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    for name in ('cut', 'blind'):
        shutil.rmtree(folder / name)
    code, out, told = run('--workers', '2')
    assert code == 2
    assert "Ray is not installed: pip install 'ray>=2.40'" in told
    code, out, told = run()
    assert code == 0
    line = "one bag after the other; several at a time: pip install 'ray>=2.40'\n"
    assert told.count(line) == 1
    assert set(made(out)) == {'first', 'monday/second'}


def test_ray_gives_the_same_masks_and_a_worker_that_dies_is_replaced(
    run, folder, tiny_zoo, tmp_path
):
    pytest.importorskip('ray')
    from sam_ad_perception.bags.labelling.fleet import Fate, FleetTask, plan_jobs
    from sam_ad_perception.bags.labelling.ray_fleet import RayOptions, label_with_ray

    mark = tmp_path / 'died'

    def load(zoo=str(tiny_zoo)):
        """The first worker dies in a way that no exception handler sees."""
        import os
        from pathlib import Path

        from sam_ad_perception.modeling.inference.segmenter import Segmenter

        if not mark.exists():
            mark.touch()
            os._exit(1)
        return Segmenter.from_zoo(Path(zoo), 'tiny', Path(zoo).parent, threads=1)

    bags = find_bags(folder)
    jobs = plan_jobs(folder, bags, tmp_path / 'out', {})
    told = []
    ends = list(label_with_ray(jobs, FleetTask(load), RayOptions(workers=1), told.append))
    assert mark.exists()
    assert {(end.name, end.fate, end.masks) for end in ends} == {
        ('first', Fate.LABELLED, 2),
        ('monday/second', Fate.LABELLED, 3),
        ('cut', Fate.FAILED, 0),
        ('blind', Fate.FAILED, 0),
    }
    parallel = [masks(tmp_path / 'out' / name) for name in ('first', 'monday/second')]
    shutil.rmtree(tmp_path / 'out')
    run('--workers', '1')
    assert parallel == [masks(tmp_path / 'out' / name) for name in ('first', 'monday/second')]


def test_recordings_are_found_nested_flat_and_in_parts(tmp_path):
    for name in (
        *('a/metadata.yaml', 'a/a_0.mcap', 'flat/x.mcap', 'flat/y.db3', 'flat/notes.txt'),
        *(
            'parts/run_0.mcap',
            'parts/run_1.mcap',
            'deep/er/one.mcap',
            'empty/readme',
            '.bag/z.mcap',
        ),
        *('out/a/metadata.yaml', 'out/a/a.mcap'),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'loop').symlink_to(tmp_path)
    found = [str(bag.relative_to(tmp_path)) for bag in find_bags(tmp_path, tmp_path / 'out')]
    assert found == ['a', 'deep/er/one.mcap', 'flat/x.mcap', 'flat/y.db3', 'parts']
    assert find_bags(tmp_path / 'a') == [tmp_path / 'a']
    assert find_bags(tmp_path / 'empty') == []


def test_a_folder_with_one_file_is_one_recording(write_drive, tiny_zoo, tmp_path):
    bag = write_drive(1)
    (bag / 'metadata.yaml').unlink()
    model = ['--zoo', str(tiny_zoo), '--checkpoints', str(tiny_zoo.parent), '--model', 'tiny']
    assert main(['label', str(bag), '--out', str(tmp_path / 'out'), *model]) == 0
    assert len(masks(tmp_path / 'out')) == 1
