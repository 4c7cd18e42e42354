"""Networks: our own, pretrained backbones, heads."""
