"""How far judges, raters and automatic metrics can be believed."""
