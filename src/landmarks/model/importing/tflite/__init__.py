"""TFLite files, converted to ONNX without TensorFlow."""
