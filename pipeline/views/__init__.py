"""What people look at: plots, notebook, report, overlay and transcoded clips."""
