"""A model folder, what runs it, its probabilities, out-of-distribution scores and calibration."""

from typing import Literal

EngineName = Literal["onnxruntime", "openvino"]
"""What runs a network; known here so that settings can name it without loading one."""
