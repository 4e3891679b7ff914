"""Hooks that are in a network for a while: in one thread, and in no copy, whatever another thread does with the network."""

from __future__ import annotations

import copy
import threading

import pytest

from napari_cam_feedback.models import interruptible
from napari_cam_feedback.models.layers.hooks import copy_module, hooked
from napari_cam_feedback.models.layers.taps import ActivationTap
from napari_cam_feedback.monitor import Callbacks
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


class CannotBeCopied:
    """As what a window's work holds on to, such as a queue or a widget."""

    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'MainThread' object")

    def stop(self) -> bool:
        return False


class LetsOthersIn(nn.Module):
    """A layer in whose copying another thread gets its turn."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act = [act]

    def forward(self, inputs):
        return inputs

    def __deepcopy__(self, memo):
        for act in self.act:
            act()
        return nn.Identity()


def network(first: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(first or nn.Identity(), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 2))


def hooks_in(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) + len(child._forward_pre_hooks) for child in module.modules())


def interrupt(module):
    return interruptible(module, Callbacks(stop=CannotBeCopied().stop))


def tap(module):
    return ActivationTap(module, "1")


def note(module):
    held = CannotBeCopied()
    return hooked(module.modules(), lambda *_: held and None)


def note_before(module):
    held = CannotBeCopied()
    return hooked(module.modules(), lambda *_: held and None, before=True)


@pytest.mark.parametrize("use", [interrupt, tap, note, note_before])
@pytest.mark.parametrize("device", [None, "meta"])
def test_a_copy_has_no_hooks_that_are_there_for_a_while(use, device):
    module = network()
    with use(module):
        copied = copy_module(module, device)
    assert hooks_in(copied) == hooks_in(module) == 0


@pytest.mark.parametrize("use", [interrupt, tap, note, note_before])
def test_nor_those_that_another_thread_puts_in_while_the_copy_is_made(use):
    entered = []

    def act():
        entered.append(use(module))
        entered[0].__enter__()

    module = network(LetsOthersIn(act))
    copied = copy_module(module)
    assert hooks_in(module) > 0
    assert hooks_in(copied) == 0
    entered[0].__exit__(None, None, None)
    assert hooks_in(module) == 0


def test_hooks_of_the_network_itself_are_copied():
    module = network()
    module[1].register_forward_hook(_doubled)
    module[4].register_forward_pre_hook(_halved)
    images = torch.randn(2, 1, 8, 8)
    with interrupt(module):
        copied = copy_module(module)
    assert hooks_in(copied) == 2
    assert torch.equal(copied(images), module(images))
    assert not torch.equal(copy.deepcopy(network()).eval()(images), module(images))


def _doubled(_layer, _inputs, output):
    return 2 * output


def _halved(_layer, inputs):
    return (inputs[0] / 2,)


@pytest.mark.parametrize("before", [False, True])
def test_only_the_thread_that_hooked_is_told(before):
    module, told = network(), []
    with hooked([module[1]], lambda *_: told.append(threading.get_ident()), before=before):
        other = threading.Thread(target=module, args=(torch.zeros(1, 1, 8, 8),))
        other.start()
        other.join()
        module(torch.zeros(1, 1, 8, 8))
    module(torch.zeros(1, 1, 8, 8))
    assert told == [threading.get_ident()]


def test_what_stands_in_the_way_leaves_nothing_behind():
    module = network()

    class Refuses(nn.Module):
        def register_forward_hook(self, *_args, **_kwargs):
            raise RuntimeError("compiled")

    with pytest.raises(RuntimeError, match="compiled"), hooked([module[1], Refuses()], lambda *_: None):
        pass
    assert hooks_in(module) == 0
