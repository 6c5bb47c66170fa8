"""What a new user mistypes: each call ends in one line that says what to do, before any work."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands import cli
from sam_ad_perception.core.console.install_advice import EXTRAS, install_advice
from sam_ad_perception.core.messages import from_ros

WRONG = [
    # commands
    ('lable drive --out x', "'lable' is none of demo, .*, did you mean 'label'?"),
    ('simulation x', "did you mean 'simulate'?"),
    ('', 'the following arguments are required: COMMAND'),
    ('--verison', "there is no option --verison, did you mean '--version'?"),
    # label
    ('label drive', 'required: --out, as in `sam_ad label drive --out labelled'),
    ('label drive --ot x', "there is no option --ot, did you mean '--out'?"),
    ('label drive --out x --sensors camera', 'there is no option --sensors'),
    ('label driv --out x', "driv does not exist, did you mean 'drive'?"),
    ('label nowhere/drive --out x', 'nowhere/drive does not exist, for nowhere does not exist'),
    ('label notes --out x', 'notes is not a bag: it holds no file of'),
    ('label drive --out notes', r'notes exists already \(--overwrite replaces a bag\)'),
    (
        'label drive --out x --model mle_sam_dmeo',
        "no model 'mle_sam_dmeo', did you mean 'mle_sam_",
    ),
    ('label drive --out x --device gpu', "must be cpu, cuda or cuda:N, got 'gpu', did you mean"),
    ('label drive --out x --topic camra:=/x', "unknown role 'camra', .*, did you mean 'camera'?"),
    ('label drive --out x --topic camera=/x', "expected ROLE:=NAME, got 'camera=/x'"),
    (
        'label drive --out x --topic camera:=/camera/imge_rect',
        "the bag has only .*, did you mean '/camera/image_rect'?",
    ),
    ('label drive --out x --rectified camra:=true', "got 'camra:=true', did you mean 'camera'?"),
    ('label drive --out x --params vehicl.yaml', "does not exist, did you mean 'vehicle.yaml'?"),
    ('label drive --out x --params none.yaml', 'does not exist: sam_ad check BAG --write FILE'),
    ('label drive --out x --params drive', '--params: drive is a folder, expected a file'),
    ('label drive --out x --params vehicle.yaml', "'model.devise', did you mean 'model.device'?"),
    ('label drive --out x --calibration none.yaml', 'extrinsics.example.yaml shows what it holds'),
    ('label drive --out x --zoo none.yaml', 'leave --zoo out for the one of the package'),
    ('label drive --out x --checkpoints none', '--checkpoints: none does not exist'),
    ('label drive --out x --threads -1', '--threads: expected a whole number from 0 on, got'),
    ('label drive --out x --threads two', "expected a whole number from 0 on, got 'two'"),
    ('label drive --out x --backend onxx', "none of torch, compile, onnx, did you mean 'onnx'?"),
    # check, doctor, offsets, report
    ('report driv', "driv does not exist, did you mean 'drive'?"),
    ('report drive', 'drive does not say what its masks mean: it holds no semantic/label_info'),
    ('check driv', "driv does not exist, did you mean 'drive'?"),
    ('check drive --params none.yaml', 'none.yaml does not exist: sam_ad check BAG --write FILE'),
    ('check drive --params vehicle.yaml --write x', 'give one of them'),
    ('doctor driv', "expected TOPIC:=NAME or a recording, got 'driv': .* did you mean 'drive'?"),
    ('doctor camera:=', "a remapping is written TOPIC:=NAME, got 'camera:='"),
    ('offsets drive --topic lidr:=/points', "unknown role 'lidr', .*, did you mean 'lidar'?"),
    ('offsets driv', "driv does not exist, did you mean 'drive'?"),
    # simulate
    ('simulate drive', 'drive exists already'),
    ('simulate x --scene tunel', "none of street, full, tunnel, did you mean 'tunnel'?"),
    ('simulate x --condition night+rian', "got 'night\\+rian', did you mean 'rain'?"),
    ('simulate x --fault camera:balck:1:2', "got 'balck', did you mean 'black'?"),
    ('simulate x --fault camra:black:1:2', "got 'camra', did you mean 'camera'?"),
    ('simulate x --fault camera:black', 'a fault is SENSOR:KIND:START:END'),
    ('simulate x --duration 0', 'duration_s must be positive, got 0.0'),
    ('simulate x --rig none.yaml', '--rig: none.yaml does not exist: config/rig.example.yaml'),
    # networks
    ('models --zoo none.yaml', 'none.yaml does not exist: leave --zoo out'),
    ('labels --model mle_sam_dmeo', "did you mean 'mle_sam_demo'?"),
    ('labels --space cityscape', "got 'cityscape', did you mean 'cityscapes'?"),
    ('weights sam_vitb', "did you mean 'sam_vit_b'?"),
    ('bench --sensors cam', "'cam' is none of camera, .*, did you mean 'camera'?"),
    ('bench --model mle_sam_fsat', "no model 'mle_sam_fsat', did you mean 'mle_sam_fast'?"),
    ('bench --backends onxx', "did you mean 'onnx'?"),
    ('bench --size 400', "expected HxW, for example 400x640, got '400'"),
    ('bench --frames 0', 'expected a whole number from 1 on'),
    ('export mle_sam_dmeo --out x', "did you mean 'mle_sam_demo'?"),
    (
        'export mle_sam_demo --sensors cam --out x',
        "sensors \\['cam'\\], .* did you mean 'camera'?",
    ),
    # other formats, shells, the demo
    (
        'import kiti notes --out x',
        "none of kitti, nuscenes, folder, rosbag1, did you mean 'kitti'",
    ),
    ('import kitti noets --out x', "noets does not exist, did you mean 'notes'?"),
    ('import kitti notes --out drive', r'drive exists already \(--overwrite replaces a bag\)'),
    ('import kitti notes --out x --scene a', '--scene is of the format nuscenes, got kitti'),
    ('completion fish', "'fish' is none of bash, zsh"),
    ('demo --duration 2 --out x', '--duration must be 5 s or more, got 2.0'),
    ('demo --model mle_sam_dmeo --out x', "did you mean 'mle_sam_demo'?"),
    # training
    ('prepare delivr data', "got 'delivr', did you mean 'deliver'?"),
    ('train mle_sam_dmo', "does not exist, did you mean '.*mle_sam_demo.*yaml'?"),
    ('evaluate mle_sam_dmeo', "did you mean 'mle_sam_demo'?"),
    ('export-labels drive --out x --format vco', "did you mean 'voc'?"),
    ('import-labels drive notes', 'does not say what its masks mean .*: give --label-space'),
]


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user: a recording, a folder of notes, a parameter file with a slip."""
    folder = tmp_path_factory.mktemp('user')
    (folder / 'notes').mkdir()
    text = '/**:\n  ros__parameters:\n    model:\n      devise: cpu\n'
    (folder / 'vehicle.yaml').write_text(text)
    with BagWriter(folder / 'drive') as writer:
        writer.add_topic('/camera/image_rect', 'sensor_msgs/msg/Image')
        pixels = np.zeros((8, 8, 3), np.uint8)
        image = from_ros.array_to_image(writer.types, pixels, 'rgb8', 1_000, 'camera')
        writer.write('/camera/image_rect', image, 1_000)
    return folder


