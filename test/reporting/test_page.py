"""The page as a person gets it: whole, without anything from elsewhere, on a wide and a narrow
screen of a real browser."""

import re

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.reporting.drive_log import read_drive_log
from sam_ad_perception.reporting.drive_page import (
    MOMENTS_AT_MOST,
    PageText,
    choose_moments,
    write_drive_page,
)

SPACE = LABEL_SPACES['cityscapes']

LOOK = """(async () => {
  const video = document.getElementById('video');
  if (video.readyState < 2) await new Promise((done) => video.onloadeddata = done);
  video.pause();
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  const levels = [];
  for (const share of [0.1, 0.9]) {
    await new Promise((done) => { video.onseeked = done; video.currentTime = share * video.duration; });
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0);
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    levels.push(data.reduce((sum, value) => sum + value, 0) / data.length);
  }
  const images = [...document.images];
  return {
    levels, duration: video.duration,
    playhead: document.getElementById('playhead').getBoundingClientRect().left / chart.getBoundingClientRect().right,
    images: images.length, decoded: images.filter((i) => i.complete && i.naturalWidth > 0).length,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    headings: [...document.querySelectorAll('h2')].map((h) => h.textContent),
  };
})()"""  # noqa: E501


@pytest.fixture(scope='module')
def page(run, tmp_path_factory):
    without = {}
    for stamp_ns, truth in run.truths.items():
        without[stamp_ns] = ConfusionMatrix(len(SPACE), SPACE.ignore_id)
        without[stamp_ns].update(truth, truth)
    text = PageText('A drive <b>& more', facts={'network': 'demo'})
    folder = tmp_path_factory.mktemp('page')
    return write_drive_page(run.inputs, run.outputs, folder, SPACE, text, without=without)


def test_the_page_is_whole_and_loads_nothing(page):
    text = page.read_text()
    assert 'A drive &lt;b&gt;&amp; more' in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources
    assert all(source.startswith(('data:', '#at-')) for source in sources)
    assert 'class="worse"' in text  # a fault with a loss


def test_the_video_has_a_picture_per_mask_and_shows_what_was_held_back(page, run):
    capture = cv2.VideoCapture(str(page.with_name('overlay.webm')))
    pictures = []
    while (read := capture.read())[0]:
        pictures.append(read[1])
    assert len(pictures) == len(run.stamps)
    # Frames 2 and 3 have a black camera; its tile is right of the mask.
    tile = [picture[25:160, 500:700].mean() for picture in pictures]
    assert max(tile[2], tile[3]) < 30 < min(tile[0], tile[4])


@pytest.mark.parametrize('width', [1280, 400])
def test_a_browser_shows_it_without_an_error(page, browser, width):
    browser.open(page, width)
    seen = browser.run(LOOK)
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith('data:')] == [page.as_uri()]
    assert seen['images'] > 10
    assert seen['decoded'] == seen['images']
    assert seen['duration'] == pytest.approx(0.8, abs=0.15)
    assert min(seen['levels']) > 60  # a quarter of it is alpha, and it is not black
    assert seen['levels'][0] != seen['levels'][1]
    assert seen['overflow'] <= 0
    assert {'The drive', 'Timeline', 'Faults', 'Latency', 'How to go on'} <= set(seen['headings'])
    assert seen['playhead'] > 0.75  # it followed the video to nine tenths of the drive


def test_a_click_in_the_timeline_moves_the_video(page, browser):
    browser.open(page, 1280)
    browser.run(LOOK)
    browser.run(
        """(() => {
          const chart = document.getElementById('timeline'), box = chart.getBoundingClientRect();
          const x = box.left + box.width * 0.55;
          chart.dispatchEvent(new MouseEvent('click', {clientX: x, clientY: box.top + 9}));
        })()"""
    )
    share = browser.run('video.currentTime / video.duration')
    assert 0.4 < share < 0.65


def test_a_run_without_truth_has_neither_quality_nor_faults(run, tmp_path):
    text = write_drive_page(run.outputs, run.outputs, tmp_path, SPACE, PageText('mine'))
    assert 'Quality against the ground truth' not in text.read_text()
    assert '<h2>Faults</h2>' not in text.read_text()


def test_moments_show_each_situation_once(run):
    frames = read_drive_log(run.inputs, run.outputs, SPACE).frames
    chosen = choose_moments(frames)
    shown = [(f.status.used, f.condition, str(f.faults)) for f in frames
             if f.status.stamp_ns in chosen]  # fmt: skip
    assert len(shown) == len(set(shown)) == len(chosen) <= MOMENTS_AT_MOST
    assert {condition for _, condition, _ in shown} == {'day', 'night'}
    assert np.isin(run.stamps[5], list(chosen))  # the only frame without a lidar
