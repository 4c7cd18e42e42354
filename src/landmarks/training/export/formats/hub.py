"""A folder for the Hugging Face Hub: timm's files, the model folder of landmarks, and a card that both read.

The card begins with the metadata of the Hub: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from landmarks.files.atomic import write_text
from landmarks.files.checksums import sha256_file
from landmarks.model.folder import CARD_FILE, NOT_STATED, ModelInfo, read_info, write_info
from landmarks.training.export.formats.timm_files import CONFIG_FILE, WEIGHTS_FILE

_LICENCES = {
    "apache-2.0": "apache-2.0",
    "cc by 4.0": "cc-by-4.0",
    "cc by-sa 4.0": "cc-by-sa-4.0",
    "cc0": "cc0-1.0",
    "cc0 1.0": "cc0-1.0",
    "mit": "mit",
}
"""Licences that the Hub knows by an identifier, by how we write them."""


def write_hub_card(folder: Path) -> None:
    """Put the metadata of the Hub before the card of a model folder, and seal the files that timm added.

    Args:
        folder: A model folder with `model.safetensors` and `config.json`.

    Raises:
        StorageError: A file cannot be written.
    """
    info = read_info(folder)
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    write_text(folder / CARD_FILE, f"---\n{_metadata(info)}\n---\n\n{card}\n{_USE_IN_TIMM}")
    files = {name: sha256_file(folder / name) for name in (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE)}
    write_info(folder, replace(info, files={**info.files, **files}))


_USE_IN_TIMM = f"""\
## Use in timm

```python
import timm
from torch.nn.functional import normalize

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or hf-hub:USER/NAME
logits = model(images)
```

landmarks scales features to unit length, which timm does not. For exactly the answers of landmarks, with the
`feature_length` of `{CONFIG_FILE}`:

```python
features = model.forward_head(model.forward_features(images), pre_logits=True)
logits = model.get_classifier()(feature_length * normalize(features))
```
"""


def _metadata(info: ModelInfo) -> str:
    dataset = str(info.data.get("name", "not recorded"))
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name=dataset,
            dataset_split=split,
            metric_type="accuracy",
            metric_name=f"{name} ({values['count']} images)",
            metric_value=values[metric]["value"],
        )
        for split in ("valid", "test")
        if (values := info.metrics.get(split))
        for metric, name in (("top1", "top-1"), ("top5", "top-5"))
    ]
    known = _LICENCES.get(info.licence.lower())
    other = info.licence if known is None and info.licence != NOT_STATED else None
    data = ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["timm", "onnx", "landmarks"],
        license=known or (other and "other"),
        license_name=other,
        model_name=info.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()
