"""The demo: a page of tabs, one a task, on whatever models are found. Needs the extra `demo`."""
