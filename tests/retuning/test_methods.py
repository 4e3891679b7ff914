"""The retune methods: what each does to images and activations, that each works with any network, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torchvision
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from core_builders import Hand, known, plain, same_weights, small_gap, stripes
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.explanations.maps.gradients import GradCam
from napari_cam_feedback.models import Classifier, build_classifier
from napari_cam_feedback.models.layers.target import choose_layer
from napari_cam_feedback.models.parallel import one_process
from napari_cam_feedback.retuning import METHODS, RetuneConfig, retune, run_to_end
from napari_cam_feedback.retuning.head_refit import PENALTIES, HeadRefit, find_last_linear
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.images.refill import Replacer
from napari_cam_feedback.retuning.losses import energy, rrr
from napari_cam_feedback.retuning.methods import Batch, Context, Method, Outputs, make_methods
from napari_cam_feedback.retuning.methods.activations import drop_filters
from napari_cam_feedback.retuning.optimisation.trainer import LONGEST_GRADIENT, RetuneTrainer
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def painted(inputs: torch.Tensor, masks: torch.Tensor, inpainted: torch.Tensor | None = None) -> MaskedSet:
    keys = tuple(f"train/{n}" for n in range(len(inputs)))
    return MaskedSet(np.arange(len(inputs)), keys, inputs, masks, torch.arange(len(inputs)) % 2, inpainted)


def make(donors: MaskedSet, method: str, **settings: object) -> list[Method]:
    config = RetuneConfig(method=method, **settings)
    return make_methods(config, Context(config, donors, Replacer(config, donors)))


# Images -------------------------------------------------------------------------------------------------------------

CORNER = torch.zeros(2, 4, 4, dtype=torch.bool)
CORNER[0, :2, :2] = CORNER[1, 2:, 2:] = True
#: Two images of the values 1 and 2, and 10 and 20 where they are inpainted.
TWO = painted(
    torch.stack([torch.full((1, 4, 4), v) for v in (1.0, 2.0)]),
    CORNER,
    torch.stack([torch.full((1, 4, 4), v) for v in (10.0, 20.0)]),
)


def batch(value: float = 7.0) -> Batch:
    return Batch(torch.full((3, 1, 4, 4), value), torch.tensor([1, 1, 0]), TWO)


def test_inpaint_learns_the_painted_images_inpainted_under_their_labels():
    (method,) = make(TWO, "inpaint")
    given = batch()
    changed = method.change(given, torch.Generator())
    assert changed.inputs is given.inputs
    assert torch.equal(changed.painted.labels, TWO.labels)
    for image, mask, before, after in zip(changed.painted.inputs, CORNER, (1, 2), (10, 20), strict=True):
        assert (image[0][mask] == after).all()
        assert (image[0][~mask] == before).all()
    assert (TWO.inputs[0] == 1).all()


def test_a_retune_by_inpainting_never_shows_the_painted_part_of_the_images_learnt_from():
    dataset = stripes({"train": 16, "val": 8})
    masks = known(dataset, count=3)
    seen: list[torch.Tensor] = []
    classifier = small_gap(dataset.class_names)
    classifier.module.register_forward_pre_hook(lambda _module, given: seen.append(given[0].detach().clone()))
    run_to_end(
        retune(classifier, dataset, masks, RetuneConfig(method="inpaint", iterations=1, batch_size=4, painted_per_step=3))
    )
    (stacked,) = [each for each in seen if len(each) == 7]
    # The tag is a patch of one value; the biharmonic equation makes it a smooth surface of its surroundings.
    assert (stacked[4:, 0, :3, :3].flatten(1).std(1) > 0.01).all()


def test_crop_puts_pieces_of_training_images_where_it_is_painted():
    (method,) = make(TWO, "crop")
    inputs = torch.arange(100.0, 148.0).view(3, 1, 4, 4)
    changed = method.change(Batch(inputs, torch.zeros(3), TWO), torch.Generator().manual_seed(0)).painted
    for image, mask, value in zip(changed.inputs, CORNER, (1, 2), strict=True):
        assert (image[0][~mask] == value).all()
        assert image[0][mask].min() >= 100
        assert len({int(v) // 16 for v in image[0][mask] - 100}) == 1  # of one image


@pytest.mark.parametrize(("fill", "values"), [("inpaint", (10, 20)), ("donor", (2, 1))])
def test_counterexamples_come_to_the_training_images_with_the_label_of_their_originals(fill, values):
    (method,) = make(TWO, "counterexample", fill=fill)
    changed = method.change(batch(), torch.Generator().manual_seed(0))
    assert changed.labels.tolist() == [1, 1, 0, 0, 1]
    assert (changed.inputs[:3] == 7).all()
    assert changed.painted is TWO
    for row, (image, mask) in enumerate(zip(changed.inputs[3:], CORNER, strict=True)):
        # The donor's patch is where it was on the donor.
        there = mask if fill == "inpaint" else CORNER[1 - row]
        assert (image[0][there] == values[row]).all()


# Activations --------------------------------------------------------------------------------------------------------


def test_selective_dropout_by_hand():
    activations = torch.zeros(3, 4, 1, 3)
    activations[0, :, 0] = torch.tensor([[1.0, 1, 9], [2, 3, 0], [-9, -9, 0], [4, 0, 0]])
    activations[1] = activations[2] = activations[0]
    activations.requires_grad_(True)
    masks = torch.tensor([[[True, True, False]], [[False, False, True]], [[False, False, False]]])
    changed = drop_filters(activations, masks, 1)
    # Means under the mask: 1, 2.5, -9, 2; then 9, 0, 0, 0; then nothing is masked.
    factors = torch.tensor([[4 / 3, 0, 4 / 3, 4 / 3], [0, 4 / 3, 4 / 3, 4 / 3], [1, 1, 1, 1]]).view(3, 4, 1, 1)
    assert torch.allclose(changed, activations * factors)
    changed.sum().backward()
    assert torch.allclose(activations.grad, factors.expand_as(activations))


def test_selective_dropout_touches_the_painted_images_only():
    (method,) = make(TWO, "dropout", dropout_filters=2)
    activations = torch.rand(5, 4, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    changed = method.intervene(activations, slice(1, 3), CORNER)
    assert torch.equal(changed[[0, 3, 4]], activations[[0, 3, 4]])
    assert ((changed[1:3] == 0).flatten(2).all(2).sum(1) == 2).all()


@pytest.mark.parametrize(("filters", "dropped"), [(4, 1), (25, 2), (64, 6)])
def test_a_tenth_of_the_filters_is_dropped_unless_said_otherwise(filters, dropped):
    (method,) = make(TWO, "dropout")
    changed = method.intervene(torch.rand(2, filters, 4, 4) + 0.1, slice(0, 2), CORNER)
    assert ((changed == 0).flatten(2).all(2).sum(1) == dropped).all()


def outputs_of(method: Method, classifier: Classifier, given: Batch) -> Outputs:
    """One forward pass as the trainer does it, of the painted images alone."""
    rows = slice(0, len(given.painted))
    with torch.enable_grad(), classifier.tap(cut=True) as tap:
        classifier.module(given.painted.inputs)
        activations = tap.take()
        kept = method.intervene(activations, rows, given.painted.masks)
    assert isinstance(classifier.module, Hand)
    module = classifier.module
    return Outputs(module.head(module.pool(kept).flatten(1)), activations, network=module)


def hand(size: int = 4) -> Classifier:
    classifier = Classifier(Hand(), ("a", "b"), plain(size, size), "features", "hand")
    classifier.module.requires_grad_(True)
    return classifier


def noisy() -> Batch:
    images = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1), painted(images, CORNER))


def test_energy_is_of_the_true_class_s_grad_cam_and_changes_only_what_lies_above_the_layer():
    classifier, given = hand(), noisy()
    (method,) = make(given.painted, "energy")
    value = method.penalty(given, outputs_of(method, classifier, given))
    maps = GradCam()(classifier, given.painted.inputs, given.painted.labels[:, None]).maps[:, 0]
    assert value.item() == pytest.approx(float(energy(maps, CORNER)), rel=1e-5)
    assert 0 < value.item() < 1
    value.backward()
    assert classifier.module.features.weight.grad is None  # below the cut made here
    # Activations a and -a: the map of class c is (W_c0 - W_c1) a, whose positive share depends on the sign of that alone.
    assert classifier.module.head.weight.grad.abs().max() < 1e-6


def test_rrr_gradcam_is_of_the_predicted_class_s_signed_grad_cam():
    classifier, given = hand(), noisy()
    (method,) = make(given.painted, "rrr-gradcam")
    value = method.penalty(given, outputs_of(method, classifier, given))
    squares = given.painted.inputs[:, 0].square()
    assert value.item() == pytest.approx(float(((squares * CORNER).sum((1, 2)) / squares.sum((1, 2))).mean()), rel=1e-5)


def test_rrr_sends_the_painted_images_through_the_network_once_more():
    classifier, given = hand(), noisy()
    (method,) = make(given.painted, "rrr")
    value = method.penalty(given, Outputs(torch.zeros(2, 2), network=classifier.module))
    # A linear network: the gradient of logit c is (W_c0 - W_c1) / 16 at each of the 4 masked places; 1 - 2 or 3 + 1.
    predicted = classifier.logits(given.painted.inputs).argmax(1).tolist()
    assert value.item() == pytest.approx(sum(4 * ((-1, 4)[c] / 16) ** 2 for c in predicted) / 2)


def test_tap_is_of_every_convolution_whose_output_has_places():
    classifier = build_classifier("small-gap", ("a", "b"), plain(16, 16))
    (method,) = make(TWO, "tap")
    convolutions = [name for name, layer in classifier.module.named_modules() if isinstance(layer, nn.Conv2d)]
    assert list(method.layers(classifier)) == convolutions
    assert len(convolutions) > 2


# Any network --------------------------------------------------------------------------------------------------------

SIZE = 32


class FlatNet(nn.Module):
    """No global pooling, dropout, an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(8))
        self.rest = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(6 * 16, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.features(x))


