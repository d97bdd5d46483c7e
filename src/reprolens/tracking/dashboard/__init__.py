"""The saved W&B workspace of a project and the report on its best trials; needs the extra `dashboard`.

Nothing is imported here: `subject` says what is compared and imports neither wandb nor wandb-workspaces, `panels`,
`workspace` and `report` build the specification without a network, `save` reads the runs and saves.
"""
