"""The run of a trial and its page, from the reports. wandb is imported only to write a run, torch never."""
