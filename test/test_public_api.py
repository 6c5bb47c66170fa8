"""The public names of the package: what they are, what they cost, and that they work."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import sam_ad_perception as sap
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.geometry.transforms import matrix_to_quaternion
from sam_ad_perception.core.lidar.ground import GroundConfig
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.drives.recording import record

ROOT = Path(__file__).resolve().parents[1]
SURFACE = Path(__file__).with_name('api_surface.json')


def surface() -> dict[str, list[str]]:
    """The parameters of every public name, and of the methods of every public class."""
    found = {}
    for name in sap.__all__:
        value = getattr(sap, name)
        if not callable(value):
            continue
        found[name] = list(inspect.signature(value).parameters)
        if inspect.isclass(value):
            for member, each in inspect.getmembers(value):
                if (not member.startswith('_') or member == '__call__') and callable(each):
                    found[f'{name}.{member}'] = list(inspect.signature(each).parameters)
    return found


def test_the_surface_is_the_one_that_was_promised() -> None:
    """What goes away breaks programs of others; what comes is a promise."""
    assert surface() == json.loads(SURFACE.read_text()), f'if wanted, write it to {SURFACE}'


def test_the_import_is_light() -> None:
    code = (
        'import sys; import sam_ad_perception as sap; sap.__version__; dir(sap); '
        "print(*[m for m in ('numpy', 'torch', 'cv2', 'numba') if m in sys.modules])"
    )
    heavy = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not heavy


def test_geometry_needs_no_torch() -> None:
    code = 'import sys, sam_ad_perception as s; s.project_depth; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == 'False', done.stderr


def test_an_unknown_name_is_no_attribute() -> None:
    assert not hasattr(sap, 'Segmentor')
    assert set(sap.__all__) <= set(dir(sap))


def test_the_version_is_that_of_the_package() -> None:
    assert f"version='{sap.__version__}'" in (ROOT / 'setup.py').read_text()
    assert f'<version>{sap.__version__}</version>' in (ROOT / 'package.xml').read_text()
    command = [sys.executable, '-m', 'sam_ad_perception.commands.cli', '--version']
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == f'sam_ad {sap.__version__}\n'


@pytest.fixture(scope='module')
def drive() -> Drive:
    return Drive(DriveConfig(seed=5, duration_s=0.3))


@pytest.fixture(scope='module')
def folder(drive, tmp_path_factory) -> Path:
    """A folder with the recording of the drive and its calibration, as the README names them."""
    place = tmp_path_factory.mktemp('readme')
    with BagWriter(place / 'drive') as writer:
        record(drive, writer)
    bundle, _ = drive.bundle(drive.frame_stamps('camera')[0])
    cameras = {str(m): f.camera for m, f in bundle.frames.items() if f.camera is not None}
    links = [
        {
            'parent': str(bundle.camera.frame_id),
            'child': str(bundle.frames[m].frame_id),
            'translation': T[:3, 3].tolist(),
            'rotation': matrix_to_quaternion(T[:3, :3]).tolist(),
        }
        for m, T in bundle.T_camera.items()
    ]
    content = {
        'transforms': links,
        'cameras': {
            name: {
                'frame_id': str(model.frame_id),
                'width': model.width,
                'height': model.height,
                'K': model.K.ravel().tolist(),
                'distortion_model': model.distortion_model,
                'D': model.D.tolist(),
            }
            for name, model in cameras.items()
        },
    }
    (place / 'rig.yaml').write_text(yaml.safe_dump(content))
    return place


@pytest.fixture(scope='module')
def segmenter():
    return sap.Segmenter.from_pretrained('mle_sam_demo', threads=1)


@pytest.fixture(scope='module')
def arrays(drive):
    """Camera, thermal and lidar of one moment, as arrays, and the true mask."""
    bundle, truth = drive.bundle(drive.frame_stamps('camera')[1])
    data = {str(m): f.data for m, f in bundle.frames.items() if m is not Modality.EVENT}
    cloud = data.pop('lidar')
    return {**data, 'lidar': np.column_stack([cloud.points, cloud.intensity])}, truth


def test_the_python_lines_of_the_readme_run(folder, arrays, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    assert len(blocks) == 1
    given, _ = arrays
    names = {'rgb': given['camera'], 't16': given['thermal'], 'xyz': given['lidar'][:, :3]}
    exec(blocks[0], names)
    assert names['result'].used == ('camera', 'thermal', 'lidar')
    assert (folder / 'labelled').is_dir()


def test_arrays_give_what_the_recording_of_them_gives(segmenter, folder, arrays) -> None:
    given, truth = arrays
    result = segmenter(**given, calibration=folder / 'rig.yaml')
    known = truth.labels != 255
    assert (result.mask == truth.labels)[known].mean() > 0.8
    assert result.used == ('camera', 'thermal', 'lidar')
    alone = segmenter(camera=given['camera'])
    assert alone.used == ('camera',)
    assert (alone.mask == truth.labels)[known].mean() < (result.mask == truth.labels)[known].mean()
    bundles = list(sap.read_bundles(folder / 'drive'))
    assert len(bundles) == 3
    streamed = segmenter(bundles[1])
    assert (streamed.mask == truth.labels)[known].mean() > 0.8
    segmenter.reset()


def test_arrays_obey_what_the_segmenter_was_given_for_the_ground(
    segmenter, folder, arrays
) -> None:
    experts = list(segmenter.experts.values())
    given = {**arrays[0], 'calibration': folder / 'rig.yaml'}
    points = given['lidar'].copy()
    ahead = (points[:, 0] > 8) & (points[:, 0] < 20) & (np.abs(points[:, 1]) < 3)
    points[ahead, 2] += 1.2  # something that the mask does not know stands on the road
    given['lidar'] = points
    strict = sap.Segmenter(experts, ground=GroundConfig(overrule=True))(**given)
    plain = sap.Segmenter(experts)(**given)
    assert (strict.mask == 255).sum() > (plain.mask == 255).sum()


def test_the_same_image_twice_is_not_frozen(segmenter, arrays) -> None:
    image = arrays[0]['camera']
    first, second = (segmenter(camera=image) for _ in range(2))
    assert np.array_equal(first.mask, second.mask)
    assert second.used == ('camera',)
    dark = (image * 0.35).astype(np.uint8)  # darker than "usual": there is no usual here
    assert segmenter(camera=dark).used == ('camera',)


def test_health_that_needs_a_stream_is_off(segmenter, folder, arrays) -> None:
    """The same of every sensor again, then another scene: no call is held against another."""
    given = {**arrays[0], 'calibration': folder / 'rig.yaml'}
    first = segmenter(**given)
    for _ in range(3):
        again = segmenter(**given)
        assert np.array_equal(again.mask, first.mask)
        assert np.array_equal(again.confidence, first.confidence)
        assert (again.used, again.notes, dict(again.missing)) == (
            first.used, first.notes, dict(first.missing))  # fmt: skip
    other = {**given, 'camera': given['camera'][::-1, ::-1], 'thermal': given['thermal'][:, ::-1]}
    assert segmenter(**other).used == first.used
    assert segmenter(**given).used == first.used


def test_the_result_has_the_mask_its_labels_and_its_confidence(segmenter, arrays) -> None:
    image = arrays[0]['camera']
    result = segmenter(camera=image[::2, ::2])  # without a calibration any size is its own
    assert result.mask.shape == result.confidence.shape == image[::2, ::2].shape[:2]
    assert (result.mask.dtype, result.confidence.dtype) == (np.uint8, np.uint8)
    assert set(np.unique(result.mask)) <= {*(c.id for c in result.labels.classes), 255}
    assert result.labels == segmenter.labels


def test_half_a_camera_has_half_its_geometry(segmenter, folder, arrays) -> None:
    given = {**arrays[0], 'calibration': folder / 'rig.yaml'}
    whole = segmenter(**given)
    half = segmenter(**{**given, 'camera': given['camera'][::2, ::2]})
    assert half.used == whole.used
    assert half.mask.shape == tuple(n // 2 for n in whole.mask.shape)
    assert (half.mask == whole.mask[::2, ::2]).mean() > 0.9
    # twice the pixels of the half: points fall where they fell
    depths = [np.isfinite(each.depth) for each in (whole, half)]
    assert depths[1].sum() == pytest.approx(depths[0].sum(), rel=0.5)


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'camera': [[1, 2], [3]]}, r'camera is no array \(.*\), expected \(H, W, 3\)'),
        ({'camera': np.full((4, 4, 3), 300.0)}, r'camera is \(4, 4, 3\) float64 from 300 to 300'),
        ({'lidar': np.ones((5, 3), np.int32)}, r'lidar is \(5, 3\) int32, expected .* metres'),
        ({'thermal': np.full((4, 4), 0.5)}, r'thermal is \(4, 4\) float64 from 0.5 to 0.5'),
        ({'event': [(1, 2)]}, r'event is a list .*expected sam_ad_perception.Events'),
        ({'camera': np.zeros((333, 640, 3), np.uint8)}, r'camera is 640 x 333 pixels, expected'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_a_sentence(
    segmenter, folder, arrays, change, told
) -> None:
    given = {**arrays[0], 'calibration': folder / 'rig.yaml', **change}
    with pytest.raises(ValueError, match=told):
        segmenter(**given)


def test_depth_of_integer_points_is_refused(arrays) -> None:
    K = [[100.0, 0, 31.5], [0, 100.0, 23.5], [0, 0, 1]]
    camera = sap.CameraModel(64, 48, np.array(K))
    points = [[0.0, 0.0, 5.5], [0.1, 0.1, 2.25]]
    assert np.nanmax(sap.project_depth(np.array(points), camera)) == 5.5
    assert np.nanmax(sap.project_depth(points, camera)) == 5.5
    with pytest.raises(ValueError, match='points are int32, expected floats in metres'):
        sap.project_depth(np.array([[0, 0, 5500]], np.int32), camera)


def test_other_forms_of_the_image_give_the_same_mask(segmenter, arrays) -> None:
    image = arrays[0]['camera']
    wanted = segmenter(camera=image).mask
    alpha = np.full((*image.shape[:2], 1), 7, np.uint8)
    for form in (
        image.tolist(),
        image / 255,
        (image / 255).astype(np.float32),
        image.astype(np.int64),
        np.concatenate([image, alpha], axis=2),
    ):
        assert np.array_equal(segmenter(camera=form).mask, wanted)
    grey = image[:, :, 1]
    repeated = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(segmenter(camera=grey).mask, segmenter(camera=repeated).mask)


def test_the_result_shows_itself(segmenter, arrays) -> None:
    result = segmenter(camera=arrays[0]['camera'])
    assert result.overlay(0.0).tolist() == arrays[0]['camera'].tolist()
    assert np.array_equal(result.overlay(1.0), result.labels.palette[result.mask])
    assert sum(result.shares().values()) == pytest.approx(1)
    road = result.labels.id_of('road')
    assert result.shares()['road'] == pytest.approx((result.mask == road).mean())
    page = result._repr_html_()
    assert 'road' in page
    assert 'mle_sam_demo: camera' in page
    data = re.search(r'base64,([\w+/=]+)', page)
    import base64

    import cv2

    png = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(png[:, :, ::-1], result.overlay())


@pytest.mark.parametrize('kind', [str, Path])
def test_a_zoo_is_named_by_key_file_or_folder(kind, tmp_path) -> None:
    zoo = ROOT / 'models' / 'zoo.yaml'
    entry = yaml.safe_load(zoo.read_text())['models']['mle_sam_fast']
    (tmp_path / 'zoo.yaml').write_text(yaml.safe_dump({'models': {'mine': entry}}))
    (tmp_path / 'checkpoints').symlink_to(ROOT / 'models' / 'checkpoints')
    for source in (tmp_path, tmp_path / 'zoo.yaml'):
        assert list(sap.Segmenter.from_pretrained(kind(source)).experts) == ['mine']
    assert list(sap.Segmenter.from_pretrained(kind('mle_sam_fast')).experts) == ['mle_sam_fast']
    loaded = sap.Segmenter.from_zoo(kind(zoo), 'mle_sam_fast', kind(ROOT / 'models/checkpoints'))
    assert list(loaded.experts) == ['mle_sam_fast']
    with pytest.raises(ValueError, match='mle_sam_dmeo'):
        sap.Segmenter.from_pretrained(kind('mle_sam_dmeo'))
