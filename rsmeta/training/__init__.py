"""The Lightning side: training step, optimizer, callbacks, plots."""