def small_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=2)


def small_vit() -> nn.Module:
    net = torchvision.models.VisionTransformer(SIZE, 8, 4, 2, 16, 32, num_classes=2)
    nn.init.normal_(net.heads.head.weight)  # zero in a fresh one, which owes nothing to any pixel
    return net


def small_vgg() -> nn.Module:
    from torchvision.models.vgg import make_layers

    body = [make_layers([8, "M", 8, "M", 16, "M"]), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(64, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 2))


def small_mobilenet() -> nn.Module:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    blocks = [
        InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1.0),
        InvertedResidualConfig(16, 3, 32, 24, True, "HS", 1, 1, 1.0),
    ]
    return MobileNetV3(blocks, 32, num_classes=2)


def small_resnet() -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)
    net.layer3 = net.layer4 = nn.Identity()
    net.fc = nn.Linear(128, 2)
    return net


#: Networks made of torchvision's own parts, small.
SMALL = {
    "flatten": FlatNet,
    "resnet": small_resnet,
    "vgg": small_vgg,
    "mobilenet": small_mobilenet,
    "densenet": lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=2),
    "convnext": small_convnext,
    "vit": small_vit,
}
LARGE = ("resnet18", "vgg11", "mobilenet_v3_small", "densenet121", "convnext_tiny", "vit_b_16")


