"""What fine-tuning a pretrained model takes, whatever the model: adapters, losses, data, tricks.

`settings` is what a YAML may say, without torch. Its blocks are worked by `tuning` (which weights),
`arguments`, `running` and `stopping` (the Trainer's run), `adversarial` and `r_drop` (harder
lessons), `negatives`, `propensity` and `augmentation` (the data), `pretraining` and `soup` (before
and after). `losses` are of scores that are there already; `randomness` keeps seeds to themselves.
"""
