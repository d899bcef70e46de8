"""What every training run shares: the command line, callbacks, schedules, pictures."""
