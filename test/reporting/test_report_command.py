"""`sam_ad report`: of a labelled bag, of masks alone, of a folder; what it refuses."""

from __future__ import annotations

import re
import shutil

import pytest

from sam_ad_perception.commands import cli
from sam_ad_perception.commands.report import about_machine, about_networks
from sam_ad_perception.core.console.installation import share_folder
from sam_ad_perception.modeling.zoo.entries import load_zoo


def test_masks_alone_need_the_recording(run, tmp_path, capsys):
    assert cli.main(['report', str(run.outputs), '--out', str(tmp_path)]) == 2
    assert 'holds masks but no sensor (label --no-copy): name the recording' in (
        capsys.readouterr().err
    )
    command = ['report', str(run.outputs), '--inputs', str(run.inputs), '--out', str(tmp_path)]
    assert cli.main(command) == 0
    told = capsys.readouterr().err
    first = re.search(r'labelled: (Camera black .*)', told)[1]
    wanted = (
        r'Camera black 0\.3 to 0\.4 s, lidar \w.* 0\.5 to 0\.6 s; 8 of 8 masks, 2 without a '
        r'sensor; longest gap 100 ms of bag time, slowest mask \d+ ms on the machine that made '
        r'it\.'
    )
    assert re.fullmatch(wanted, first), first
    page = (tmp_path / 'report.html').read_text()
    assert first in page
    assert '<h2>Outages</h2>' in page
    assert '<dt>gate</dt>' in page
    assert re.search(r'[\d.]+ % of the pixels were judged', page)
    for fact in ('versions', 'page written on', 'topics', 'command', 'network demo'):
        assert f'<dt>{fact}</dt>' in page
    anchors = set(re.findall(r'href="#(at-\d+)"', page))
    assert len(anchors) == 2
    assert anchors <= set(re.findall(r'id="(at-\d+)"', page))  # every outage has its picture


def test_a_folder_without_masks_says_what_to_do(run, tmp_path, capsys):
    shutil.copytree(run.inputs, tmp_path / 'bags' / 'a')
    shutil.copytree(run.inputs, tmp_path / 'bags' / 'b')
    assert cli.main(['report', str(tmp_path / 'bags')]) == 2
    assert '`sam_ad label BAG --out DIR` makes it' in capsys.readouterr().err
    assert cli.main(['report', str(run.inputs)]) == 2
    assert 'semantic' in capsys.readouterr().err


def test_networks_that_saw_simulation_alone_say_so():
    zoo = load_zoo(share_folder('models') / 'zoo.yaml')
    facts, warning = about_networks(zoo, ['mle_sam_demo', 'mine'])
    assert 'mle_sam_demo: trained on simulation only' in warning
    assert 'sha256 ' in facts['network mle_sam_demo']
    assert facts['network mine'] == 'not in the zoo of this machine'
    assert about_networks(zoo, ['mle_sam_paper'])[1] == ''
    # every published small network was trained by the simulator, and says so
    assert all(spec.checkpoint.trained_on for spec in zoo.values() if spec.checkpoint.file)


def test_the_machine_is_named():
    facts = about_machine('labelled on', 3)
    assert '3 threads of the network' in facts['labelled on']
    assert 'numpy' in facts['versions']


@pytest.mark.parametrize('wanted', ['--inputs', '--out'])
def test_options_of_one_bag_are_refused_for_two(run, wanted, tmp_path, capsys):
    bags = [str(run.outputs), str(run.outputs)]
    assert cli.main(['report', *bags, wanted, str(run.inputs)]) == 2
    assert '--inputs and --out are of one bag, got 2' in capsys.readouterr().err
