"""timm's transformers as backbones."""
