"""What fine-tuning a pretrained model takes, whatever the model: adapters, losses, data, tricks."""
