"""Reads TensorFlow.js graph models and converts them to ONNX without TensorFlow."""
