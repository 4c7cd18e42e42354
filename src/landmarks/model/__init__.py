"""Model folders: engines, probabilities, out-of-distribution scores and calibration."""

from typing import Literal

EngineName = Literal["onnxruntime", "openvino"]
"""Inference engines, named here so that settings can refer to one without importing it."""
