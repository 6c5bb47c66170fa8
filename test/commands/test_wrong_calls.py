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
    (
        'label drive --out x --backend onxx',
        "onnx, openvino, auto, did you mean 'onnx'?",
    ),
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
    ('simulate x --duration 0', "--duration: expected a number above 0, got '0'"),
    ('simulate x --rig none.yaml', '--rig: none.yaml does not exist: config/rig.example.yaml'),
    # networks
    ('models --zoo none.yaml', 'none.yaml does not exist: leave --zoo out'),
    ('labels --model mle_sam_dmeo', "did you mean 'mle_sam_demo'?"),
    ('labels --space cityscape', "got 'cityscape', did you mean 'cityscapes'?"),
    ('weights sam_vitb', "did you mean 'sam_vit_b'?"),
    ('bench --sensors cam', "'cam' is none of camera, .*, did you mean 'camera'?"),
    ('bench --model mle_sam_fsat', "no model 'mle_sam_fsat', did you mean 'mle_sam_fast'?"),
    ('bench --backends onxx', "did you mean 'onnx'?"),
    ('compile --processes 0', 'expected a whole number from 1 on'),
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
    # places of results: told before anything is read
    ('label drive --out readme.txt', '--out: readme.txt is a file, expected a folder or nothing'),
    ('label drive --out readme.txt/x', '--out: readme.txt/x cannot be made, for readme.txt is a'),
    ('label drive --out /proc/x', '--out: nothing can be written in /proc'),
    ('label drive --out drive --overwrite', '--out is drive itself: .* a folder of their own'),
    ('label drive --out x --rerun x.rdr', '--rerun: x.rdr must end in .rrd'),
    ('report drive --out readme.txt', '--out: readme.txt is a file'),
    ('check drive --write notes', '--write: notes is a folder, expected a file or nothing'),
    ('check drive --out readme.txt', '--out: readme.txt is a file'),
    ('simulate readme.txt/x', 'out: readme.txt/x cannot be made, for readme.txt is a file'),
    ('simulate x --gallery x.gif', '--gallery: x.gif must end in .png or .jpg'),
    ('bench --json notes', '--json: notes is a folder'),
    ('labels --as nav2 --out readme.txt', '--out: readme.txt is a file'),
    ('weights sam_vit_b --folder readme.txt', '--folder: readme.txt is a file'),
    ('demo --out notes/..', 'notes/.. holds files that are not of a demo: give a folder of its'),
    ('prepare camvid notes --out readme.txt', '--out: readme.txt is a file'),
    ('evaluate mle_sam_demo --out readme.txt', '--out: readme.txt is a file'),
    ('evaluate mle_sam_demo --routing notes', '--routing: notes is a folder'),
    # numbers out of range, and words for numbers
    ('simulate x --duration ten', "--duration: expected a number above 0, got 'ten'"),
    ('simulate x --duration nan', "--duration: expected a number above 0, got 'nan'"),
    ('simulate x --seed -1', "--seed: expected a whole number from 0 on, got '-1'"),
    ('simulate x --drives 3', '--drives is of --format folder, got --format bag'),
    ('simulate x --format folder --drives 2 --val 3', '--val must be less than --drives, got 3'),
    ('simulate x --fault camera:black:50:60', 'must begin within the drive, from 0 to 10 s after'),
    ('simulate x --fault camera:black:-1:2', 'must begin within the drive'),
    ('offsets drive --start -1', "--start: expected a number from 0 on, got '-1'"),
    ('offsets drive --duration 0', "--duration: expected a number above 0, got '0'"),
    ('offsets drive --max-offset x', "--max-offset: expected a number above 0, got 'x'"),
    ('doctor --seconds -1', "--seconds: expected a number from 0 on, got '-1'"),
    ('import kitti notes --out x --rate 0', "--rate: expected a number above 0, got '0'"),
    ('bench --size 0x0', "--size: expected at least 16x16 pixels, got '0x0'"),
    ('bench --sensors camera,camera', "expected each name once, got 'camera' 2 times"),
    ('demo --seed -1 --out x', "--seed: expected a whole number from 0 on, got '-1'"),
    ('prepare camvid notes --workers 0', "expected a whole number from 1 on, got '0'"),
    ('evaluate mle_sam_demo --frames -1', "expected a whole number from 0 on, got '-1'"),
    ('export-labels drive --out x --every 0', "expected a whole number from 1 on, got '0'"),
    # files of another kind, and what is not there
    ('label readme.txt --out x', 'readme.txt is not a bag: expected a folder, or one of'),
    (
        'label broken.mcap --out x',
        "broken.mcap cannot be read: it begins with b'hello.*', which is not MCAP",
    ),
    ('label nothing --out x', 'nothing holds no message'),
    ('label drive notes --out x', 'nothing is known of the argument notes, as in `sam_ad label'),
    ('label drive --out x --zoo notes', '--zoo: notes is a folder, expected a file'),
    ('label drive --out x --view front:=/cam/x', r"to be /cam/x, but the bag has only \['/cam"),
    ('check notes', 'notes is not a bag: it holds no file of'),
    ('check drive --calibration vehicle.yaml', "the unknown field '/\\*\\*', known are cameras"),
    ('report notes', 'notes is not a bag'),
    ('doctor readme.txt', 'readme.txt is not a bag'),
    ('models --checkpoint-dir nowhere', '--checkpoint-dir: nowhere does not exist'),
    ('models --zoo readme.txt', 'readme.txt must hold exactly one key, `models`'),
    ('models mle_sam_demo', 'nothing is known of the argument mle_sam_demo, as in `sam_ad models'),
    ('labels --out x', '--out is of --as, which names the tool: one of hydra, nav2'),
    ('labels --space cityscapes --model mle_sam_demo', 'give one of them'),
    ('bench --rig vehicle.yaml', 'vehicle.yaml must hold `<sensor>: ros__parameters'),
    ('import kitti readme.txt --out x', 'readme.txt is a file, expected a folder of kitti'),
    ('import kitti notes --out x', 'notes holds neither image_0'),
    ('import folder notes --out x --calibration none.yaml', 'none.yaml does not exist'),
    ('export mle_sam_demo --out x --checkpoints nowhere', '--checkpoints: nowhere does not exist'),
    ('completion --shell bash', 'there is no option --shell, only --help'),
    ('prepare camvid', 'camvid needs its folder, as in `sam_ad prepare mfnet data/mfnet`'),
    ('prepare none.yaml', 'none.yaml does not exist'),
    ('prepare camvid nots', "nots does not exist, did you mean 'notes'?"),
    ('train notes', 'notes is a folder, expected a file'),
    ('evaluate mle_sam_demo cityscape', "did you mean 'cityscapes'?"),
    ('evaluate mle_sam_demo --device gpu', "must be cpu, cuda or cuda:N, got 'gpu', did you mean"),
    ('evaluate mle_sam_demo --router none.yaml', 'none.yaml does not exist: --routing writes one'),
    ('export-labels notes --out x', 'notes is not a bag'),
    ('import-labels driv notes', "driv does not exist, did you mean 'drive'?"),
]


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user: two recordings, notes, a text, a parameter file with a slip."""
    folder = tmp_path_factory.mktemp('user')
    (folder / 'notes').mkdir()
    text = '/**:\n  ros__parameters:\n    model:\n      devise: cpu\n'
    (folder / 'vehicle.yaml').write_text(text)
    (folder / 'readme.txt').write_text('hello\n')
    (folder / 'broken.mcap').write_text('hello\n' * 9)
    with BagWriter(folder / 'nothing') as writer:
        writer.add_topic('/camera/image_rect', 'sensor_msgs/msg/Image')
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
    assert len(WRONG) >= 100
    called = {call.split()[0] for call, _ in WRONG if call}
    assert set(cli.COMMANDS) - called <= {'replay'}  # it needs rclpy; see below


@pytest.mark.parametrize(
    ('call', 'wanted'),
    [
        ('replay driv', "driv does not exist, did you mean 'drive'?"),
        ('replay drive --drop lidr@5-8', "got 'lidr', did you mean 'lidar'?"),
        ('replay drive --topic lidr:=/x', "unknown role 'lidr', .*, did you mean 'lidar'?"),
        ('replay drive --rate 0', "--rate: expected a number above 0, got '0'"),
        ('replay drive --start x', "--start: expected a number from 0 on, got 'x'"),
        ('replay drive --json notes', '--json: notes is a folder'),
        ('replay notes', 'notes is not a bag'),
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
    pytest.importorskip('lightning')
    monkeypatch.chdir(place)
    calls = [
        'label drive --out x --device cuda',
        'bench --device cuda:0',
        'evaluate mle_sam_demo --device cuda',
    ]
    if torch.cuda.is_available():
        calls = [f'label drive --out x --device cuda:{torch.cuda.device_count()}']
    for call in calls:
        try:
            code = cli.main(call.split())
        except SystemExit as ended:
            code = int(ended.code or 0)
        assert code == 2
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
