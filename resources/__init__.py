"""Files shipped with the app (icons, themes, venue styles, the demo project) and their paths."""
