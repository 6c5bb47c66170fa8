"""Pages in a real browser: nothing too wide, too small or too faint; the timeline can be zoomed.

Pictures of each page, wide and narrow, light and dark, are left in the folder that the environment
variable PAGE_PICTURES names.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.reporting.check_page import CheckPage, render_check_page
from sam_ad_perception.reporting.drawing.growth_plot import curve_colors, draw_growth
from sam_ad_perception.reporting.drawing.palette import contrast, text_on
from sam_ad_perception.reporting.drive_page import PageText, write_drive_page
from sam_ad_perception.reporting.page import render_views
from sam_ad_perception.reporting.run_rates import RunRate
from sam_ad_perception.reporting.sheets_page import Sheet, render_sheets
from tools.web_pages.audit import look_at
from training.evaluation.measurement import Score, Setting
from training.evaluation.presentation.page import make_page
from training.evaluation.presentation.tables import TextTable
from training.evaluation.routing_rows import SystemResult

PICTURES = os.environ.get('PAGE_PICTURES')


@pytest.fixture(scope='module')
def pages(run, tmp_path_factory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp('pages')
    runs = (RunRate('lockstep', 'waits for each mask', 8, 8, 4.0, 100.0, 480.0),
            RunRate('live', 'at the pace of the drive', 8, 2, 0.8, 400.0, None))  # fmt: skip
    text = PageText('A drive', 'With failing sensors.', {'drive': 'a/very/long/' * 20},
                    warning='demo: trained on simulation only', runs=runs)  # fmt: skip
    report = write_drive_page(run.inputs, run.outputs, folder, LABEL_SPACES['cityscapes'], text)
    fact = {'topic': '/sensing/camera/front_left/image_rect/compressed, 1200 messages', 'why': 'x'}
    check = folder / 'check.html'
    lines = '/**:\n  ros__parameters:\n    ' + 'long_name_' * 20 + ': 1\n'
    states = [('FAIL', 'camera', 'no geometry'), ('warn', 'lidar', 'late'), ('ok', 'x', 'well')]
    page = CheckPage('Check of a', 'a' * 200, states, {'camera': fact, 'lidar': fact}, {}, lines,
                     'sam_ad label a --out b')  # fmt: skip
    check.write_text(render_check_page(page))
    views = folder / 'views.html'
    views.write_text(render_views('Two cameras', {'front': report.read_text(), 'rear': 'rear'}))
    sheets = folder / 'sheets.html'
    sheets.write_text(_sheets())
    evaluation = folder / 'evaluation.html'
    evaluation.write_text(_evaluation())
    return {'report': report, 'check': check, 'views': views, 'sheets': sheets,
            'evaluation': evaluation}  # fmt: skip


def _evaluation() -> str:
    """A page as an evaluation writes it: all classes, each set of sensors, three conditions."""
    space = LABEL_SPACES['cityscapes']
    generator = np.random.default_rng(0)
    truth = generator.integers(0, len(space), (60, 80), dtype=np.uint8)
    scores = {}
    names = ('camera', 'thermal', 'event', 'lidar')
    for size in range(1, 5):
        score = Score(ConfusionMatrix(len(space)), ConfusionMatrix(len(space)))
        mask = np.where(generator.random(truth.shape) < 0.2 * size, truth, 0).astype(np.uint8)
        score.native.update(mask, truth)
        for condition in ('day', 'night', 'night+rain'):
            score.conditions[condition] = score.native
        sure = generator.integers(0, 256, truth.shape, dtype=np.uint8)
        score.confidence.update(sure, mask == truth)
        scores[Setting(names[:size])] = score
    head = ('sensors', *space.names)
    table = TextTable('IoU of each class', head, (('all', *['12.3'] * len(space)),), 'percent')
    result = SystemResult('mle_sam_demo', scores)
    return make_page('Evaluation', {'command': 'x' * 150}, [result], [table], space)


def _sheets() -> str:
    """A page as benchmarks write it, with a plot over decades and a table of many columns."""
    sizes = [0.3, 1, 3, 1048.576]
    curves = {'health': [1.0, 2.0, None, 30.0], 'network': [400.0, 400.0, 400.0, 400.0]}
    colors = curve_colors(list(curves))
    plot = draw_growth('sweep, thousand points (log)', 'ms per frame (log)', sizes, curves, colors)
    columns = ['stage', *(f'column {n} of many' for n in range(12))]
    rows = [[f'row_{n}', *['123.45'] * 12] for n in range(3)]
    return render_sheets(
        'Cost', [Sheet('A plot', drawings=[plot, plot], legend=colors, note='log'),
                 Sheet('A table', columns, rows)], {'command': 'python -m ' + 'x' * 120},
    )  # fmt: skip


@pytest.mark.parametrize('name', ['report', 'check', 'views', 'sheets', 'evaluation'])
def test_nothing_is_too_wide_too_small_or_too_faint(pages, browser, name) -> None:  # type: ignore[no-untyped-def]
    looks = list(look_at(browser, pages[name], Path(PICTURES) if PICTURES else None))
    assert {(each.width, each.scheme) for each in looks} == {
        (1200, 'light'), (1200, 'dark'), (390, 'light'), (390, 'dark')}  # fmt: skip
    assert [fault for each in looks for fault in each.faults] == []
    assert min(each.smallest[0] for each in looks) >= 12
    assert browser.errors == []


def test_the_look_sees_into_the_view_that_is_shown(browser, tmp_path) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / 'views.html'
    faint = '<body style="background: #fff"><p style="width: 800px; color: #aaa">faint</p>'
    page.write_text(
        render_views('Two', {'front': faint, 'rear': '<p style="font-size: 3px">x</p>'})
    )
    faults = ' '.join(fault for each in look_at(browser, page) for fault in each.faults)
    assert "contrast 2.32: 'faint'" in faults
    assert 'at 390 px, light: 418 px too wide' in faults
    assert 'text of 3.0 px' not in faults  # the other view is hidden


def test_the_look_finds_what_is_wrong(browser, tmp_path) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / 'bad.html'
    page.write_text(
        '<!DOCTYPE html><meta name="viewport" content="width=device-width"><body '
        'style="background: #fff"><p style="width: 800px; color: #aaa">faint</p>'
        '<svg viewBox="0 0 1000 20" width="300"><text y="12" font-size="12">small</text></svg>'
    )
    faults = ' '.join(fault for each in look_at(browser, page) for fault in each.faults)
    assert 'at 390 px, light: 418 px too wide' in faults
    assert "text of 3.6 px: 'small'" in faults
    assert "contrast 2.32: 'faint'" in faults  # (1.05) / (0.4020 + 0.05)


def test_the_timeline_zooms_and_tells(pages, browser) -> None:  # type: ignore[no-untyped-def]
    browser.open(pages['report'], 1200)
    seen = browser.run(
        """(() => {
          const bar = [...chart.querySelectorAll('.along rect')].at(-1);
          const before = +bar.getAttribute('width'), size = chart.getBoundingClientRect().height;
          document.getElementById('closer').click();
          const after = +bar.getAttribute('width');
          const box = chart.getBoundingClientRect();
          chart.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + box.width / 2, clientY: box.top + 20}));
          const told = readout.textContent, zoom = chart.dataset.zoom;
          document.getElementById('whole').click();
          return { ratio: after / before, told, zoom, back: +bar.getAttribute('width') === before,
                   grown: box.height - size };
        })()"""  # noqa: E501
    )
    assert seen['ratio'] == pytest.approx(2)
    assert seen['zoom'] == '2.00'
    assert seen['back']
    assert abs(seen['grown']) < 2  # texts keep their size
    assert 'camera: ' in seen['told']
    assert browser.errors == []


def test_the_timeline_is_as_wide_as_the_screen_and_two_fingers_zoom_it(pages, browser) -> None:  # type: ignore[no-untyped-def]
    browser.call('Emulation.setEmulatedMedia', features=[])
    browser.open(pages['report'], 390)
    seen = browser.run(
        """(() => {
          for (const name of ['closer', 'wider', 'whole']) document.getElementById(name).click();
          const box = chart.getBoundingClientRect(), texts = [...chart.querySelectorAll('.tick')].filter((e) => e.getAttribute('text-anchor') === 'middle' && getComputedStyle(e).visibility === 'visible');
          const places = texts.map((e) => e.getBoundingClientRect()), touch = texts.length > 1 && places.some((p, i) => i && p.left < places[i - 1].right);
          const bars = [...chart.querySelectorAll('.along rect')].map((e) => e.getBoundingClientRect().right);
          const finger = (kind, id, share) => chart.dispatchEvent(new PointerEvent(kind, {pointerId: id, clientX: box.left + share * box.width, clientY: box.top + 20}));
          finger('pointerdown', 1, 0.5); finger('pointerdown', 2, 0.6); finger('pointermove', 2, 0.7);
          return { wide: box.right, end: Math.max(...bars), ticks: texts.length, touch, zoom: +chart.dataset.zoom,
                   text: parseFloat(getComputedStyle(texts[0]).fontSize) * texts[0].getScreenCTM().a };
        })()"""  # noqa: E501
    )
    assert 350 < seen['wide'] <= 390
    assert seen['end'] == pytest.approx(seen['wide'], abs=20)  # the whole run is in sight
    assert seen['ticks'] > 1
    assert not seen['touch']
    assert seen['zoom'] == pytest.approx(2)
    assert seen['text'] >= 12
    assert browser.errors == []


@pytest.mark.parametrize('blue', range(0, 256, 5))
def test_text_is_readable_on_every_colour(blue: int) -> None:
    for red in range(0, 256, 15):
        for green in range(0, 256, 15):
            color = f'#{red:02x}{green:02x}{blue:02x}'
            assert contrast(text_on(color), color) >= 4.5, color


def test_contrast_is_that_of_wcag() -> None:
    """Values of the W3C's own examples."""
    assert contrast('#000000', '#ffffff') == pytest.approx(21)
    assert contrast('#777777', '#ffffff') == pytest.approx(4.48, abs=0.01)
    assert text_on('#c93434') == '#ffffff'