def wrap(module: nn.Module, layer: str | None = None, size: int = SIZE) -> Classifier:
    name = choose_layer(module, 3, (size, size), layer=layer).name
    return Classifier(module, ("a", "b"), plain(size, size, 3), name, "hand-made")


@pytest.fixture(scope="module", params=SMALL)
def network(request) -> tuple[str, Classifier]:
    torch.manual_seed(0)
    return request.param, wrap(SMALL[request.param]())


def two_steps(classifier: Classifier, method: str) -> None:
    """Check and take two steps; each term must be a number, not below 0, and the weights must change."""
    size = classifier.preprocessing.size[0]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, size, size, generator=generator)
    masks = torch.zeros(2, size, size, dtype=torch.bool)
    masks[:, : size // 4, : size // 4] = True
    two = painted(images[4:], masks, images[4:].flip(3))
    methods = make(two, method, fill="mean")
    for each in methods:
        each.check(classifier)
    tuned = classifier.copy()
    labels = torch.tensor([0, 1, 0, 1])
    if methods[0].solves:
        refit = HeadRefit(tuned, 4, 4, 2)
        refit.collect(images[:4], labels)
        assert np.isfinite(refit.fit(0)["total"])
    else:
        trainer = RetuneTrainer(
            tuned, methods, one_process(tuned.device), learning_rate=1e-3, strength=None, freeze=(), freeze_batch_norm=True
        )
        for _ in range(2):
            given = Batch(images[:4], labels, two)
            for each in methods:
                given = each.change(given, generator)
            terms = trainer.step(given, [each.extra_inputs(given, generator) for each in methods])
            assert terms is not None
            assert all(np.isfinite(value) and value >= 0 for value in terms.values()), terms
            penalties = set(terms) - {"cross-entropy", "total"}
            expected = {each.name for each in methods if type(each).penalty is not Method.penalty}
            assert penalties == expected
            # The positive part of a map may lie elsewhere; without training MobileNet's activations are about 1e-8.
            assert all(terms[name] > 0 for name in penalties - {"energy"}), terms
    assert not same_weights(classifier, tuned)
    assert all(torch.isfinite(value).all() for value in tuned.module.state_dict().values())


@pytest.mark.parametrize("scaled", [False, True])
def test_a_long_gradient_is_cut_also_where_half_precision_scales_it(scaled, monkeypatch):
    torch.manual_seed(0)
    classifier = wrap(small_vgg())
    with torch.no_grad():
        classifier.module[-1].weight *= 1e3
    parts = [MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=16.0))] if scaled else []
    fabric = Fabric(accelerator="cpu", devices=1, plugins=parts)
    if scaled:
        # A scaler meets GPUs only, where Adam is not fused.
        adam = torch.optim.Adam
        monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, fused: adam(parameters, lr=lr))
    trainer = RetuneTrainer(classifier, [], fabric, learning_rate=1e-3, strength=None, freeze=(), freeze_batch_norm=True)
    images = torch.randn(6, 3, SIZE, SIZE)
    two = painted(images[4:], torch.ones(2, SIZE, SIZE, dtype=torch.bool), images[4:])
    assert trainer.step(Batch(images[:4], torch.tensor([0, 1, 0, 1]), two), []) is not None
    gradients = torch.cat([p.grad.flatten() for p in classifier.module.parameters() if p.grad is not None])
    assert float(gradients.norm()) == pytest.approx(LONGEST_GRADIENT, rel=1e-3)


