"""One module per pane; panes do not know one another."""
