"""TensorFlow.js graph models: read them, and convert them to ONNX without TensorFlow."""