#: What torch cannot do, and says.
WITHOUT = {("mobilenet", "rrr"): "Hardsigmoid"}


@pytest.mark.lengthy
@pytest.mark.parametrize("method", [*METHODS, "auto", "dropout+rrr+rrr-gradcam+energy+tap+transplant"])
def test_every_method_takes_steps_with_every_kind_of_network_or_says_why_not(network, method):
    name, classifier = network
    parts = [each for each in method.split("+") if (name, each) in WITHOUT]
    if not parts:
        two_steps(classifier, method)
        return
    with pytest.raises(RetuneError) as caught:
        two_steps(classifier, method)
    assert str(caught.value) == (
        f"{parts[0]} needs second derivatives, and this network has a layer without ({WITHOUT[name, parts[0]]}); "
        "choose actdiff or transplant."
    )


@pytest.mark.slow
@pytest.mark.parametrize("arch", LARGE)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_steps_with_torchvision_s_networks_or_says_why_not(arch, method):
    size = 64
    classifier = build_classifier(f"torchvision:{arch}", ("a", "b"), plain(size, size, 3))
    for name, weight in classifier.module.named_parameters():
        if name == "heads.head.weight":
            nn.init.normal_(weight)  # zero in a fresh transformer, which owes nothing to any pixel
    if (arch, method) == ("mobilenet_v3_small", "rrr"):
        with pytest.raises(RetuneError, match=r"without \(Hardsigmoid\)"):
            two_steps(classifier, method)
    else:
        two_steps(classifier, method)


# What is refused before the first step ------------------------------------------------------------------------------


def perceptron() -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 5), nn.ReLU(), nn.Linear(5, 2))
    return wrap(module)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.needs_places])
def test_methods_of_places_are_refused_where_the_layer_has_none(method):
    with pytest.raises(RetuneError) as caught:
        two_steps(perceptron(), method)
    assert str(caught.value) == (
        f"The method {method} must know where in the image an activation is, and layer '2' puts out 5 features of the image "
        "as a whole; choose the method actdiff or transplant."
    )


def test_where_another_layer_has_places_it_is_named():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)
    )
    with pytest.raises(RetuneError, match=r"choose a layer with maps, such as '0', or the method actdiff or transplant\.$"):
        two_steps(wrap(module, layer="4"), "pas")


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.needs_places and name != "tap"])
def test_the_other_methods_take_a_perceptron_too(method):
    two_steps(perceptron(), method)


def test_tap_needs_a_convolution():
    with pytest.raises(RetuneError, match=r"tap penalises what convolutions put out, and this network has none whose"):
        two_steps(perceptron(), "tap")


