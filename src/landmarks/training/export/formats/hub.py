"""A folder for the Hugging Face Hub: timm's files, the model folder of landmarks, and a card that both read.

The card begins with the metadata of the Hub: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from landmarks.files.atomic import write_text
from landmarks.files.checksums import sha256_file
from landmarks.model.folder import CARD_FILE, NOT_STATED, ModelInfo, read_info, write_info
from landmarks.training.export.formats.timm_files import CONFIG_FILE, WEIGHTS_FILE

_CREATIVE_COMMONS = ("by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")
_LICENCES = {f"cc-{terms}-4.0" for terms in _CREATIVE_COMMONS} | {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "unlicense", "wtfpl"),
    *("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "eupl-1.2"),
    *("cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-sa-3.0", "cc-by-nc-2.0", "cc-by-nc-3.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-nd-3.0", "odbl", "odc-by", "etalab-2.0", "openrail"),
}
"""Identifiers of licences that the Hub knows: https://huggingface.co/docs/hub/repositories-licenses"""


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
    called = re.sub(r"[^a-z0-9.]+", "-", info.licence.lower()).strip("-")
    called = "cc0-1.0" if called == "cc0" else called
    stated, known = info.licence != NOT_STATED, called in _LICENCES
    data = ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["timm", "onnx", "landmarks"],
        license=(called if known else "other") if stated else None,
        license_name=None if known or not stated else called or None,
        model_name=info.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()
