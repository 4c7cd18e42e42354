"""The commands."""

COMMANDS = {
    "tag": "Tag photos with the landmarks they show; write the tags into metadata if asked.",
    "undo": "Undo what landmarks tag --write wrote.",
    "reject": "Remove a tag from a photo for good.",
    "confirm": "Keep a tag on a photo, whatever later models predict.",
    "relabel": "Rewrite written tags in another language, without recognising anything anew.",
    "open": "Open a library of photos in the browser: see, correct and teach.",
    "map": "Write a map of photos: a web page, GPX or KML.",
    "index": "Build or update an index of photos for search.",
    "search": "Find similar photos, photos with a tag, and near-duplicates.",
    "learn": "Teach a model a landmark from a few photos, without training.",
    "forget": "Remove a landmark that landmarks learn taught a model.",
    "cluster": "Tag very many photos on a Ray cluster.",
    "models": "List models and the landmarks each was taught later.",
    "doctor": "Check an image folder for problems before training.",
    "data": "Show what a data set contains, or import a known collection.",
    "train": "Train a recogniser from an image folder.",
    "tune": "Tune hyperparameters.",
    "runs": "List training runs with settings and metrics, or compare two.",
    "pack": "Pack a large image folder into shards that training streams.",
    "evaluate": "Evaluate a model on folders of photos, or a run on its own data.",
    "export": "Export a trained run as a model folder that needs no PyTorch.",
    "predict": "Classify photos: the most probable landmarks of each.",
    "serve": "Serve the model over HTTP, with a web UI.",
    "batch": "Save an image of a sample batch before and after augmentation.",
    "cache": "Show the cache of decoded images and its size, or clear it.",
    "completion": "Print or install shell completion.",
}
"""Name and summary of each command; the function of that name in `landmarks.cli.NAME` runs it.

If that module has a dictionary `COMMANDS`, they are its subcommands.
"""