@pytest.mark.parametrize("method", ["rrr-gradcam", "energy"])
def test_of_methods_of_maps_only_what_lies_above_the_layer_must_have_second_derivatives(method):
    torch.manual_seed(0)
    module = small_mobilenet()
    two_steps(wrap(module), method)
    with pytest.raises(RetuneError, match=rf"^{method} needs second derivatives, .* \(Hardsigmoid\); choose actdiff or"):
        two_steps(wrap(module, layer="features.1.block.0"), method)


def test_dropping_every_filter_is_refused():
    with pytest.raises(RetuneError, match=r"would switch off all 6 filters of layer .*; set dropout_filters to fewer"):
        make(TWO, "dropout", dropout_filters=6)[0].check(wrap(FlatNet()))


def test_a_network_that_cannot_be_differentiated_twice_is_found_before_the_run_starts():
    dataset = stripes({"train": 8, "val": 4})
    classifier = build_classifier("torchvision:mobilenet_v3_small", dataset.class_names, plain(SIZE, SIZE))
    with pytest.raises(RetuneError, match=r"^rrr needs second derivatives, and this network .* \(Hardsigmoid\)"):
        retune(classifier, dataset, known(dataset, count=2), RetuneConfig(method="transplant+rrr"))


class Once(torch.autograd.Function):
    """The square, with a gradient that torch cannot differentiate."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return 2 * x * gradient


class OnceNet(Hand):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(Once.apply(self.pool(self.features(x)).flatten(1)))


@pytest.mark.parametrize("method", ["rrr", "energy"])
def test_a_layer_of_the_user_s_own_without_second_derivatives_is_found_too(method):
    classifier = Classifier(OnceNet(), ("a", "b"), plain(4, 4), "features", "hand")
    with pytest.raises(RetuneError, match=rf"^{method} needs second derivatives, .* has a layer without; choose"):
        make(TWO, method)[0].check(classifier)


def test_a_layer_that_the_logits_do_not_depend_on_is_found():
    class Aside(FlatNet):
        def __init__(self) -> None:
            super().__init__()
            self.aside = nn.Conv2d(3, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.aside(x)
            return super().forward(x)

    with pytest.raises(RetuneError, match="The logits do not depend on layer 'aside'; choose another target layer"):
        make(TWO, "energy")[0].check(wrap(Aside(), layer="aside"))


@pytest.mark.parametrize("method", METHODS)
def test_looking_whether_a_method_can_be_used_leaves_no_trace(method):
    classifier = wrap(FlatNet())
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    make(TWO, method)[0].check(classifier)
    assert not any(module.training for module in classifier.module.modules())
    assert not any(p.requires_grad or p.grad is not None for p in classifier.module.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in classifier.module.modules())
    assert all(torch.equal(value, before[name]) for name, value in classifier.module.state_dict().items())


def test_second_derivatives_of_a_transformer_are_exact():
    # Its fast attention has none; the plain one is used instead.
    torch.manual_seed(0)
    classifier = wrap(small_vit())
    module = classifier.module.double().requires_grad_(True)
    images = torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64)
    mask = torch.ones(1, SIZE, SIZE, dtype=torch.bool)
    weight = module.conv_proj.weight
    make(TWO, "rrr")[0].check(wrap(small_vit()))

    from napari_cam_feedback.retuning.methods.gradients import plain_attention

    def value() -> torch.Tensor:
        with plain_attention():
            return rrr(module, images, mask)

    (slope,) = torch.autograd.grad(value(), weight)
    direction = torch.randn_like(weight)
    step = 1e-5
    with torch.no_grad():
        weight += step * direction
    above = value().item()
    with torch.no_grad():
        weight -= 2 * step * direction
    assert float((slope * direction).sum()) == pytest.approx((above - value().item()) / (2 * step), rel=1e-2)


# A new head ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer"),
    [("flatten", "rest.2"), ("vgg", "6"), ("convnext", "classifier.2"), ("vit", "heads.head")],
)
def test_the_last_linear_layer_is_found_without_global_pooling(name, layer):
    torch.manual_seed(0)
    module = SMALL[name]()
    assert find_last_linear(wrap(module)) == layer


def test_a_network_without_a_linear_head_is_refused():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(RetuneError, match=r"logits are not what a linear layer puts out; choose transplant or actdiff\.$"):
        two_steps(wrap(module), "head")
    scaled = nn.Sequential(*list(FlatNet().features), nn.Flatten(), nn.Linear(96, 2), nn.Softmax(1))
    with pytest.raises(RetuneError, match="logits are not what a linear layer puts out"):
        two_steps(wrap(scaled), "head")


def test_a_frozen_head_is_refused():
    classifier = wrap(FlatNet())
    with pytest.raises(RetuneError, match=r"changes 'rest\.2' alone, and that is frozen"):
        make(TWO, "head", freeze=("rest",))[0].check(classifier)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_new_head_is_the_minimum_of_the_penalised_cross_entropy(classes):
    torch.manual_seed(0)
    module = FlatNet()
    module.rest[2] = nn.Linear(96, classes)
    classifier = wrap(module)
    classifier.class_names = tuple("abc"[:classes])
    images, labels = torch.randn(60, 3, SIZE, SIZE), torch.arange(60) % classes
    refit = HeadRefit(classifier, 60, 60, 1)
    refit.collect(images, labels)
    refit._model = None
    for attempt in range(2):
        terms = refit.fit(attempt)
    z, mean, deviation, _ = refit._data
    layer = module.rest[2]
    # What the layer does to the features as they are is what the regression does to the even ones.
    logits = classifier.logits(images)
    weight = (layer.weight.numpy() * deviation).astype(np.float64)
    bias = layer.bias.numpy() + layer.weight.numpy() @ mean
    assert torch.allclose(logits, torch.from_numpy(z @ weight.T + bias).float(), atol=1e-4)
    assert terms["total"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-4)
    # At a minimum the gradient is 0: sum over images of (p - y) z, and W / C.
    error = logits.softmax(1).numpy() - np.eye(classes)[labels]
    # Of two classes the regression penalises the difference of their rows.
    penalised = weight if classes > 2 else weight * 2
    slope = error.T @ z + penalised / PENALTIES[1]
    assert np.abs(slope).max() < 0.05 * np.abs(error.T @ z).max()
    assert np.abs(error.sum(0)).max() < 0.2


def test_a_class_without_images_is_never_predicted_by_the_new_head():
    torch.manual_seed(0)
    module = FlatNet()
    module.rest[2] = nn.Linear(96, 4)
    classifier = wrap(module)
    refit = HeadRefit(classifier, 20, 20, 1)
    images, labels = torch.randn(20, 3, SIZE, SIZE), torch.tensor([0, 3] * 10)
    refit.collect(images, labels)
    refit.fit(0)
    assert set(classifier.logits(images).argmax(1).tolist()) <= {0, 3}


def test_images_of_one_class_make_no_head():
    refit = HeadRefit(wrap(FlatNet()), 4, 4, 1)
    refit.collect(torch.randn(4, 3, SIZE, SIZE), torch.ones(4, dtype=torch.int64))
    with pytest.raises(RetuneError, match="The training images are all of one class, so no head can be made"):
        refit.fit(0)


def test_a_head_refit_changes_the_head_alone_and_reports_as_a_retune_does():
    dataset = stripes({"train": 24, "val": 12})
    classifier = small_gap(dataset.class_names)
    steps = []
    config = RetuneConfig(method="head", batch_size=8)
    result = run_to_end(retune(classifier, dataset, known(dataset, count=12), config), steps.append)
    before, after = classifier.module.state_dict(), result.classifier.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {f"{classifier.head.name}.weight", f"{classifier.head.name}.bias"}
    assert [step.iteration for step in steps] == list(range(steps[-1].iterations + 1))
    looked = [step for step in steps[1:] if step.check is not None]
    assert len(looked) == len(PENALTIES)
    assert all(step.losses and step.painted_probabilities is not None for step in looked)
    assert result.after.score >= max(step.check.score for step in [steps[0], *looked]) - 0.02
    assert result.status == "done"
    assert not any(module._forward_pre_hooks for module in result.classifier.module.modules())


@pytest.mark.lengthy
def test_a_head_refit_that_is_stopped_can_be_taken_up_again():
    dataset = stripes({"train": 24, "val": 12})
    classifier, masks = small_gap(dataset.class_names), known(dataset, count=12)
    config = RetuneConfig(method="head", batch_size=8)
    whole = run_to_end(retune(classifier, dataset, masks, config))
    steps = []
    stopped = run_to_end(retune(classifier, dataset, masks, config, stop=lambda: len(steps) > 3), steps.append)
    assert stopped.status == "stopped"
    assert len(steps) == 4
    again = run_to_end(retune(classifier, dataset, masks, config, resume=stopped.run_state))
    assert same_weights(again.classifier, whole.classifier)
    assert [row["iteration"] for row in again.history] == [row["iteration"] for row in whole.history]
