"""`sam_ad label` as a user runs it, with a small network of random weights."""

from __future__ import annotations

import pytest

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.commands.cli import main


@pytest.fixture
def run(tiny_zoo, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')

    def command(bag, *arguments, name='out'):
        model = ['--zoo', str(tiny_zoo), '--checkpoints', str(tiny_zoo.parent), '--model', 'tiny']
        out = tmp_path / name
        code = main(['label', str(bag), '--out', str(out), '--threads', '1', *model, *arguments])
        return code, out, capsys.readouterr().err

    return command


def test_it_tells_what_it_read_and_what_came_out(run, write_drive):
    code, out, told = run(write_drive(2))
    assert code == 0
    assert '/camera/image_rect' in told
    assert '2 masks from camera+thermal+event+lidar' in told
    assert f'2 masks written to {out}' in told
    with BagReader(out) as bag:
        assert len(list(bag.messages(['/semantic/image']))) == 2


def test_topics_can_be_switched_off_and_outputs_left_out(run, write_drive):
    code, out, told = run(
        write_drive(2), '--topic', 'thermal:=', '--topic', 'lidar:=', '--no-copy', '--no-color'
    )
    assert code == 0
    assert '2 masks from camera+event' in told
    with BagReader(out) as bag:
        names = {topic.name for topic in bag.topics}
    assert '/camera/image_rect' not in names
    assert '/semantic/color' not in names


def test_the_parameter_file_of_the_node_is_taken(run, write_drive, tmp_path):
    params = tmp_path / 'node.param.yaml'
    params.write_text(
        'segmentation: {ros__parameters: {bundler: {sync: {thermal: {enabled: false}}}}}\n'
    )
    code, _, told = run(write_drive(2), '--params', str(params))
    assert code == 0
    assert '2 masks from camera+event+lidar' in told
    params.write_text('segmentation: {ros__parameters: {bundler: {sinc: {thermal: 1}}}}\n')
    code, _, told = run(write_drive(2, name='again'), '--params', str(params), name='other')
    assert code == 2
    assert "unknown parameter 'bundler.sinc.thermal'" in told


def test_a_report_stands_beside_the_labelled_bag(run, write_drive):
    code, out, told = run(write_drive(5), '--report')
    assert code == 0
    assert f'report: {out / "report.html"}' in told
    page = (out / 'report.html').read_text()
    for part in ('data:video/webm', 'id="timeline"', 'Masks of drive', 'labelled cloud', 'p95'):
        assert part in page
    assert 'Quality against the ground truth' not in page
    with BagReader(out) as bag:  # the page does not hinder reading the bag
        assert len(list(bag.messages(['/semantic/image']))) == 5


def test_a_report_of_a_folder_is_refused(run, write_drive, tmp_path):
    write_drive(1, name='bags/a')
    write_drive(1, name='bags/b')
    code, out, told = run(tmp_path / 'bags', '--report')
    assert code == 2
    assert '--report is of one recording' in told
    assert not out.exists()


def test_an_existing_result_is_replaced_only_on_demand(run, write_drive):
    bag = write_drive(1)
    assert run(bag)[0] == 0
    code, out, told = run(bag)
    assert code == 2
    assert f'{out} exists already' in told
    assert run(bag, '--overwrite')[0] == 0


def test_wrong_weights_end_before_anything_is_written(run, write_drive, tiny_zoo, tmp_path):
    (tmp_path / 'tiny.safetensors').write_bytes(b'not a checkpoint')
    code, out, told = run(write_drive(1), '--checkpoints', str(tmp_path))
    assert code == 2
    assert 'tiny.safetensors' in told
    assert not out.exists()
    code, _, told = run(write_drive(1, name='again'), '--model', 'mle_sam_huge')
    assert code == 2
    assert "no model 'mle_sam_huge', expected one of tiny" in told


def test_a_bag_without_masks_is_code_1(run, write_drive, tmp_path):
    params = tmp_path / 'node.param.yaml'
    params.write_text(
        'segmentation: {ros__parameters: {bundler: {sync: {thermal: {required: true}}}}}\n'
    )
    bag = write_drive(2, lambda topic, m: None if topic.startswith('/thermal') else m)
    code, _, told = run(bag, '--params', str(params))
    assert code == 1
    assert '0 masks written' in told
    assert 'frames dropped' in told


def test_a_bag_without_a_camera_is_refused(run, write_drive):
    code, out, told = run(write_drive(1, lambda topic, m: m if topic == '/points' else None))
    assert code == 2
    assert 'has no camera' in told
    assert not out.exists()


def test_another_backend_is_taken_and_gives_the_same_masks(run, write_drive):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    assert 'CPUExecutionProvider' in onnxruntime.get_available_providers()
    bag = write_drive(1)
    code, plain, _ = run(bag, name='torch')
    assert code == 0
    params = plain.parent / 'onnx.param.yaml'
    cache = plain.parent / 'cache'
    params.write_text(f'segmentation: {{ros__parameters: {{model: {{cache_dir: {cache}}}}}}}\n')
    code, out, _ = run(bag, '--params', str(params), '--backend', 'onnx', name='onnx')
    assert code == 0
    assert [file.name for file in cache.rglob('*.onnx')] == ['network.onnx']
    masks = []
    for folder in (plain, out):
        with BagReader(folder) as reader:
            masks += [each.data for each in reader.messages(['/semantic/image'])]
    assert len(masks[0]) == len(masks[1])
    assert sum(a != b for a, b in zip(*masks, strict=True)) <= 0.001 * len(masks[0])


def test_views_of_a_parameter_file_name_the_results(run, write_drive, tmp_path):
    params = tmp_path / 'node.param.yaml'
    params.write_text('segmentation: {ros__parameters: {views: [camera]}}\n')
    code, out, _ = run(write_drive(2), '--params', str(params))
    assert code == 0
    with BagReader(out) as reader:
        assert len(list(reader.messages(['/camera/semantic/image']))) == 2
    params.write_text('segmentation: {ros__parameters: {views: [front, left]}}\n')
    code, _, told = run(write_drive(2, name='again'), '--params', str(params), name='other')
    assert code == 2
    assert 'the view front is no camera' in told
    params.write_text("segmentation: {ros__parameters: {views: ['']}}\n")
    code, out, _ = run(write_drive(2, name='third'), '--params', str(params), name='third_out')
    assert code == 0
    with BagReader(out) as reader:
        assert len(list(reader.messages(['/semantic/image']))) == 2


def test_a_brief_check_comes_first_and_finds_what_check_finds(run, write_drive):
    from sam_ad_perception.bags.checking.recording_check import check_recording
    from sam_ad_perception.commands.check import list_findings

    def ahead(topic, message):
        if topic == '/points':
            message.header.stamp.sec += 37
        return message

    bag = write_drive(4, ahead)
    found = [each.text for each in list_findings(check_recording(bag))]
    assert any('/points' in text for text in found), found
    code, _, told = run(bag)
    assert code == 0
    words = ' '.join(told.split())
    for text in found:
        assert ' '.join(text.split()) in words
    assert words.index('look at; more by sam_ad check') < words.index('masks written')
    code, _, told = run(bag, '--no-check', name='plain')
    assert code == 0
    assert 'more by sam_ad check' not in told