@pytest.mark.parametrize(('call', 'wanted'), WRONG, ids=[call or 'nothing' for call, _ in WRONG])
def test_a_wrong_call_is_one_line_that_says_what_to_do(
    call: str,
    wanted: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if call.split()[:1] in (
        ['prepare'],
        ['train'],
        ['evaluate'],
        ['export-labels'],
        ['import-labels'],
    ):
        pytest.importorskip('lightning')
    if call.startswith('export'):
        pytest.importorskip('onnx')
    monkeypatch.chdir(place)
    before = sorted(path.name for path in place.rglob('*'))
    try:
        code = cli.main(call.split())
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capfd.readouterr()
    assert code == 2
    assert re.search(wanted, told.err), told.err
    assert told.err.count('\n') == 1, told.err
    assert told.out == ''
    assert 'Errno' not in told.err
    assert '<lambda>' not in told.err
    assert sorted(path.name for path in place.rglob('*')) == before


def test_there_are_enough_of_them_and_each_command_has_one() -> None:
    assert len(WRONG) >= 35
    called = {call.split()[0] for call, _ in WRONG if call}
    assert set(cli.COMMANDS) - called <= {'replay'}  # it needs rclpy; see below


@pytest.mark.parametrize(
    ('call', 'wanted'),
    [
        ('replay driv', "driv does not exist, did you mean 'drive'?"),
        ('replay drive --drop lidr@5-8', "got 'lidr', did you mean 'lidar'?"),
        ('replay drive --topic lidr:=/x', "unknown role 'lidr', .*, did you mean 'lidar'?"),
    ],
)
def test_a_wrong_replay_is_one_line_too(
    call: str,
    wanted: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip('rclpy')
    test_a_wrong_call_is_one_line_that_says_what_to_do(call, wanted, place, monkeypatch, capfd)


def test_a_gpu_that_is_not_there_is_told_before_the_recording_is_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip('torch')
    monkeypatch.chdir(place)
    calls = ['label drive --out x --device cuda', 'bench --device cuda:0']
    if torch.cuda.is_available():
        calls = [f'label drive --out x --device cuda:{torch.cuda.device_count()}']
    for call in calls:
        assert cli.main(call.split()) == 2
        told = capfd.readouterr()
        assert re.search('needs an NVIDIA GPU .* take --device cpu|is not there', told.err)
        assert told.err.count('\n') == 1
        assert told.out == ''


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_help_ends_with_calls_that_parse(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An example in each help; the words of each are those that the parser knows."""
    if name == 'replay':
        pytest.importorskip('rclpy')
    with pytest.raises(SystemExit):
        cli.main([name, '--help'])
    text = capsys.readouterr().out
    examples = re.split(r'^examples?:$', text, flags=re.MULTILINE)[1].splitlines()
    calls = [line.strip() for line in examples if 'sam_ad' in line]
    assert calls
    for call in calls:
        _, *words = shlex.split(re.search(r'sam_ad [^)#"]*', call)[0])  # type: ignore[index]
        assert words[0] == name
        known = re.findall(r'(?<!\w)--[a-z-]+', text.split('example')[0])
        before_ros = words[: words.index('--ros-args')] if '--ros-args' in words else words
        assert {word for word in before_ros if word.startswith('--')} <= set(known)


def test_advice_names_packages_of_the_index_and_those_of_setup_py(setup_metadata) -> None:  # type: ignore[no-untyped-def]
    for name, packages in EXTRAS.items():
        assert sorted(packages) == sorted(setup_metadata['extras_require'][name])
    assert install_advice('fleet') == "pip install 'ray>=2.40'"
    root = Path(__file__).resolve().parents[2]
    for folder in ('sam_ad_perception', 'training'):
        for file in (root / folder).rglob('*.py'):
            assert 'pip install sam_ad_perception' not in file.read_text(), file


def test_doctor_and_check_both_look_at_a_recording(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('rclpy')
    monkeypatch.setitem(os.environ, 'COLUMNS', '200')
    monkeypatch.chdir(place)
    code = cli.main(['check', 'drive'])
    checked = capsys.readouterr().out
    assert cli.main(['doctor', 'drive']) == code == 0
    told = capsys.readouterr().out
    assert 'torch' in told
    for line in checked.splitlines():
        assert line in told
