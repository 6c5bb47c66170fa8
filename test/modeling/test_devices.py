"""What is said of a device, where there is a GPU and where there is none."""

import pytest
import torch

from sam_ad_perception.modeling.devices import is_lost, memory_mib, release_memory


@pytest.mark.parametrize(
    ('err', 'lost'),
    [
        (RuntimeError('CUDA error: unspecified launch failure'), True),
        (torch.AcceleratorError('the device is gone'), True),
        (torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'), False),
        (RuntimeError('mat1 and mat2 shapes cannot be multiplied'), False),
        (ValueError('CUDA error: not from CUDA'), False),
    ],
)
def test_only_errors_of_cuda_itself_mean_that_the_gpu_is_lost(err, lost):
    assert is_lost(err) is lost


def test_a_processor_has_no_memory_of_its_own():
    assert memory_mib('cpu') == {}
    release_memory()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='torch finds no GPU')
def test_memory_of_a_gpu_is_told_and_given_back():
    release_memory()
    before = memory_mib('cuda:0')
    tensor = torch.zeros(64 << 20, dtype=torch.uint8, device='cuda:0')
    held = memory_mib('cuda:0')
    assert held['allocated'] >= before.get('allocated', 0.0) + 64
    assert held['reserved'] >= held['allocated']
    del tensor
    release_memory()
    assert memory_mib('cuda:0')['allocated'] <= held['allocated'] - 64
