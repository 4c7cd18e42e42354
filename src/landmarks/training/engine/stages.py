"""One stage of a run: a network, or its head alone, trained to the settings of the run."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_fabric import Fabric
from torch import nn

from landmarks.training.config.settings import RunSettings
from landmarks.training.data.loaders import Data, Loader, make_loaders, set_train_size
from landmarks.training.data.sampling import Share
from landmarks.training.engine.optimization import get_loss, get_optimizer, get_scheduler
from landmarks.training.engine.train import Listener, Training, optimize
from landmarks.training.models.heads import head_loss
from landmarks.training.models.networks import NetworkOfRun
from landmarks.training.models.transfer import Head, TransferModel
from landmarks.training.runs.folder import EpochRow, RunFolder


@dataclass
class Stage:
    """Where a stage writes, what it is told, and who listens.

    Attributes:
        folder: Takes history, checkpoint and weights.
        settings: Of the stage.
        resume: Continue from the checkpoint where there is one.
        listener: Told after each training step and epoch.
    """

    folder: RunFolder
    settings: RunSettings
    resume: bool
    listener: Listener

    @property
    def resumes(self) -> bool:
        """Whether there is something to continue from."""
        return self.resume and self.folder.checkpoint.is_file()

    def train_pictures(self, fabric: Fabric, data: Data, network: NetworkOfRun) -> list[EpochRow]:
        """Train the whole network on this process's share of the pictures.

        Args:
            fabric: Launched.
            data: Made ready.
            network: The same in all processes.
        """
        if isinstance(network.model, TransferModel):
            network.model.unfreeze()
        settings = self.settings
        share = Share(fabric.global_rank, fabric.world_size)
        loaders = make_loaders(
            data, settings.loading, settings.augment, preprocessing=network.preprocessing, share=share
        )
        return self._optimize(fabric, network, network.model, loaders)

    def train_head(
        self, fabric: Fabric, network: NetworkOfRun, head: Head, loaders: dict[str, Loader]
    ) -> list[EpochRow]:
        """Train the head on embeddings, in this process alone."""
        return self._optimize(fabric, network, head, loaders)

    def _optimize(
        self, fabric: Fabric, network: NetworkOfRun, model: nn.Module, loaders: dict[str, Loader]
    ) -> list[EpochRow]:
        settings, on_pictures = self.settings, not isinstance(model, Head)

        def before_epoch(epoch: int) -> int:
            if not on_pictures:
                return 0
            size = settings.augment.size_of_epoch(epoch, settings.loop.epochs)
            set_train_size(loaders["train"], settings.augment, size, network.preprocessing)
            return size

        optimization = settings.optimization
        optimizer = get_optimizer(model, optimization)
        steps = len(loaders["train"])
        training = Training(
            model=model,
            architecture=network.architecture,
            classes=network.classes,
            loaders=loaders,
            optimizer=optimizer,
            schedule=get_scheduler(optimizer, optimization, epochs=settings.loop.epochs, steps_per_epoch=steps),
            loss=head_loss(get_loss(optimization.label_smoothing), settings.model),
            loop=settings.loop,
            seed=settings.loading.seed,
            clip=optimization.clip,
            ema=optimization.ema,
            before_epoch=before_epoch,
            on_pictures=on_pictures,
        )
        return optimize(training, self.folder, fabric=fabric, resume=self.resumes, listener=self.listener)
