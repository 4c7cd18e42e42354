"""Where a run reports to: the terminal, TensorBoard, MLflow, a notebook."""
