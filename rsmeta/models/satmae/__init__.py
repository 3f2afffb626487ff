"""SatMAE: vision transformers pretrained on satellite images by masked autoencoding."""
